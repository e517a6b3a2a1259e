"""The language that a command speaks."""

from __future__ import annotations

from screener.errors import UsageError
from screener.messages import LANGUAGES, Language, language


def checked_language(requested: str | None) -> Language:
    """Return the language; one that we do not speak is an error when it was asked for.

    Raises
    ------
    UsageError
    """
    if requested is not None and requested not in LANGUAGES:
        raise UsageError(f"no language is called {requested!r}", f"choose one of {', '.join(LANGUAGES)}")
    return language(requested)
