"""Exit codes and the exceptions that own them: one class, one code, one next step."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Stable process exit codes; an unknown code means failure. Those of ``scan`` end at 8."""

    OK = 0
    CRASH = 1
    USAGE = 2
    NOTHING_FOUND = 3
    NOT_ASSESSABLE = 4
    DEFERRED = 5
    AUDIT_LOG = 6
    MODEL = 7
    INTERRUPTED = 8
    # Of ``evaluate --require`` alone.
    NOT_SHOWN = 9
    # Of ``scan --cluster`` alone.
    CLUSTER = 10
    # Of ``send`` alone.
    NOT_SENT = 11
    # Of ``monitor --alert`` alone.
    ALARM = 12


class ScreenerError(Exception):
    """A failure that the user can act on.

    Parameters
    ----------
    message : str
        What went wrong, in one sentence.
    hint : str
        What to do next, in one sentence.
    """

    code: ExitCode = ExitCode.CRASH

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(ScreenerError):
    """An option or argument that cannot be used as given."""

    code = ExitCode.USAGE


class NothingFoundError(ScreenerError):
    """The inbox is missing, unreadable or holds no file to screen."""

    code = ExitCode.NOTHING_FOUND


class AuditLogError(ScreenerError):
    """The audit log cannot be written, read or trusted."""

    code = ExitCode.AUDIT_LOG


class ModelError(ScreenerError):
    """The model is missing, corrupt, foreign, or may not be used as asked."""

    code = ExitCode.MODEL


class NotSentError(ScreenerError):
    """Answers could not be sent; they wait in the outbox."""

    code = ExitCode.NOT_SENT


class NotShownError(ScreenerError):
    """A line of the release checklist that was required does not pass."""

    code = ExitCode.NOT_SHOWN


class ClusterError(ScreenerError):
    """The scheduler cannot be reached, no worker may take part, or too many attempts failed."""

    code = ExitCode.CLUSTER
