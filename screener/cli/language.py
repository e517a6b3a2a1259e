"""The language that a command speaks."""

from __future__ import annotations

from screener.errors import UsageError
from screener.messages import LANGUAGES, Language, language


def checked_language(wanted: str | None) -> Language:
    """Return the language; one that we do not speak is an error when it was asked for.

    Raises
    ------
    UsageError
    """
    if wanted is not None and wanted not in LANGUAGES:
        raise UsageError(f"no language is called {wanted!r}", f"choose one of {', '.join(LANGUAGES)}")
    return language(wanted)
