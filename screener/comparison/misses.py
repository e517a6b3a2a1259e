"""Tumours that a model once missed: hashes and scores, no pictures, so that no later model misses them again.

A file has one JSON object a line: what one model said about one study. The first line about a study is the miss; later
ones say what later models made of it. A miss comes back when a recorded model flagged the study and the candidate does
not.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from screener.domain.slice import Identity, Refused
from screener.errors import NothingFoundError, UsageError
from screener.inbox import Entry

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from screener.domain.finding import Finding
    from screener.domain.study import StudyFinding
    from screener.model.session import Model
    from screener.pipeline.slice import ScoredSlice, SlicePipeline
    from screener.triage import TriagePolicy

FOLDER = "misses"
"""Folder of a model, and of the user's data, that holds the files."""
_MAX_LINE = 4 << 20
_CHUNK = 1 << 20


class MissedSlice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One slice of a missed study."""

    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$", description="Digest of the file.")]
    probability: Annotated[float | None, Meta(description="What the model said; null where it refused the slice.")]
    frame: Annotated[int | None, Meta(description="Number of the frame in a multi-frame file; else null.")] = None
    series_id: Annotated[str | None, Meta(description="Series that the slice belongs to.")] = None
    position: Annotated[float | None, Meta(description="mm along the normal, or the index.")] = None
    sequence: Annotated[str | None, Meta(description="Its sequence.")] = None
    plane: Annotated[str | None, Meta(description="Its plane.")] = None


class Miss(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one model said about a study with a tumour that a model has missed."""

    study: Annotated[str, Meta(description="The study, as the log or the set names it.")]
    decision: Annotated[Literal["flagged", "not_flagged", "not_assessable"], Meta(description="Decision of the model.")]
    probability: Annotated[float | None, Meta(description="In [0, 1]; null where not assessable.")]
    threshold: Annotated[float, Meta(ge=0, le=1, description="Flagged from this probability on.")]
    model: Annotated[str, Meta(description="Name and version of the model.")]
    model_sha256: Annotated[str, Meta(description="Digest of the ONNX file.")]
    recorded: Annotated[str, Meta(description="When this was written, UTC.")]
    source: Annotated[str, Meta(description="Where the label comes from: a verdict, or the set.")]
    slices: Annotated[tuple[MissedSlice, ...], Meta(min_length=1, description="Its slices.")]

    @property
    def key(self) -> frozenset[tuple[str, int | None]]:
        """What names the study: its pixels."""
        return frozenset((one.sha256, one.frame) for one in self.slices)

    @property
    def flagged(self) -> bool:
        """Whether the model flagged it."""
        return self.decision == "flagged"


class Outcome(msgspec.Struct, frozen=True):
    """What became of one missed study with the candidate."""

    study: Annotated[str, Meta(description="The study.")]
    outcome: Annotated[
        Literal["found", "still_missed", "comes_back", "not_checked"],
        Meta(description="What the candidate made of it; `not_checked`: the pictures were not found."),
    ]
    missed_by: Annotated[str, Meta(description="The latest model that missed it.")]
    found_by: Annotated[str | None, Meta(description="The latest model that flagged it, or null.")]
    probability: Annotated[float | None, Meta(description="Of the candidate.")]
    threshold: Annotated[float | None, Meta(description="To which it was held.")]


@dataclass(frozen=True, slots=True)
class MissHistory:
    """All lines about one study, oldest first."""

    lines: tuple[Miss, ...]

    @property
    def missed_by(self) -> Miss:
        """The line of a model that missed it: the latest."""
        return next((one for one in reversed(self.lines) if not one.flagged), self.lines[0])

    @property
    def found_by(self) -> Miss | None:
        """The latest line of a model that flagged it, or None."""
        return next((one for one in reversed(self.lines) if one.flagged), None)

    def of_model(self, sha256: str) -> Miss | None:
        """Return the latest line of a model, or None."""
        return next((one for one in reversed(self.lines) if one.model_sha256 == sha256), None)


def miss_files(places: Iterable[Path]) -> list[Path]:
    """Return the files with misses: those that are named, and every ``*.jsonl`` in folders that are named."""
    found: list[Path] = []
    for place in places:
        found += sorted(place.glob("*.jsonl")) if place.is_dir() else [place]
    return list(dict.fromkeys(found))


def read_misses(files: Sequence[Path]) -> list[MissHistory]:
    """Read what is recorded of missed studies, one history a study.

    Raises
    ------
    UsageError
        A file cannot be read, or a line of it is none; the message names file and line.
    """
    found: dict[frozenset[tuple[str, int | None]], list[Miss]] = defaultdict(list)
    for file in files:
        for one in _lines(file):
            found[one.key].append(one)
    return [MissHistory(tuple(sorted(lines, key=lambda one: one.recorded))) for lines in found.values()]


def _lines(file: Path) -> Iterator[Miss]:
    try:
        with file.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                if len(line) > _MAX_LINE:
                    raise UsageError(f"{file}:{number}: longer than {_MAX_LINE} bytes", "restore the file")
                if line.strip():
                    yield _miss(file, number, line)
    except OSError as error:
        raise UsageError(
            f"{file} cannot be read: {error.strerror}", "name a file that screener model misses wrote"
        ) from None


