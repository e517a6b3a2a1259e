"""What the waiting times say, in English; French is in ``locale/fr``."""

from __future__ import annotations

from screener.catalogue import Catalogue, Sentences

TEXT = Catalogue(
    "queue",
    {
        "title": "What reading in the tool's order gains",
        "sentence": (
            "At a load of {load} (readers: {readers}) a patient with a tumour waits {after} on average instead of "
            "{before}, and a patient without one {others} instead of {before}."
        ),
        "inputs": (
            "{arrivals} studies a week, {minutes} minutes each, {hours} hours of reading a week; prevalence "
            "{prevalence}, sensitivity {sensitivity}, specificity {specificity}, not assessable {not_assessable}."
        ),
        "from_log": "From the log: {studies} studies, {verdicts} with a verdict of tumour or no tumour.",
        "given": "All figures were given: waits have no interval.",
        "overloaded": (
            "In {share} of the sites that the log allows for, the readers cannot keep up; the intervals leave them out."
        ),
        "problem": "The log cannot be trusted to its end; this rests on what stands before. {problem}",
        "order": "Order",
        "who": "Patients",
        "formula": "Mean wait, formula",
        "simulated": "Mean wait, simulated",
        "arrival": "in order of arrival",
        "tool": "in the tool's order",
        "everybody": "all",
        "tumour": "with a tumour",
        "no_tumour": "without a tumour",
        "interval": "{value} ({low} to {high})",
        "days": "{count} days",
        "hours_long": "{count} hours",
        "minutes_long": "{count} minutes",
        "chart": "Mean wait in days by load; the line marks this site",
        "legend": (
            "Blue: in order of arrival. Red: with a tumour, in the tool's order. Dashed: without a tumour, in it."
        ),
        "method": "How this is computed",
    },
)

METHOD = Sentences(
    "queue method",
    (
        (
            "Studies arrive at random; reading times are exponential; readings that have begun are not interrupted. "
            "Flagged studies are read first, then those not assessable, then the others (Cobham 1954; Kella and "
            "Yechiali 1985; Thompson et al. 2024)."
        ),
        (
            "Hours of reading time are told as days of the calendar: a week of reading hours is seven days. The wait "
            "ends when reading begins."
        ),
        "Intervals draw the figures of the log within theirs; what was given has none.",
        (
            "The order takes no reading time away: the mean over all patients stays. A load near 1 gains most, and "
            "says that readers are missing."
        ),
    ),
)
