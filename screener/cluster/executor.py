"""The executor of a scan whose work is done by a cluster."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from screener import __version__
from screener.cluster.dispatch import Dispatcher, Limits
from screener.cluster.earlier import EarlierResults
from screener.cluster.orders import Question, canary_in
from screener.cluster.shards import StudyGroups, cut, files_for
from screener.inbox import FileBytes
from screener.model.store import DEFAULT
from screener.pipeline.scan import settings_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from screener.cluster.dask_workers import DaskWorkers
    from screener.cluster.dispatch import Workers
    from screener.domain.slice import Refused
    from screener.inbox import Entry
    from screener.model.session import Model
    from screener.pipeline.config import ScanConfig
    from screener.pipeline.executor import Examine, Item, Outcome
    from screener.pipeline.slice import PipelineSettings
    from screener.triage import TriagePolicy

_LOG_BATCH = 512
"""Slices logged at once, or what came within a second: one wait for the disk for all of them."""


class ClusterExecutor:
    """Screens shards of whole studies on workers; see `screener.pipeline.executor.Executor`.

    Parameters
    ----------
    workers : Workers
    question : Question
    config : ScanConfig
    policy : TriagePolicy
    log : Path or None
        What it knows is not scored again.
    files : int, optional
        Of a shard, at most; by default what suits the number of cores.
    limits : Limits, optional

    Attributes
    ----------
    dispatcher : Dispatcher
    """

    log_batch = _LOG_BATCH

    def __init__(
        self,
        workers: Workers,
        question: Question,
        config: ScanConfig,
        policy: TriagePolicy,
        log: Path | None,
        *,
        files: int | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._question, self._config, self._policy = question, config, policy
        self._log = None if config.rescan else log
        self._files = files or files_for(workers.capacity)
        self._earlier = EarlierResults()
        self.dispatcher = Dispatcher(workers, question, self._earlier.of, limits or Limits(config.max_failures))

    def screen(self, found: Iterator[Entry | Refused], examine: Examine) -> Iterator[list[Outcome]]:
        """Yield the outcomes of a file at a time, shards in the order in which they are complete.

        Raises
        ------
        ClusterError
            No worker is left, or more attempts failed than may.
        """
        if self._log is not None:
            self._earlier.read(self._log, self._policy, self._question.preprocessing)
        pseudonyms = self._question.settings.pseudonyms
        groups = StudyGroups(self._config.walk_options().grouping.by, None if pseudonyms is None else pseudonyms.name)
        for files in self.dispatcher.run(cut(found, groups, self._files)):
            for file in files:
                yield [_scored(item) for item in examine(file)]
            if not files:
                yield []

    def __enter__(self) -> Self:
        self._earlier.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._earlier.__exit__()


def _scored(item: Item) -> Outcome:
    """Return an item of an answered file, none of which is still to be scored."""
    assert not isinstance(item, FileBytes)  # noqa: S101 - see `AnsweredFile`
    return item


def question_for(inbox: Path, model: Model, config: ScanConfig) -> Question:
    """Return what every worker must show for a scan.

    Raises
    ------
    NothingFoundError
        No file of the archive can be read.
    """
    # Where the model lies on this machine says nothing about others: a path is meant for all, a name is found by each.
    named = config.model or DEFAULT
    place = str(Path(named).absolute()) if Path(named).exists() else named
    settings = replace(settings_of(model, config), model=place)
    return Question(settings, __version__, model.card.preprocessing.fingerprint(), canary_in(inbox))


def executor_for(
    workers: DaskWorkers, config: ScanConfig, policy: TriagePolicy, log: Path
) -> Callable[[PipelineSettings, Model, int | None], ClusterExecutor]:
    """Return what a `Scan` makes its executor with; the settings are those of the question that workers answered."""
    return lambda *_: ClusterExecutor(workers, workers.question, config, policy, log)