def _miss(file: Path, number: int, line: bytes) -> Miss:
    try:
        return msgspec.json.decode(line, type=Miss)
    except (msgspec.DecodeError, RecursionError) as error:
        raise UsageError(f"{file}:{number}: {error}", "correct or remove that line") from None


def append_misses(file: Path, misses: Sequence[Miss]) -> int:
    """Append what is not recorded yet, by study and model, and return how many lines that were.

    Raises
    ------
    UsageError
        The file cannot be read or written.
    """
    known = {(one.key, one.model_sha256) for one in (_lines(file) if file.exists() else ())}
    fresh = [one for one in misses if (one.key, one.model_sha256) not in known]
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("ab") as stream:
            stream.writelines(msgspec.json.encode(one) + b"\n" for one in fresh)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror}", "name another file with --out") from None
    return len(fresh)


def miss_of(finding: StudyFinding, slices: Sequence[Finding], source: str) -> Miss:
    """Return the line about a study.

    Parameters
    ----------
    finding : StudyFinding
        What the model said.
    slices : sequence of Finding
        Its slices, with their hashes; at least one could be read.
    source : str
        Where the label comes from.
    """
    return Miss(
        study=finding.study_id,
        decision=finding.decision.value,
        probability=finding.probability,
        threshold=finding.threshold,
        model=finding.model,
        model_sha256=finding.model_sha256,
        recorded=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        source=source,
        slices=tuple(
            MissedSlice(one.sha256, one.probability, one.frame, one.series_id, one.position, one.sequence, one.plane)
            for one in slices
            if one.sha256
        ),
    )


def find_by_hash(folder: Path, wanted: set[str]) -> dict[str, Path]:
    """Return where files with these digests lie below a folder; links are not followed.

    Raises
    ------
    NothingFoundError
        There is no such folder.
    """
    if not folder.is_dir():
        raise NothingFoundError(f"no such folder: {folder}", "name the folder with the pictures")
    found: dict[str, Path] = {}
    for base, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(base) / name
            digest = digest_of_file(path)
            if digest in wanted:
                found.setdefault(digest, path)
            if len(found) == len(wanted):
                return found
    return found


def digest_of_file(path: Path) -> str:
    """Return the digest of an ordinary file; empty for what is none, or cannot be read."""
    if path.is_symlink() or not path.is_file():
        return ""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while part := file.read(_CHUNK):
                digest.update(part)
    except OSError:
        return ""
    return digest.hexdigest()


def check_model(
    histories: Sequence[MissHistory], model: Model, policy: TriagePolicy, files: Mapping[str, Path]
) -> Iterator[tuple[Outcome, Miss | None]]:
    """Hold a candidate to every missed study whose pixels were found, or whose answer by it is recorded.

    Parameters
    ----------
    histories : sequence of MissHistory
    model : Model
    policy : TriagePolicy
        Its operating point decides.
    files : mapping of str to Path
        Where the pixels lie, by digest.

    Yields
    ------
    tuple of (Outcome, Miss or None)
        What became of a study, and the line to record; None where nothing new was found.
    """
    from screener.pipeline.slice import SlicePipeline

    with SlicePipeline.of(model) as pipeline:
        for history in histories:
            slices = history.lines[0].slices
            known = history.of_model(model.sha256)
            line = None
            if all(one.sha256 in files for one in slices):
                line = known = _judged(history.lines[0], pipeline, policy, files)
            yield _outcome(history, known), line


def _outcome(history: MissHistory, now: Miss | None) -> Outcome:
    found_by = history.found_by
    if now is None:
        outcome: Literal["found", "still_missed", "comes_back", "not_checked"] = "not_checked"
    elif now.flagged:
        outcome = "found"
    else:
        outcome = "comes_back" if found_by is not None else "still_missed"
    return Outcome(
        history.lines[0].study,
        outcome,
        history.missed_by.model,
        None if found_by is None else found_by.model,
        None if now is None else now.probability,
        None if now is None else now.threshold,
    )


def _judged(miss: Miss, pipeline: SlicePipeline, policy: TriagePolicy, files: Mapping[str, Path]) -> Miss:
    """Let the candidate judge a study, its slices ordered as they were."""
    from screener.pipeline.slice import build_finding
    from screener.pipeline.study import Aggregation, StudySlices, study_finding

    study = StudySlices(miss.study, None)
    findings = []
    for place, one in enumerate(miss.slices):
        finding = build_finding(_scored(one, place, miss.study, pipeline, files[one.sha256]), policy)
        study.add(finding)
        findings.append(finding)
    return miss_of(study_finding(study, policy, Aggregation.of(pipeline.model.card)), findings, miss.source)


def _scored(one: MissedSlice, place: int, study: str, pipeline: SlicePipeline, path: Path) -> ScoredSlice | Refused:
    """Let the candidate answer about one slice, which keeps its recorded place in the study."""
    identity = Identity(
        f"{place:06d}",
        one.sha256,
        None,
        frame=one.frame,
        study_id=study,
        series_id=one.series_id,
        position=one.position,
        sequence=one.sequence,
        plane=one.plane,
    )
    items = pipeline.read(Entry(path, path.name, None)).items
    item = next((item for item in items if item.identity.frame == one.frame), items[0])
    outcome = item if isinstance(item, Refused) else pipeline.score([item])[0]
    return replace(outcome, identity=identity)
