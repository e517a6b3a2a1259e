"""What an event is: its kinds, its one canonical text, its hash, and the way back from a line."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, fields
from datetime import UTC, datetime
from enum import StrEnum
from itertools import groupby
from types import NoneType
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeAlias

import msgspec

from screener.audit.schemas import REQUIRED
from screener.domain.finding import Decision, Finding, Urgency
from screener.domain.slice import Reason, SliceMeasurements
from screener.domain.study import KeySlice, SeriesFinding, SliceCounts, StudyFinding
from screener.errors import AuditLogError

if TYPE_CHECKING:
    from collections.abc import Sequence

SCHEMA = 2
"""Version in which events are written; see `screener.audit.schemas` for all that can be read."""
COMPLETE = "complete"
"""The reason of an END after which nothing is left to do."""
GENESIS = "0" * 64
"""The ``prev`` of the very first event of a log."""
MAX_LINE = 1 << 20
"""Bytes of the longest line written or read: a bound on what a hostile log can make a reader hold."""

Event: TypeAlias = dict[str, Any]


class Kind(StrEnum):
    """What an event tells."""

    START = "START"
    RESULT = "RESULT"
    STUDY = "STUDY"
    REVIEW = "REVIEW"
    RECOVERED = "RECOVERED"
    RECEIVED = "RECEIVED"
    DELETED = "DELETED"
    SENT = "SENT"
    ALERT = "ALERT"
    END = "END"


class BadLineError(ValueError):
    """A line that is not a sound event; the message says why."""


_FINDING = tuple(field.name for field in fields(Finding) if field.name != "level")
_LATER = frozenset({"frame", "study_id", "series_id", "position", "sequence", "plane"})
"""Fields of a finding that schema 1 did not have."""
_DECIMALS = ("probability", "confidence", "threshold", "position")
_STORED: dict[str, tuple[type, ...]] = {"str": (str,), "str | None": (str, NoneType), "int": (int,)}
"""How a log stores a field, by its annotation."""
_COMMON = frozenset({"schema", "event", "timestamp", "run_id", "prev"})
_SUFFIX = len(f',"hash":"{GENESIS}"}}\n')


def _refuse_number(text: str) -> NoReturn:
    raise ValueError(f"the number {text[:20]} is not a string")


# Made once: json.dumps would build an encoder for every event.
_encode_any = json.JSONEncoder(sort_keys=True, separators=(",", ":"), check_circular=False, allow_nan=False).encode
_NOT_PRINTED = re.compile(r"[^\x00-\x7e]")
"""What canonical text writes as ``\\uNNNN`` and the faster encoder as it is."""
_encode_plain = msgspec.json.Encoder(order="sorted").encode
_decode = json.JSONDecoder(parse_float=_refuse_number, parse_constant=_refuse_number).decode


def _encode(event: Event) -> str:
    """Write an event; most hold no quotes or backslashes, and then a faster encoder gives the same text."""
    try:
        data = _encode_plain(event)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return _encode_any(event)
    if b"\\" in data:
        return _encode_any(event)
    return _NOT_PRINTED.sub(_escape, data.decode("utf-8"))


def _escape(match: re.Match[str]) -> str:
    return json.dumps(match[0])[1:-1]


def canonical(event: Event) -> str:
    """Return the one text of an event that is hashed: sorted keys, no spaces, pure ASCII."""
    return _encode(event)


def text_of(value: float) -> str:
    """Return the shortest decimal text that reads back as exactly this number.

    Rounding would let a logged probability stand on the other side of the threshold than its decision.
    """
    return float.__repr__(float(value))


def clean_text(text: str) -> str:
    """Return the text as JSON gives it back: two half surrogates side by side become one character."""
    if text.isascii():
        return str(text)
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


def plain(value: object) -> Any:  # noqa: ANN401 - JSON is what it is
    """Return a value as the log stores it.

    Parameters
    ----------
    value : object
        Text, whole numbers, booleans, None, decimals (become strings), paths, and lists and mappings of these.

    Returns
    -------
    object
        What reading the written event gives back.

    Raises
    ------
    TypeError
        For anything else: what has no obvious text does not belong in evidence.
    """
    if isinstance(value, Mapping):
        return {_key(name): plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return _scalar(value)


def _scalar(value: object) -> str | int | None:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return text_of(value)
    if isinstance(value, os.PathLike):
        return clean_text(os.fsdecode(value))
    raise TypeError(f"an audit event cannot hold a {type(value).__name__}")


def _key(name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(f"an audit event cannot hold a key of type {type(name).__name__}")
    return clean_text(name)


def now() -> str:
    """Return the time as the log writes it: UTC, ISO 8601, microseconds, ending in ``Z``."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def new_event(kind: Kind, run_id: str, content: Mapping[str, object]) -> Event:
    """Return an event without its place in the chain.

    Raises
    ------
    ValueError
        If `content` names a field that the log itself fills in.
    """
    taken = sorted((_COMMON | {"hash"}) & content.keys())
    if taken:
        raise ValueError(f"reserved in audit events: {', '.join(taken)}")
    event: Event = plain(content)
    event.update(schema=SCHEMA, event=kind.value, timestamp=now(), run_id=run_id)
    return event


