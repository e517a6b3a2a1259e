"""The words that every part shares, in English; French is in ``locale/fr``."""

from __future__ import annotations

import os

from screener.catalogue import LANGUAGES, Catalogue, Language, Sentence
from screener.domain.finding import Urgency

__all__ = ["LANGUAGES", "NOTICE", "RECOMMENDATION", "TEXT", "URGENCY_WORD", "Language", "language"]

NOTICE = Sentence("notice", "Decision aid. Not a diagnosis, not a medical device: no CE or FDA clearance.")

RECOMMENDATION = Catalogue(
    "recommendation",
    {
        Urgency.HIGH: "SUSPECTED TUMOUR – read first; neurosurgical opinion if confirmed",
        Urgency.MEDIUM: "POSSIBLE TUMOUR – read soon",
        Urgency.REVIEW: "NOT ASSESSABLE – a radiologist must look",
        Urgency.LOW: "NOT FLAGGED – usual reading; does not exclude a tumour",
    },
)

TEXT = Catalogue(
    "table",
    {
        "title": "Reading order",
        "urgency": "Urgency",
        "patient": "Patient",
        "probability": "Probability",
        "threshold": "Threshold",
        "file": "File",
        "study": "Study",
        "series_slices": "Series · slices",
        "key_slice": "Key slice",
        "recommendation": "Recommendation",
        "seen_before": "seen before",
        "hidden": "{count} more not shown here; all are in the log (--top 0 shows all)",
        "study_counts": "{total} studies: {high} HIGH, {medium} MEDIUM, {review} REVIEW, {low} LOW",
        "studies_deferred": "{count} studies still arriving: left for the next run",
        "aggregation": "Studies: highest mean of {window} neighbouring slices of a series, at the threshold of a "
        "slice; not certified by patient",
        "study_point": "Studies: highest mean of {window} neighbouring slices of a series, threshold {threshold} "
        "({name})",
        "study_rate": "{value} ({low}–{high}; {hits}/{count} patients)",
        "study_uncertified": "studies, {name}: not certified by patient",
        "study_certified": "studies, {name}: certified for sensitivity ≥ {target} at {level} confidence: {missed} of "
        "{units} patients missed; holds for patients like these",
        "study_recipe": "this certifies the recipe: each patient was judged by a model that saw no patient of the "
        "same site",
        "counts": "{total} slices: {high} HIGH, {medium} MEDIUM, {review} REVIEW, {low} LOW",
        "seen": "{count} of them seen before, not scored again",
        "deferred": "{count} files still being written: left for the next run",
        "skipped": "{count} links or special files left out and not screened: --dry-run names them",
        "unlisted": "{count} slices of the last run were judged before in another inbox and are not listed here: "
        "report that inbox, or scan with --rescan",
        "stopped": "Stopped before the end: the next run goes on from here",
        "point": "Threshold {threshold} ({name}) · model {model}",
        "measured": "sensitivity {sensitivity}, specificity {specificity} on the {where}",
        "unmeasured": "{name}: no figures were measured for this threshold",
        "uncertified": "{name}: not certified",
        "certified": "{name}: certified for sensitivity ≥ {target} at {level} confidence: {missed} of {units} patients "
        "or runs of slices missed; holds for patients like these",
        "rate": "{value} ({low}–{high}; {hits}/{count} slices, {units} patients or groups)",
        "log": "Log: {path}",
        "scanning": "Screening",
    },
)

URGENCY_WORD = Catalogue("urgency", {urgency: urgency.value for urgency in Urgency})


def language(requested: str | None = None) -> Language:
    """Return the language asked for, or the one of the locale; English when that is neither."""
    if requested is None:
        requested = next(filter(None, (os.environ.get(name) for name in ("LC_ALL", "LC_MESSAGES", "LANG"))), "en")
    return "fr" if requested.lower().startswith("fr") else "en"
