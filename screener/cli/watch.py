"""``screener watch``: screen what arrives in a folder, study by study, until it is stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from screener.cli.service import ServiceSettings, checked_inbox, serve
from screener.pipeline.config import ScanConfig

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import ExitStack
    from pathlib import Path

    from screener.errors import ExitCode


def run_command(given: Mapping[str, object]) -> ExitCode:
    """Watch an inbox as the options of the command say, by their names.

    Raises
    ------
    ScreenerError
        Of the class that owns the exit code.
    """
    from screener.pacs.arrivals import Arrivals
    from screener.pacs.folder import FolderWatch

    inbox = checked_inbox(cast("Path", given["inbox"]))
    config = ScanConfig.from_options(given)
    settings = ServiceSettings.of("watch", given)
    arrivals = Arrivals(settings.quiet)
    watch = FolderWatch(inbox, arrivals, poll=bool(given["poll"]))

    def begin(stack: ExitStack) -> None:
        stack.enter_context(watch)

    return serve(inbox, config, settings, arrivals, begin)