def result_event(
    finding: Finding,
    run_id: str,
    *,
    doctor_id: str | None,
    preprocessing: str,
    measurements: SliceMeasurements | None = None,
) -> Event:
    """Return the RESULT event of a finding; a verdict comes later, as an event of its own."""
    # The fields are known, so this leaves out `plain`, which would take a third of the time of a whole append.
    event: Event = {name: getattr(finding, name) for name in _FINDING}
    for name in _DECIMALS:
        event[name] = None if event[name] is None else text_of(event[name])
    event.update(doctor_id=doctor_id, final_diagnosis=None, agreement=None, preprocessing=preprocessing)
    event.update(statistics=None, embedding=None)
    if measurements is not None:
        statistics = {name: clean_text(value) for name, value in measurements.statistics.items()}
        event.update(statistics=statistics, embedding=measurements.embedding)
    for name, value in event.items():
        if isinstance(value, str) and not (type(value) is str and value.isascii()):
            event[name] = clean_text(value)
    event.update(schema=SCHEMA, event=Kind.RESULT.value, timestamp=now(), run_id=run_id)
    return event


class ResultNumber(NamedTuple):
    """Where a RESULT stands among those that its run wrote about its study: 1 for the first.

    Attributes
    ----------
    run_id : str
    study_id : str or None
        As the event names it.
    number : int
    """

    run_id: str
    study_id: str | None
    number: int


def study_event(
    finding: StudyFinding,
    run_id: str,
    *,
    preprocessing: str,
    results_sha256: str,
    earlier_results: Sequence[ResultNumber],
) -> Event:
    """Return the STUDY event of a finding; of a series, curve and reason follow from its RESULT events."""
    event: Event = plain(asdict(finding))
    del event["level"]
    for series in event["series"]:
        del series["curve"], series["reason"]
    event.update(preprocessing=preprocessing, results_sha256=results_sha256, earlier_results=_rows_of(earlier_results))
    event.update(schema=SCHEMA, event=Kind.STUDY.value, timestamp=now(), run_id=run_id)
    return event


def _rows_of(results: Sequence[ResultNumber]) -> list[Event]:
    """Bring results of one run and study together, and numbers that follow each other."""
    found: list[Event] = []
    for (run_id, study_id), group in groupby(results, lambda one: (one.run_id, one.study_id)):
        numbers: list[list[int]] = []
        for one in group:
            if numbers and one.number == numbers[-1][1] + 1:
                numbers[-1][1] = one.number
            else:
                numbers.append([one.number, one.number])
        found.append({"run_id": run_id, "study_id": study_id, "numbers": numbers})
    return found


def run_answered(end: Event) -> bool:
    """Say whether an END tells that everything which the run was to screen stands in the log."""
    counts = end["counts"]
    return end["reason"] == COMPLETE and isinstance(counts, dict) and counts.get("deferred") == 0


