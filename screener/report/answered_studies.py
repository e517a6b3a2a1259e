"""Find in the audit log the answers about studies, and the results of the slices that each of them rests on."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from screener.audit.events import BadLineError, Kind, finding_of, hash_in, parse, study_finding_of
from screener.audit.segments import lines
from screener.errors import UsageError
from screener.finding_store import Item

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
    from pathlib import Path

    from screener.audit import Event
    from screener.domain.study import KeySlice, StudyFinding

_START_MARK, _STUDY_MARK, _RESULT_MARK = (f'"event":"{kind}"'.encode() for kind in ("START", "STUDY", "RESULT"))
_STUDY_ID = re.compile(rb'"study_id":("(?:[^"\\]|\\.)*")')
_UID = re.compile(r"[0-9]+(\.[0-9]+)+")
_AT_ONCE = 64
"""Studies whose results are collected in one pass over the log."""
_CANDIDATES = 8
"""Slices of a study that are tried, when a header of the study is wanted."""


@dataclass(frozen=True, slots=True)
class KeyResult:
    """A key slice, and its own result.

    Attributes
    ----------
    key : KeySlice
    item : Item
    """

    key: KeySlice
    item: Item


@dataclass(frozen=True, slots=True)
class AnsweredStudy:
    """A STUDY event with what the log holds about it.

    Attributes
    ----------
    finding : StudyFinding
    event : str
        Hash of the STUDY event.
    judged : str
        Timestamp of that event.
    preprocessing : str
    inbox : str
        As the START event of its run records it.
    pseudonyms : bool
        The run hid who the patients are.
    former : str or None
        Hash of the STUDY event about the same study before this one.
    keys : tuple of KeyResult
        Its key slices, strongest first.
    slices : tuple of Item
        The first of its slices, in log order.
    """

    finding: StudyFinding
    event: str
    judged: str
    preprocessing: str
    inbox: str
    pseudonyms: bool
    former: str | None
    keys: tuple[KeyResult, ...]
    slices: tuple[Item, ...]


@dataclass(slots=True)
class _Latest:
    """The latest answer about a study, and the one before."""

    event: str
    former: str | None = None


@dataclass(slots=True)
class _Pending:
    """A STUDY event whose results are being collected."""

    event: Event
    former: str | None
    start: Event
    results: list[Event] = field(default_factory=list)
    keys: dict[str, list[Event]] = field(default_factory=dict)


def answered_studies(
    log: Path, wanted: Collection[str] | None = None, skip: Callable[[Event], bool] | None = None
) -> Iterator[AnsweredStudy]:
    """Yield the latest answer about each study, oldest first, with the results of its slices.

    Parameters
    ----------
    log : Path
    wanted : collection of str, optional
        Study identifiers or hashes of STUDY events, whichever is latest; by default all studies.
    skip : callable, optional
        Says of a STUDY event that it is not needed, before its results are looked for.

    Raises
    ------
    AuditLogError
        There is no such log.
    UsageError
        It is the log of shadow runs.
    """
    latest, starts = _latest(log, wanted)
    chosen = {one.event: one.former for one in latest}
    batch: list[_Pending] = []
    for event in _events(log, _STUDY_MARK):
        if event["hash"] in chosen and (skip is None or not skip(event)):
            batch.append(_Pending(event, chosen[event["hash"]], starts.get(event["run_id"], {})))
        if len(batch) == _AT_ONCE:
            yield from _with_results(log, batch)
            batch = []
    yield from _with_results(log, batch)


def latest_answers(log: Path) -> Iterator[str]:
    """Yield the hash of the latest STUDY event about each study.

    Raises
    ------
    AuditLogError
        There is no such log.
    UsageError
        It is the log of shadow runs.
    """
    return (one.event for one in _latest(log, None)[0])


def _latest(log: Path, wanted: Collection[str] | None) -> tuple[Iterable[_Latest], dict[str, Event]]:
    """Return the latest answer about each study, and the START events of runs."""
    names = None if wanted is None else frozenset(wanted)
    found: dict[tuple[str, str], _Latest] = {}
    starts: dict[str, Event] = {}
    for event in _events(log, _STUDY_MARK, _START_MARK):
        if event["event"] == Kind.START:
            _refuse_shadow(event, log)
            starts[event["run_id"]] = event
        elif isinstance(event["study_id"], str):
            key = _key(event, starts)
            known = found.get(key)
            found[key] = _Latest(event["hash"], None if known is None else known.event)
    if names is None:
        return found.values(), starts
    return [one for (_, study), one in found.items() if study in names or one.event in names], starts


def _refuse_shadow(start: Event, log: Path) -> None:
    """Make sure that what a candidate said silently reaches no radiologist."""
    if start.get("shadow_of") is not None:
        raise UsageError(
            f"{log} holds what a candidate said in shadow runs: no answer is made of it",
            "name the log of the model in use with --log",
        )


def _key(event: Event, starts: dict[str, Event]) -> tuple[str, str]:
    """Return what makes two answers answers about the same study: a UID alone, or the name within an inbox."""
    study = str(event["study_id"])
    inbox = "" if _UID.fullmatch(study) else str(starts.get(event["run_id"], {}).get("inbox"))
    return inbox, study


def _events(log: Path, *marks: bytes) -> Iterator[Event]:
    """Yield the sound events of some kinds; the chain is `screener verify`'s business."""
    kinds = {mark.rpartition(b":")[2].strip(b'"').decode() for mark in marks}
    for line in lines(log):
        if any(mark in line.raw for mark in marks):
            with suppress(BadLineError):
                event = parse(line.raw)
                if event["event"] in kinds:
                    yield event


