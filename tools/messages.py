"""Renew the gettext catalogues in ``screener/locale`` from the texts that the code declares: ``make messages``.

What was translated stays; a text that changed in English is marked ``fuzzy`` and is not used until somebody has looked
at it; a text that is gone goes. With ``--check`` nothing is written: exit code 1 if a catalogue is not what it would
be.
"""

from __future__ import annotations

import argparse
import importlib
import io
import sys
from datetime import UTC, datetime
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

from screener.catalogue import DECLARED, LANGUAGES, SOURCE

ROOT = Path(__file__).resolve().parents[1]
LOCALE = ROOT / "screener/locale"
MODULES = (
    *("screener.messages", "screener.report.messages", "screener.agreement.messages", "screener.review.page"),
    *("screener.review.terminal", "screener.calibrate.messages", "screener.cluster.health", "screener.pacs.messages"),
    *("screener.monitor.messages", "screener.queueing.messages"),
)
"""Everything that declares texts."""
_HEADER = "# {language} of screener. Contexts name where a text is shown; braces hold what is filled in.\n"


def main() -> int:
    """Write the catalogues, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    stale = [path for lang in LANGUAGES for path, content in renewed(lang).items() if _differs(path, content)]
    if check:
        sys.stderr.writelines(f"{path.relative_to(ROOT)} is out of date: make messages\n" for path in stale)
        return int(bool(stale))
    for lang in LANGUAGES:
        for path, content in renewed(lang).items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return 0


def renewed(lang: str) -> dict[Path, bytes]:
    """Return what the two files of a language should hold."""
    source = LOCALE / lang / "LC_MESSAGES/screener.po"
    found = _empty(lang)
    if source.is_file():
        with source.open("rb") as file:
            found = read_po(file, locale=lang)
        found.header_comment = _HEADER.format(language=lang)
        found.creation_date = found.revision_date = _empty(lang).creation_date
    found.update(_template())
    found.obsolete.clear()
    if lang == SOURCE:
        for message in found:
            message.string = message.id
            message.flags.discard("fuzzy")
    text, compiled = io.BytesIO(), io.BytesIO()
    write_po(text, found, width=110, sort_output=False, omit_header=False, ignore_obsolete=True)
    write_mo(compiled, found)
    return {source: text.getvalue(), source.with_suffix(".mo"): compiled.getvalue()}


def _template() -> Catalog:
    for name in MODULES:
        importlib.import_module(name)
    made = _empty(None)
    # Modules may have been imported in any order.
    for context, text in sorted(DECLARED):
        made.add(text, context=context)
    return made


def _empty(lang: str | None) -> Catalog:
    # No dates: the same texts give the same bytes.
    made = Catalog(
        locale=lang, project="screener", fuzzy=False, header_comment=_HEADER.format(language=lang or "Texts")
    )
    made.creation_date = made.revision_date = datetime(2026, 1, 1, tzinfo=UTC)
    return made


def _differs(path: Path, content: bytes) -> bool:
    return not path.is_file() or path.read_bytes() != content


if __name__ == "__main__":
    sys.exit(main())