def digest_of(results: Sequence[str]) -> str:
    """Return the lower-case hex SHA-256 over hashes of events, each 64 ASCII letters, one after the other."""
    return hashlib.sha256("".join(results).encode("ascii")).hexdigest()


def measurements_of(event: Mapping[str, Any]) -> SliceMeasurements | None:
    """Return what a RESULT event records of its slice's pixels; None where it records nothing of the kind."""
    statistics, embedding = event.get("statistics"), event.get("embedding")
    if not isinstance(statistics, Mapping):
        return None
    return SliceMeasurements(statistics, embedding if isinstance(embedding, str) else None)


def finding_of(event: Event, *, seen_before: bool | None = None) -> Finding:
    """Return the finding that a RESULT event records.

    Parameters
    ----------
    event : dict
        A RESULT event, as `read` or a look-up gives it.
    seen_before : bool or None
        Overrides the recorded value, for a finding that is shown again.

    Raises
    ------
    ValueError, KeyError, TypeError
        If the event records no finding.
    """
    content: dict[str, Any] = {name: event.get(name) if name in _LATER else event[name] for name in _FINDING}
    for name in _DECIMALS:
        content[name] = None if content[name] is None else float(content[name])
    _restore_words(content, seen_before=seen_before)
    return Finding(**content)


def study_finding_of(event: Mapping[str, Any], *, seen_before: bool | None = None) -> StudyFinding:
    """Return the finding that a STUDY event records; the curves of its series are empty.

    Parameters
    ----------
    event : mapping
        A STUDY event.
    seen_before : bool or None
        Overrides the recorded value, for a finding that is shown again.

    Raises
    ------
    ValueError, KeyError, TypeError
        If the event records no finding.
    """
    content = _fields_of(StudyFinding, event) | {"level": "study"}
    _restore_words(content, seen_before=seen_before)
    content["slices"] = SliceCounts(**_fields_of(SliceCounts, event["slices"]))
    content["series"] = tuple(_series_of(one) for one in event["series"])
    content["key_slices"] = tuple(KeySlice(**_fields_of(KeySlice, one)) for one in event["key_slices"])
    return StudyFinding(**content)


def _restore_words(content: dict[str, Any], *, seen_before: bool | None) -> None:
    """Turn the words of a finding into the members that they name, in place."""
    content["decision"] = Decision(content["decision"])
    content["urgency"] = Urgency(content["urgency"])
    content["reason"] = None if content["reason"] is None else Reason(content["reason"])
    if seen_before is not None:
        content["seen_before"] = seen_before


def _series_of(stored: Mapping[str, Any]) -> SeriesFinding:
    found = _fields_of(SeriesFinding, stored) | {"curve": ()}
    if found.get("reason") is not None:
        found["reason"] = Reason(found["reason"])
    return SeriesFinding(**found)