def _with_results(log: Path, batch: Sequence[_Pending]) -> Iterator[AnsweredStudy]:
    """Collect the results of some studies in one pass, then yield the studies."""
    by_study: dict[bytes, list[_Pending]] = {}
    open_studies = {one.event["hash"]: one for one in batch}
    for one in batch:
        names = {one.event["study_id"], *(row["study_id"] for row in one.event["earlier_results"])}
        for name in names:
            by_study.setdefault(json.dumps(name).encode("ascii"), []).append(one)
    for line in lines(log) if batch else ():
        if _RESULT_MARK in line.raw:
            named = _STUDY_ID.search(line.raw)
            for one in by_study.get(named[1] if named else b"null", ()):
                _collect(one, line.raw, open_studies)
        elif _STUDY_MARK in line.raw:
            # What comes after the answer is no part of it.
            open_studies.pop(hash_in(line.raw), None)
    for one in batch:
        with suppress(KeyError, TypeError, ValueError):
            yield _answered(one)


def _collect(pending: _Pending, raw: bytes, open_studies: dict[str, _Pending]) -> None:
    event = pending.event
    if event["hash"] not in open_studies:
        return
    runs = {event["run_id"], *(row["run_id"] for row in event["earlier_results"])}
    with suppress(BadLineError):
        result = parse(raw)
        if result["event"] != Kind.RESULT or result["run_id"] not in runs:
            return
        if len(pending.results) < _CANDIDATES:
            pending.results.append(result)
        if any(key["path"] == result["path"] for key in event["key_slices"]):
            pending.keys.setdefault(result["path"], []).append(result)


def _answered(pending: _Pending) -> AnsweredStudy:
    event, start = pending.event, pending.start
    inbox, chosen = str(start.get("inbox") or ""), start.get("options")
    finding = study_finding_of(event)
    return AnsweredStudy(
        finding=finding,
        event=event["hash"],
        judged=event["timestamp"],
        preprocessing=str(event["preprocessing"]),
        inbox=inbox,
        pseudonyms=isinstance(chosen, dict) and chosen.get("pseudonymise") is True,
        former=pending.former,
        keys=tuple(
            KeyResult(key, _item(_result_of(key, pending.keys[key.path]), inbox))
            for key in finding.key_slices
            if key.path in pending.keys
        ),
        slices=tuple(_item(result, inbox) for result in pending.results),
    )


def _result_of(key: KeySlice, results: Sequence[Event]) -> Event:
    """Return the last result of a key slice; frames without a position of their own are told apart by their answer."""
    placed = [one for one in results if one["position"] is not None and float(one["position"]) == key.position]
    last = {one["frame"]: one for one in placed or results}
    return max(last.values(), key=lambda one: float(one["probability"] or 0))


def _item(event: Event, inbox: str) -> Item:
    return Item(finding_of(event), inbox, event["hash"], event["timestamp"])
