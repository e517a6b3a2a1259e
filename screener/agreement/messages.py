"""What the agreement report says, in English; French is in ``locale/fr``."""

from __future__ import annotations

from screener.catalogue import Catalogue, Sentences
from screener.domain.finding import Decision
from screener.domain.verdict import Diagnosis, SelectionReason

DECISION = Catalogue(
    "agreement decision",
    {
        Decision.FLAGGED: "flagged",
        Decision.NOT_FLAGGED: "not flagged",
        Decision.NOT_ASSESSABLE: "not assessable",
    },
)

DIAGNOSIS = Catalogue(
    "agreement diagnosis",
    {
        Diagnosis.TUMOUR: "tumour",
        Diagnosis.NO_TUMOUR: "no tumour",
        Diagnosis.UNSURE: "unsure",
        Diagnosis.BAD_IMAGE: "bad image",
    },
)

SELECTION = Catalogue(
    "agreement selection",
    {
        SelectionReason.FLAGGED: "read because it was flagged",
        SelectionReason.NOT_ASSESSABLE: "read because it was not assessable",
        SelectionReason.SAMPLE: "read as part of the random sample",
        SelectionReason.ASKED: "read because somebody opened it",
    },
)

FIGURE = Catalogue(
    "agreement figure",
    {
        "sensitivity": "Sensitivity",
        "specificity": "Specificity",
        "ppv": "Positive predictive value",
        "npv": "Negative predictive value",
        "kappa": "Cohen's kappa",
    },
)

UNKNOWN = Catalogue(
    "agreement unknown",
    {
        "not_flagged_unread": "cannot be known: no unflagged case was read that was drawn at random",
        "flagged_unread": "cannot be known: no flagged case was read",
        "not_assessable_unread": "cannot be known: no case that was not assessable was read",
        "none": "cannot be known: nothing to count",
    },
)

METHOD = Sentences(
    "agreement method",
    (
        (
            "Reference standard: the readers' verdicts “tumour” and “no tumour”. With several readers of one case the "
            "last verdict of each counts and the majority decides; without a majority the case is unsure. Cases that "
            "are unsure or a bad image count in no rate."
        ),
        (
            "Headline: a tumour in a case that was not assessable counts as a miss, no tumour in such a case as a "
            "false alarm. Beside it: assessable cases only."
        ),
        (
            "Flagged cases and those not assessable are all to be read; those read stand for their whole group, by "
            "model. Those not read yet are taken to be missing at random."
        ),
        (
            "Of the unflagged, a case drawn with chance s stands for 1/s cases (Horvitz and Thompson 1952), scaled "
            "so that the sample stands for all unflagged cases of its model and threshold; where no chance was "
            "recorded, all read count alike."
        ),
        "Unflagged cases that somebody opened on purpose are no random sample: each stands for itself only.",
        (
            "Intervals: 95 %, by resampling patients (folders where no patient is known) 2,000 times. Where no error "
            "was seen, from the exact binomial bound over patients, which also covers the cases not read."
        ),
        (
            "Weeks are those of the verdicts (ISO, UTC); their figures use the weights of the whole log. A verdict "
            "holds for the result of the model that it was given on."
        ),
        "Readers who saw the tool's answer first tend to agree with it: only blind verdicts are independent of it.",
    ),
)

REPORT = Catalogue(
    "agreement report",
    {
        "title": "Agreement with readers",
        "study": "Cases are studies: a verdict is about a study. --level slice counts the verdicts on slices.",
        "slice": "Cases are slices: a verdict is about a slice.",
        "no_key": "No picture: the study has no key slice.",
        "about": "{screened} cases screened, {read} of them read; {verdicts} verdicts recorded, corrected ones "
        "included. {blind} cases were read blind, before the tool's answer was shown.",
        "written": "Written {written} from {log}, log head {head}. {inbox}",
        "inbox": "Inbox {inbox} only.",
        "inboxes": "All inboxes of the log.",
        "nothing": "Nobody has given a verdict yet: there is no agreement to report. `screener worklist` shows what "
        "waits to be read.",
        "problem": "The log cannot be trusted to its end; this report rests on what stands before. {problem}",
        "unattached": "{count} verdicts refer to a result that this log does not hold; they count nowhere.",
        "other": "{count} cases have a verdict in other words than tumour, no_tumour, unsure or bad_image; it counts "
        "as unsure.",
        "thin": "By its own chances of being drawn, the sample of unflagged cases stands for {share} of them: drawn "
        "cases were not read, or none were drawn on some nights. The others are taken to be alike.",
        "overall": "Overall",
        "left_out": "Models and thresholds of which nothing was read are left out here.",
        "figure": "WeightedEstimate",
        "headline": "Headline",
        "assessable": "Among assessable cases",
        "refused": "Not assessable",
        "refused_value": "{share} ({count} of {screened} cases screened)",
        "interval": "{value} ({low}–{high}; {hits} of {count} cases read, {units} patients)",
        "no_interval": "{value} (no interval; {hits} of {count} cases read, {units} patients)",
        "table": "What was read",
        "decision": "Decision",
        "neither": "unsure or bad image",
        "stands": "stand for",
        "verdicts": "By verdict: {verdicts}.",
        "reviewed": "Share read",
        "urgency": "Urgency",
        "screened": "Screened",
        "read": "Read",
        "share": "Share",
        "models": "By model and threshold",
        "model": "Model",
        "weeks": "By week of the verdict",
        "week": "Week",
        "no_week": "unknown",
        "readers": "Between readers",
        "reader": "Readers",
        "shared": "Cases read by both",
        "decided": "Both said tumour or no tumour",
        "alike": "Alike",
        "more_pairs": "The {shown} pairs of {total} that share most cases.",
        "one_reader": "No case was read by two readers.",
        "method": "How this is computed",
        "disagreements": "Disagreements",
        "none": "None.",
        "misses": "Misses: the readers say tumour, the tool did not flag ({count})",
        "false_alarms": "False alarms: the readers say no tumour, the tool flagged or could not assess ({count})",
        "contested": "Readers differ ({count})",
        "capped": "The first {shown} of {total} disagreements are shown: misses come first.",
        "picture": "{path}; with the model's evidence laid over it on the right where it is known",
        "score": "probability against threshold: {score}",
        "no_score": "no probability",
        "opinion": "{doctor}: {diagnosis}, {when}",
        "blind": "blind",
        "note": "note: {note}",
    },
)
