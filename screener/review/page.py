"""The review page: its words and its template filled with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from screener.catalogue import Catalogue
from screener.domain.verdict import Diagnosis
from screener.report.messages import EVIDENCE
from screener.report.rendering import render
from screener.review.verdicts import NOTE_LIMIT

if TYPE_CHECKING:
    from screener.messages import Language

KEYS = {Diagnosis.TUMOUR: "t", Diagnosis.NO_TUMOUR: "n", Diagnosis.UNSURE: "u", Diagnosis.BAD_IMAGE: "b"}
"""Keys of the page and letters of the terminal."""

DIAGNOSIS = Catalogue(
    "review verdict",
    {
        Diagnosis.TUMOUR: "Tumour",
        Diagnosis.NO_TUMOUR: "No tumour",
        Diagnosis.UNSURE: "Unsure",
        Diagnosis.BAD_IMAGE: "Bad image",
    },
)

_WORDS = Catalogue(
    "review",
    {
        "title": "Review",
        "slice": "Slice",
        "tool": "What the tool says",
        "verdict": "Your verdict",
        "note": "Note",
        "heatmap": "Heatmap",
        "back": "Back",
        "forward": "Forward",
        "reset": "Reset view",
        "again": "Look for new studies",
        "patient": "Patient",
        "study": "Study",
        "file": "File",
        "position": "Slice {number} of {total} {series}",
        "next_key": "Next key slice",
        "only": "Verdict on this slice only",
        "only_hint": "The study stays on the list until it has a verdict of its own.",
        "slice_given": "Verdict on this slice: {verdict}",
        "earlier": "Earlier verdict",
        "earlier_given": "{verdict} ({doctor}), on an earlier answer about this study",
        "judged": "Screened",
        "probability": "Probability and threshold",
        "reason": "Reason",
        "model": "Model",
        "reader": "Reader",
        "progress": "{done} of {total} read",
        "unasked": "{count} studies or slices that were not flagged are not asked about here",
        "blind": "Blind: what the tool says is shown after your verdict",
        "drawn": "Asked because",
        "sampled": "Not flagged; drawn at random, so that misses are found",
        "given": "Verdict given: {verdict} ({doctor}). Another one corrects it; both stay in the log.",
        "saving": "Recording …",
        "saved": "Recorded: {verdict}",
        "failed": "Not recorded: {error} Give it again.",
        "nothing": "Nothing is waiting. Studies that were not flagged keep their usual reading.",
        "offline": "The server does not answer: start `screener review` again. What was recorded is in the log.",
        "wrong_token": "This address is not valid, or no longer: open the one that `screener review` printed last.",
        "moved": "No picture: the file has moved or changed.",
        "unreadable": "No picture: the file cannot be shown.",
        "no_heat": "No heatmap: the model that judged this slice is not at hand, or has none.",
        "hidden": "Hidden until the verdict is given.",
        "canvas": "The slice. Drag: contrast and brightness. Wheel: next slice. Ctrl and wheel: zoom. "
        "Shift and drag: move.",
        "keys_view": "[ ] slice, x key slice; a d contrast, w s brightness, + − zoom, arrows move, r reset, "
        "space heatmap",
        "keys_go": "j k forward, back; Enter next unread; l this slice only; m note, Esc leaves it",
        "not_scored": "not scored",
        "window": "Window {width}, level {level}, zoom {zoom}",
        "next": "Next unread",
    },
)


def words(lang: Language) -> dict[str, str]:
    """Return what the page says, by what it is for; verdicts by their name in the log."""
    return _WORDS[lang] | {diagnosis.value: label for diagnosis, label in DIAGNOSIS[lang].items()}


def markup(lang: Language) -> str:
    """Return the page, from ``review.html`` among the templates; it holds nothing about any patient."""
    return render(
        "review.html",
        lang,
        words=words(lang),
        evidence=EVIDENCE[lang],
        diagnoses=[(diagnosis.value, DIAGNOSIS[lang][diagnosis], key) for diagnosis, key in KEYS.items()],
        note_limit=NOTE_LIMIT,
    )
