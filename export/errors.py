"""What can be wrong with the data or the run, said so that the data scientist can mend it."""

from __future__ import annotations

from screener.errors import ExitCode, ScreenerError


class DataError(ScreenerError):
    """Labelled data that cannot be used as given; names the file and line where there is one."""

    code = ExitCode.USAGE
