"""What runs on a worker: prove what it screens with, then read, hash and score whole shards."""

from __future__ import annotations

import pickle
import threading
import time
import weakref
from dataclasses import replace
from typing import TYPE_CHECKING

from screener import __version__
from screener.cluster.orders import Answer, Proof, Unfit, wrong_with
from screener.domain.slice import Prediction, Reason, Refused
from screener.errors import ModelError, ScreenerError
from screener.inbox import FileBytes
from screener.model.session import AT_ONCE
from screener.pipeline.slice import AnsweredFile, FileSlices, ScoredSlice, SeenSlice, SlicePipeline

if TYPE_CHECKING:
    from collections.abc import Iterator

    from screener.cluster.orders import Known, Order, Question

_MOST_SESSIONS = 4
"""Sessions that a worker keeps: those of clients that were killed must not fill its memory."""
_sessions: dict[Question, WorkerSession] = {}
_opening = threading.Lock()


class WorkerSession:
    """One loaded model and decoder, for all threads of a worker.

    Parameters
    ----------
    question : Question

    Attributes
    ----------
    proof : Proof
    unfit : str or None
        Why this worker may not take part.
    """

    def __init__(self, question: Question) -> None:
        self._canary = question.canary
        self._pipeline: SlicePipeline | None = None
        problem, model, preprocessing = self._canary.missing(), "", ""
        if problem is None:
            try:
                self._pipeline = SlicePipeline(question.settings)
                model = self._pipeline.model.sha256
                preprocessing = self._pipeline.model.card.preprocessing.fingerprint()
            except ScreenerError as error:
                problem = str(error)
        if self._pipeline is not None:
            # A decoder that was started for a risky file ends with this session.
            weakref.finalize(self, self._pipeline.close)
        self.proof = Proof(__version__, model, preprocessing, problem)
        self.unfit = wrong_with(self.proof, question)

    def screen(self, order: Order) -> tuple[tuple[AnsweredFile, ...], int]:
        """Screen the files of an order; two neighbouring slices go through the model at once, as on one machine.

        Returns
        -------
        tuple of (tuple of AnsweredFile, int)
            One an entry, and the bytes that were read.

        Raises
        ------
        ModelError
            The model failed.
        """
        assert self._pipeline is not None  # noqa: S101 - only what is fit is asked
        waiting: list[FileBytes] = []
        scored: list[ScoredSlice | Refused] = []
        files: list[tuple[FileSlices, list[SeenSlice | Refused | None]]] = []
        read = 0
        for entry, known in zip(order.entries, order.known, strict=True):
            file = self._pipeline.read(entry)
            settled = [_settled(item, known) for item in file.items]
            files.append((FileSlices([], file.folder, file.warning), settled))
            read += max((len(item.data) for item in file.items if isinstance(item, FileBytes)), default=0)
            for item, answer in zip(file.items, settled, strict=True):
                if isinstance(item, FileBytes) and answer is None:
                    waiting.append(item)
                if len(waiting) == AT_ONCE:
                    scored += self._pipeline.score(waiting)
                    waiting = []
        scored += self._pipeline.score(waiting)
        answers = map(_without_arrays, scored)
        found = tuple(
            AnsweredFile([next(answers) if one is None else one for one in settled], file.folder, file.warning)
            for file, settled in files
        )
        return found, read

    def lost(self) -> str | None:
        """Say why the archive is out of sight; None where it is not."""
        return self._canary.missing()


def session(question: Question) -> WorkerSession:
    """Return this process' session for a question; it is opened once, and anew where it was not fit."""
    with _opening:
        found = _sessions.pop(question, None)
        if found is None or found.unfit is not None:
            found = WorkerSession(question)
        _sessions[question] = found
        while len(_sessions) > _MOST_SESSIONS:
            # Who still works with it keeps it until then.
            del _sessions[next(iter(_sessions))]
        return found


def close_session(question: Question) -> None:
    """Let go of a session, if there is one."""
    with _opening:
        _sessions.pop(question, None)


def prove(question: Question) -> Proof:
    """Show what this worker would screen with."""
    return session(question).proof


def screen(order: Order, worker: str | None = None) -> Answer | Unfit:
    """Screen a shard.

    Parameters
    ----------
    order : Order
    worker : str, optional
        Name of the worker; by default its address.

    Returns
    -------
    Answer or Unfit
        `Unfit` where it cannot show what the order asks for, or the archive went out of sight meanwhile: what could not
        be read then says nothing about the files.
    """
    name = _address() if worker is None else worker
    current = session(order.question)
    if current.unfit is not None:
        return Unfit(name, current.unfit)
    started = time.perf_counter()
    try:
        files, read = current.screen(order)
    except ModelError as error:
        return Unfit(name, str(error))
    if any(isinstance(item, Refused) and item.reason is Reason.UNREADABLE for item in _items(files)):
        why = current.lost()
        if why is not None:
            return Unfit(name, why)
    return Answer(name, files, time.perf_counter() - started, read)


def screen_bytes(order: bytes, worker: str | None = None) -> Answer | Unfit:
    """Screen a pickled shard: Dask then passes it on without looking into it."""
    return screen(pickle.loads(order), worker)  # noqa: S301 - Dask itself pickles all that client and workers say


def _items(files: tuple[AnsweredFile, ...]) -> Iterator[ScoredSlice | SeenSlice | Refused]:
    return (item for file in files for item in file.items)


def _settled(item: object, known: Known) -> SeenSlice | Refused | None:
    """Return what needs no scoring: what was refused, and what the log knows."""
    if isinstance(item, Refused):
        return item
    if isinstance(item, FileBytes) and (item.identity.sha256, item.identity.frame) in known:
        return SeenSlice(item.identity)
    return None


def _without_arrays(outcome: ScoredSlice | Refused) -> ScoredSlice | Refused:
    """Leave out what a finding does not need: the network carries a number a slice."""
    if isinstance(outcome, Refused):
        return outcome
    return replace(outcome, prediction=Prediction(outcome.prediction.probability), kept=None)


def _address() -> str:
    from distributed import get_worker

    return str(get_worker().address)
