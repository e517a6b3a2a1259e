"""What monitoring says, in English; French is in ``locale/fr``."""

from __future__ import annotations

from screener.catalogue import Catalogue, Sentences

INDICATOR = Catalogue(
    "monitor indicator",
    {
        "sensitivity": "Sensitivity below its target",
        "flagged": "Share of studies flagged",
        "not_assessable": "Share of studies not assessable",
        "score": "Scores of studies",
        "features": "Features of the model",
        "brightness": "Brightness of the pictures",
        "contrast": "Contrast of the pictures",
        "sharpness": "Sharpness of the pictures",
        "size": "Size of the pictures",
    },
)

CHECK = Catalogue(
    "monitor check",
    {
        "sensitivity": (
            "Look at the missed tumours first (screener report --agreement): are they of one scanner, sequence or "
            "reader? Until that is known, read without the tool's order."
        ),
        "flagged": (
            "Look at the verdicts on flagged studies first. Tumours: other patients are referred. False alarms: look "
            "for a new scanner, sequence or software."
        ),
        "not_assessable": (
            "Look at the reasons of the period first: a reason that is new names the series, the export or the "
            "decoder that changed."
        ),
        "score": (
            "Compare the shares of scanners, sequences and planes of the period with those of the reference first, "
            "then the verdicts."
        ),
        "features": (
            "Ask first whether scanner, coil, protocol or software changed; then evaluate the model on labelled "
            "studies of the new kind."
        ),
        "brightness": "Ask first whether windowing or export changed: a viewer, a gateway, inverted grey levels.",
        "contrast": "Ask first whether windowing, gamma or export changed, then the sequence.",
        "sharpness": "Ask first whether matrix, reconstruction filter or compression changed.",
        "size": "Ask first whether matrix, export size or zoom changed.",
    },
)

UNKNOWN = Catalogue(
    "monitor unknown",
    {"told": "told", "too_few": "too few", "empty": "empty"},
)

EXCLUDED = Catalogue(
    "monitor excluded",
    {
        "future": "{count} studies are dated in the future and count nowhere: check the clock.",
        "undated": "{count} studies have no date or decision that can be read and count nowhere.",
        "answered_again": "{count} further answers about studies that were counted.",
        "other_model": "{count} studies by another model or threshold are not compared with these.",
        "before": "{count} studies lie before the day that was asked for.",
        "seen_patients": "{count} studies of patients counted before are in no test for change.",
        "contradictory": "{count} studies with contradictory verdicts, without a majority, count in no rate.",
        "undecided": "{count} studies with the verdict unsure or bad image count in no rate.",
        "unattached": "{count} verdicts are on something else than a study of this log.",
        "chance_unknown": "{count} missed tumours were drawn with a chance that was not recorded: in no alarm.",
        "runs_without_end": "{count} runs have no END: they crashed, were killed, or are at work.",
    },
)

TEXT = Catalogue(
    "monitor",
    {
        "title": "Monitoring",
        "about": (
            "{model}: {studies} studies, {patients} patients at most a period. Periods of {days} days; figures from "
            "{minimum} patients on."
        ),
        "folders": "The log holds no study: the slices of a folder, as one run judged them, stand for one.",
        "reference": "Compared with {reference}. The model's card holds no distribution of scores.",
        "written": "Written {written} from {log}, log head {head}.",
        "problem": "The log cannot be trusted to its end; this rests on what stands before. {problem}",
        "no_alarm": "No alarm. While nothing changes, the chance of any alarm, ever, is at most {share}.",
        "alarm": "ALARM, {period}: {name} (evidence {evidence}, limit {limit}). {check}",
        "alarms": "Alarms",
        "indicators": "What can raise an alarm",
        "indicator": "Indicator",
        "evidence": "Evidence",
        "most": "Most so far",
        "limit": "Limit",
        "count": "Patients or tumours",
        "since": "Alarm",
        "periods": "By period",
        "period": "Period",
        "studies": "Studies",
        "patients": "Patients",
        "flagged": "Flagged",
        "not_assessable": "Not assessable",
        "psi": "PSI (chance)",
        "jensen_shannon": "Jensen–Shannon (chance)",
        "distance": "Feature distance",
        "sensitivity": "Sensitivity",
        "specificity": "Specificity",
        "kappa": "Kappa",
        "interval": "{value} ({low}–{high})",
        "with_chance": "{value} ({chance})",
        "reasons": "Not assessable, by reason",
        "slice_reasons": "Slices refused, by reason",
        "share": "Studies by {name}",
        "plane": "plane",
        "sequence": "sequence",
        "manufacturer": "scanner",
        "value": "Value",
        "pictures": "Scores and pictures",
        "score": "Score",
        "brightness": "Brightness",
        "contrast": "Contrast",
        "sharpness": "Sharpness",
        "size": "Size (log2 of pixels a side)",
        "excluded": "Left out, or worth knowing",
        "nothing_excluded": "Nothing was left out.",
        "overall": "From all verdicts: sensitivity {sensitivity}, specificity {specificity}, kappa {kappa}.",
        "not_known": "not known",
        "chart": "{name} by period, with 95 % intervals; the reference is shaded",
        "method": "How this is computed",
        "more_periods": "{count} earlier periods are on the page (--out) and in --json.",
    },
)

METHOD = Sentences(
    "monitor method",
    (
        (
            "Evidence is the capital won by betting that something changed, beginning with 1. While nothing changes "
            "it ever reaches its limit with a chance of at most one over the limit, however often one looks (Ville "
            "1939)."
        ),
        (
            "Change: the rank of each patient's first study among all before it (conformal p-values; Vovk, Gammerman "
            "and Shafer 2022). Sensitivity: each tumour found by a reader, missed ones weighted by the chance of "
            "being read (Waudby-Smith and Ramdas 2024)."
        ),
        (
            "PSI, Jensen–Shannon and means describe and raise no alarm. Behind a distance stands what chance alone "
            "stays below in 95 % of cases."
        ),
        (
            "Rates: Wilson's interval with patients as units. Means: over patients. Verdicts: weighted for the "
            "sampling, as in the agreement report, by week of the verdict."
        ),
        (
            "A change of season, referral or staff is a change, too: an alarm says that something changed, not that "
            "it is wrong."
        ),
    ),
)
