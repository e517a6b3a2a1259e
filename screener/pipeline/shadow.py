"""A candidate that judges the same inbox after the model in use, silently, into a log of its own.

Two whole runs, one after the other: nothing of the candidate is in the log that people act on, its slices count nowhere
as seen before, and what goes wrong with it cannot touch the answers, which are complete by then.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from screener.errors import ScreenerError, UsageError
from screener.pipeline.run import ScanRun, policy_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from screener.audit import AuditLog
    from screener.pipeline.scan import Scan


def with_shadow(run: ScanRun) -> tuple[ScanRun, ScanRun | None]:
    """Load the candidate of a run, if it has one.

    Its ``auto`` need not be certified: nobody acts on what it says.

    Returns
    -------
    tuple of (ScanRun, ScanRun or None)
        The run, which names its candidate in START, and the run of the candidate.

    Raises
    ------
    ScreenerError
        The candidate cannot be used, or it is the model in use.
    """
    from screener.audit.files import shadow_log
    from screener.model.session import Model

    config = run.config
    if config.shadow is None:
        return run, None
    if config.cluster is not None:
        raise UsageError("--shadow runs on this machine, --cluster on others", "leave one of them out")
    model = Model.load(config.shadow, threads=config.jobs)
    if model.sha256 == run.model.sha256:
        raise UsageError(f"--shadow {config.shadow!r} names the model in use", "name another model, or leave it out")
    log = shadow_log(run.log)
    own = msgspec.structs.replace(
        config, model=config.shadow, profile=None, log=log, anchor=None, shadow=None, accept_uncertified=True
    )
    shadow = ScanRun(run.inbox, own, run.pseudonyms, model, policy_of(model, own), log, run.provenance)
    return replace(run, shadow=shadow.named()), shadow


def screen_shadow(run: ScanRun, shadow_of: str, follow: Callable[[Scan], None]) -> str | None:
    """Let the candidate judge the inbox.

    Parameters
    ----------
    run : ScanRun
        As `with_shadow` returned it.
    shadow_of : str
        ``run_id`` of the run of the model in use.
    follow : callable
        Is given the scan before it begins, to stop it.

    Returns
    -------
    str or None
        Why the run did not end as it should; None where it did.
    """
    from screener.pipeline.scan import Scan

    try:
        with run.audit_log() as log:
            scan = Scan(run.inbox, run.model, run.policy, log, run.config)
            follow(scan)
            log.start({**run.details(), "shadow_of": shadow_of})
            _exhaust(scan, log)
    except ScreenerError as error:
        return str(error)
    return "interrupted" if scan.stopped else None


def _exhaust(scan: Scan, log: AuditLog) -> None:
    """Run a scan to its end, and write END with the reason."""
    from screener.pipeline.scan import summary_counts

    reason = "failed"
    try:
        for _ in scan.results():
            pass
        reason = "interrupted" if scan.stopped else "complete"
    except Exception as error:
        reason = f"failed: {type(error).__name__}"
        raise
    finally:
        log.end(summary_counts(scan.counts), reason)