def _fields_of(kind: type, stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is stored of the fields of a type, decimal numbers read from their text.

    Raises
    ------
    TypeError
        What is to be text or a count is neither.
    """
    found = {item.name: stored[item.name] for item in fields(kind) if item.name in stored}
    for item in fields(kind):
        allowed = _STORED.get(str(item.type))
        if allowed is not None and item.name in found and not isinstance(found[item.name], allowed):
            raise TypeError(f"{item.name} is no {item.type}")
    for name in _DECIMALS:
        if found.get(name) is not None:
            found[name] = float(found[name])
    return found


def scored(event: Event) -> bool:
    """Say whether a RESULT event carries a probability that may be used again."""
    probability = event["probability"]
    return probability is not None and math.isfinite(float(probability))


def seal(event: Event, prev: str) -> tuple[bytes, str]:
    """Give an event its place in the chain.

    Parameters
    ----------
    event : dict
        From `new_event`; its ``prev`` is set.
    prev : str
        Hash of the event before, or `GENESIS`.

    Returns
    -------
    tuple of (bytes, str)
        The line with its newline, and its hash. The hash stands last, so that what it covers is the
        line without its end, byte for byte.

    Raises
    ------
    AuditLogError
        If the line would be longer than a reader accepts.
    """
    event["prev"] = prev
    body = _encode(event)
    digest = hashlib.sha256(body.encode("ascii")).hexdigest()
    line = f'{body[:-1]},"hash":"{digest}"}}\n'.encode("ascii")
    if len(line) > MAX_LINE:
        raise AuditLogError(
            f"an audit event of {len(line)} bytes is longer than the {MAX_LINE} that a reader accepts",
            "Shorten what is recorded: a file name, a note or the options.",
        )
    return line, digest


def hash_in(line: bytes) -> str:
    """Return the hash that a sound line ends in."""
    return line[-67:-3].decode("ascii")


def parse(line: bytes) -> Event:
    """Read one line and check all that can be checked about it alone.

    Parameters
    ----------
    line : bytes
        With its newline, at most `MAX_LINE` bytes.

    Returns
    -------
    dict
        The event, ``hash`` included.

    Raises
    ------
    BadLineError
        If the line is cut, too long, not canonical JSON, of an unknown schema, or not what its hash says.
    """
    text = _text(line)
    event = _object(text)
    claimed = event.pop("hash", None)
    schema = event.get("schema")
    if type(schema) is not int or schema not in REQUIRED:
        raise BadLineError(f"unknown schema {str(schema)[:20]!a}")
    if text[-_SUFFIX:] != f',"hash":"{claimed}"}}\n':
        raise BadLineError("does not end in its hash")
    body = text[:-_SUFFIX] + "}"
    if hashlib.sha256(body.encode("ascii")).hexdigest() != claimed:
        raise BadLineError("content does not match its hash")
    # Only a forger who hashes anew gets here with doubled keys or a second spelling of the same event.
    if _encode(event) != body:
        raise BadLineError("not in canonical form, or a doubled key")
    _check_fields(event)
    event["hash"] = claimed
    return event


def skim(line: bytes, prev: str) -> str | None:
    """Hold a line to its hash and to the event before it, without reading its fields.

    Parameters
    ----------
    line : bytes
        With its newline.
    prev : str
        Hash of the event before.

    Returns
    -------
    str or None
        Its hash; None where either does not fit, or the line is not short ASCII: `parse` says what is wrong.
    """
    claimed = line[-_SUFFIX:]
    if len(line) > MAX_LINE or not line.isascii() or f'"prev":"{prev}"'.encode("ascii") not in line:
        return None
    digest = hashlib.sha256(line[:-_SUFFIX])
    digest.update(b"}")
    found = digest.hexdigest()
    return found if claimed == f',"hash":"{found}"}}\n'.encode("ascii") else None


def _text(line: bytes) -> str:
    if len(line) > MAX_LINE:
        raise BadLineError(f"longer than {MAX_LINE} bytes")
    if not line.endswith(b"\n"):
        raise BadLineError("incomplete last line, as a crash while writing leaves it")
    try:
        return line.decode("ascii")
    except UnicodeDecodeError as error:
        raise BadLineError(f"byte {error.start + 1} of the line is not ASCII") from None


def _object(text: str) -> Event:
    try:
        event = _decode(text)
    except RecursionError:
        raise BadLineError("nested too deeply") from None
    except ValueError as error:
        raise BadLineError(f"not JSON: {str(error)[:80]}") from None
    if type(event) is not dict:
        raise BadLineError("not a JSON object")
    return event


def _check_fields(event: Event) -> None:
    kind = event.get("event")
    required = REQUIRED[event["schema"]].get(kind) if isinstance(kind, str) else None
    if required is None:
        raise BadLineError(f"unknown event {str(kind)[:20]!a}")
    if not required <= event.keys():
        raise BadLineError(f"lacks {', '.join(sorted(required - event.keys()))}")
    if not all(isinstance(event[name], str) for name in ("run_id", "timestamp", "prev")):
        raise BadLineError("run_id, timestamp or prev is not text")
