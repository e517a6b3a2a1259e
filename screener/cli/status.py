"""``screener status``: what an inbox holds that has no answer yet."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, cast

import msgspec

from screener.cli.language import checked_language
from screener.cli.service import MINUTE, checked_inbox
from screener.errors import ExitCode
from screener.pipeline.config import ScanConfig

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from screener.messages import Language
    from screener.pacs.status import InboxStatus

_SHOWN = 20
"""Waiting folders that are listed by name."""


def run_command(given: Mapping[str, object]) -> ExitCode:
    """Print how an inbox stands, as the options of the command say, by their names.

    Raises
    ------
    ScreenerError
        Of the class that owns the exit code.
    """
    from screener.audit import default_log
    from screener.pacs.status import inbox_status

    lang, inbox = checked_language(cast("str | None", given["lang"])), checked_inbox(cast("Path", given["inbox"]))
    config = ScanConfig.from_options(given)
    late_after = cast("float", given["unanswered_after"]) * MINUTE
    found = inbox_status(inbox, config.log or default_log(), config, late_after)
    if given["json"]:
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
    else:
        sys.stdout.writelines(f"{line}\n" for line in _lines(found, lang))
    sys.stdout.flush()
    return ExitCode.DEFERRED if found.late else ExitCode.OK


def _lines(found: InboxStatus, lang: Language) -> Iterator[str]:
    from screener.pacs.messages import STATUS
    from screener.report.console import safe

    words = STATUS[lang]
    yield safe(words["inbox"].format(inbox=found.inbox))
    yield words["counts"].format(answered=found.answered, waiting=len(found.waiting), late=found.late)
    yield words["last"].format(time=found.last_study or "–")
    yield words["free"].format(mebibytes=found.free_bytes >> 20)
    for one in found.waiting[:_SHOWN]:
        name = "late" if one.late else "waiting"
        yield safe(words[name].format(folder=one.folder, files=one.files, minutes=one.seconds // 60))
    if len(found.waiting) > _SHOWN:
        yield words["more"].format(count=len(found.waiting) - _SHOWN)
