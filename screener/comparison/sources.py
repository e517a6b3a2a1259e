"""Where the answers of two models come from: a folder that both screen, a labelled set, or the log of a shadow run."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from screener.audit import Kind
from screener.audit.files import shadow_log
from screener.audit.reader import EventReader, marked, verdict_of
from screener.comparison.figures import Answer, Comparison, Pair, Side, changed_studies, level_figures
from screener.domain.finding import Finding
from screener.domain.verdict import Diagnosis
from screener.errors import NothingFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from screener.audit import Event
    from screener.domain.study import StudyFinding
    from screener.errors import AuditLogError
    from screener.finding_store import FindingStore
    from screener.model.session import Model
    from screener.pipeline.config import ScanConfig
    from screener.study_store import StudyItem
    from screener.triage import TriagePolicy

_LABELS = {Diagnosis.TUMOUR: True, Diagnosis.NO_TUMOUR: False}
_FROM_SET, _FROM_VERDICTS = "the labelled set", "verdicts in the log"


class _Known(NamedTuple):
    """What one model said about a study or slice, whose it is, and what is known of it."""

    answer: Answer
    unit: str
    positive: bool | None = None


class _Screened(NamedTuple):
    """What one model said about everything."""

    side: Side
    studies: dict[object, _Known]
    slices: dict[object, _Known]


def is_labelled(source: Path) -> bool:
    """Say whether a source carries labels, as ``screener evaluate`` reads them: a CSV, or folders yes/ and no/."""
    from screener.evaluate.labelled import MANIFEST

    return source.is_file() or any((source / name).exists() for name in (MANIFEST, "yes", "no"))


def compare_models(source: Path, models: Sequence[Model], config: ScanConfig) -> Comparison:
    """Let two models judge the same studies, without a log.

    Parameters
    ----------
    source : Path
        A folder as a scan takes it, or a labelled set; see `is_labelled`.
    models : sequence of two Model
        The one in use, and the candidate.
    config : ScanConfig
        How a folder is read, and the threshold; each model has its own operating point of that name.

    Raises
    ------
    ScreenerError
        The source cannot be read, or holds nothing.
    """
    labelled = is_labelled(source)
    judge = _measured if labelled else _screened
    first, second = (judge(source, model, config) for model in models)
    return _comparison(str(source), _FROM_SET if labelled else None, first, second)


def policy_of(model: Model, threshold: str) -> TriagePolicy:
    """Return what a model decides by; to measure it, its ``auto`` need not be certified.

    Raises
    ------
    UsageError
        The model has no such operating point.
    """
    from screener.triage import TriagePolicy, operating_point

    points = model.card.operating_points
    return TriagePolicy(
        operating_point(threshold, points), points["confirmation"].threshold, model.card.title, model.sha256
    )


def _side(model: Model, policy: TriagePolicy) -> Side:
    from screener.pipeline.study import Aggregation

    point = policy.point
    study = Aggregation.of(model.card).point(policy)
    return Side(model.card.title, model.sha256, point.name, point.threshold, study.threshold)


def _screened(source: Path, model: Model, config: ScanConfig) -> _Screened:
    """Let one model screen a folder."""
    from screener.inbox import check
    from screener.pipeline.scan import Scan

    check(source, config.walk_options())
    policy = policy_of(model, config.threshold)
    found = _Screened(_side(model, policy), {}, {})
    for result in Scan(source, model, policy, config=config).results():
        unit = result.patient_id or result.study_id or result.path
        if isinstance(result, Finding):
            found.slices[result.path, result.sha256, result.frame] = _Known(_answer(result), unit)
        else:
            found.studies[result.study_id] = _Known(_answer(result), unit)
    return found


def _measured(source: Path, model: Model, config: ScanConfig) -> _Screened:
    """Let one model judge a labelled set."""
    from screener.evaluate.labelled import read_labelled
    from screener.evaluate.score import score_files
    from screener.evaluate.studies import StudyScorer

    labelled = read_labelled(source)
    policy = policy_of(model, config.threshold)
    answers = score_files([labelled.root / row.path for row in labelled.rows], model)
    scorer = StudyScorer.of(labelled, answers, model.card, model.sha256, policy.point)
    found = _Screened(_side(model, policy), {}, {})
    for study in scorer.studies():
        found.studies[study.name, study.members] = _Known(_answer(study.finding), str(study.unit), study.positive)
    units = labelled.row_units().tolist()
    for place, row in enumerate(labelled.rows):
        if row.label in {"yes", "no"}:
            finding = scorer.slice_finding(place)
            found.slices[row.path] = _Known(_answer(finding), str(units[place]), row.label == "yes")
    return found


def _answer(finding: Finding | StudyFinding) -> Answer:
    return Answer(finding.decision, finding.probability, None if finding.reason is None else finding.reason.value)


def _comparison(source: str, labels: str | None, first: _Screened, second: _Screened) -> Comparison:
    studies = list(_paired(first.studies, second.studies))
    slices = list(_paired(first.slices, second.slices))
    apart = len(first.studies.keys() ^ second.studies.keys())
    return _result(source, labels, sides=(first.side, second.side), studies=studies, slices=slices, apart=apart)


def _paired(first: dict[object, _Known], second: dict[object, _Known]) -> Iterator[Pair]:
    """Bring together what both models judged, in the order of the first."""
    for key, one in first.items():
        if key in second:
            name = key if isinstance(key, str) else str(key[0])  # type: ignore[index]
            yield Pair(name, one.unit, one.positive, one.answer, second[key].answer)


def _result(
    source: str, labels: str | None, *, sides: tuple[Side, Side], studies: list[Pair], slices: list[Pair], apart: int
) -> Comparison:
    if not studies and not slices:
        raise NothingFoundError(f"{source} holds nothing that both models judged", "name a folder, a CSV or a log")
    return Comparison(
        source=source,
        labels=labels,
        first=sides[0],
        second=sides[1],
        studies=level_figures(studies, independent=True),
        slices=level_figures(slices, independent=False),
        changed=changed_studies(studies),
        left_out=apart,
    )


def compare_from_log(log: Path) -> tuple[Comparison, AuditLogError | None]:
    """Compare what a model in use and the candidate of its last shadow run said, as both logs record it.

    The latest answer of either model about a study counts; verdicts are the labels.

    Parameters
    ----------
    log : Path
        The log of the model in use; that of its shadow runs lies beside it.

    Returns
    -------
    tuple of (Comparison, AuditLogError or None)
        The figures, and what stopped the reading of either log before its end.

    Raises
    ------
    AuditLogError
        One of the logs does not exist.
    NothingFoundError
        No scan on this log ran a candidate.
    """
    from screener.finding_store import FindingStore

    start = _last_start(log)
    candidate = str(start["shadow"]["model_sha256"])
    with FindingStore() as answers, FindingStore() as others:
        reader, shadow = EventReader(log), EventReader(shadow_log(log), shadow=True)
        _collect(reader, answers, str(start["model_sha256"]))
        last = _collect(shadow, others, candidate)
        pairs = [(item, others.studies.find(item.inbox, item.finding.study_id)) for item in answers.studies.items()]
        studies = [_study_pair(one, other) for one, other in pairs if other is not None]
        slices = [
            Pair(
                item.finding.path,
                item.finding.patient_id or item.finding.path,
                None,
                *_both(item.finding, other.finding),
            )
            for item in answers.first(None)
            if (other := others.same_slice(item)) is not None
        ]
        apart = len(pairs) - len(studies)
    sides = _logged_side(start, _threshold(pairs, 0)), _logged_side(last or start["shadow"], _threshold(pairs, 1))
    found = _result(str(log), _FROM_VERDICTS, sides=sides, studies=studies, slices=slices, apart=apart)
    return found, reader.problem or shadow.problem


def _threshold(pairs: Sequence[tuple[StudyItem, StudyItem | None]], place: int) -> float | None:
    """Return the threshold of studies that the latest answers of one model were held to; None where there is none."""
    found = [pair[place] for pair in pairs if pair[1] is not None]
    return None if not found or found[-1] is None else found[-1].finding.threshold


def _last_start(log: Path) -> Event:
    """Return the START of the last run that had a shadow run."""
    found = None
    for event in marked(log, Kind.START):
        found = event if isinstance(event.get("shadow"), dict) else found
    if found is None:
        raise NothingFoundError(f"no scan on {log} ran a candidate", "run: screener scan INBOX --shadow MODEL")
    return found


def _collect(reader: EventReader, store: FindingStore, model_sha256: str) -> Event | None:
    """Keep the latest answers of one model, with the verdicts; return the last START of that model."""
    from screener.finding_store import item_of
    from screener.study_store import study_item_of

    last = None
    for event in reader.events():
        kind = event["event"]
        if kind == Kind.REVIEW:
            store.add_verdict(verdict_of(event))
        elif event.get("model_sha256") != model_sha256:
            continue
        elif kind == Kind.STUDY:
            store.studies.add(study_item_of(reader, event))
        elif kind == Kind.RESULT:
            store.add(item_of(reader, event))
        elif kind == Kind.START:
            last = event
    return last


def _study_pair(one: StudyItem, other: StudyItem) -> Pair:
    verdict = one.verdict or one.earlier_verdict
    positive = None if verdict is None else _LABELS.get(Diagnosis(verdict.final_diagnosis))
    finding = one.finding
    return Pair(finding.study_id, finding.patient_id or finding.study_id, positive, *_both(finding, other.finding))


def _slice_pair(one: Finding, other: Finding) -> Pair:
    return Pair(one.path, one.patient_id or one.path, None, *_both(one, other))


def _both(one: Finding | StudyFinding, other: Finding | StudyFinding) -> tuple[Answer, Answer]:
    return _answer(one), _answer(other)


def _logged_side(start: Event, study_threshold: float | None) -> Side:
    """Return one of the models as its run's START records it."""
    threshold = float(start["threshold"])
    return Side(
        str(start["model"]),
        str(start["model_sha256"]),
        str(start["operating_point"]),
        threshold,
        threshold if study_threshold is None else study_threshold,
    )
