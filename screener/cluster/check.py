"""Hold what a worker answered to what was asked."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from screener.cluster.orders import Answer
from screener.domain.slice import Identity, Reason, Refused, SliceMeasurements
from screener.pipeline.slice import AnsweredFile, ScoredSlice, SeenSlice

if TYPE_CHECKING:
    from screener.cluster.orders import Known, Order
    from screener.inbox import Entry

_SHA256 = re.compile(r"[0-9a-f]{64}")


def flaw(answer: object, order: Order) -> str | None:
    """Say what is wrong with an answer; None where every file has one that can be believed.

    Parameters
    ----------
    answer : object
        Whatever came back.
    order : Order
    """
    if not isinstance(answer, Answer):
        return f"answered with a {type(answer).__name__}"
    if not isinstance(answer.files, tuple) or len(answer.files) != len(order.entries):
        return f"answered about another number of files than the {len(order.entries)} asked"
    for file, entry, known in zip(answer.files, order.entries, order.known, strict=True):
        if not isinstance(file, AnsweredFile) or not isinstance(file.items, list) or not file.items:
            return f"has no answer about {entry.path}"
        for item in file.items:
            if (found := _flaw(item, entry, known)) is not None:
                return f"{found}: {entry.path}"
    return None


def _flaw(item: object, entry: Entry, known: Known) -> str | None:
    if not isinstance(item, ScoredSlice | SeenSlice | Refused) or not isinstance(item.identity, Identity):
        return f"answered with a {type(item).__name__} for a slice"
    if item.identity.path != entry.path:
        return f"answered about {str(item.identity.path)[:80]!a} instead"
    if isinstance(item, Refused):
        return None if isinstance(item.reason, Reason) else "refused without a reason"
    return _flaw_of_judged(item, known)


def _flaw_of_judged(item: ScoredSlice | SeenSlice, known: Known) -> str | None:
    who = item.identity
    if not isinstance(who.sha256, str) or _SHA256.fullmatch(who.sha256) is None:
        return "answered without a digest"
    if isinstance(item, SeenSlice):
        return None if (who.sha256, who.frame) in known else "did not score a slice that the log does not know"
    if not (item.measurements is None or isinstance(item.measurements, SliceMeasurements)):
        return "answered with measurements of no known kind"
    probability = item.prediction.probability
    if not isinstance(probability, float) or probability < 0.0 or probability > 1.0:
        return f"answered with a probability of {str(probability)[:20]!a}"
    return None
