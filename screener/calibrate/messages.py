"""What ``screener calibrate`` says, in English; French is in ``locale/fr``."""

from __future__ import annotations

from screener.calibrate import cases
from screener.catalogue import Catalogue

CALIBRATE = Catalogue(
    "calibrate",
    {
        "about": "Profile of {site} for {model}, made {created} by {who}",
        "study": "Studies",
        "slice": "Slices",
        "threshold_column": "Threshold",
        "sensitivity": "Sensitivity",
        "specificity": "Specificity",
        "flagged": "Flagged of 100",
        "refused": "Not assessable of 100",
        "ppv": "Predictive value",
        "before": "until now ({name})",
        "after": "this site",
        "certified": "Certified for sensitivity ≥ {target} at {level} confidence: {missed} of {units} patients with a "
        "tumour missed",
        "uncertified": "Not certified: {missed} of {units} patients with a tumour missed, which does not show a "
        "sensitivity of {target}",
        "prevalence_given": "At a prevalence of {value}, as given",
        "prevalence": "At a prevalence of {value} ({low}–{high}; {hits} of {count}), as in the data: give --prevalence "
        "where the data hold more tumours than the site meets",
        "calibration": "Calibration ({kind}): expected error {before} before, {after} after; Brier score "
        "{brier_before} before, {brier_after} after; each half of the patients judged by a fit on the other. The "
        "probability that is shown stays the model's",
        "no_calibration": "Calibration: too few patients with or without a tumour",
        "sampled": "A miss came to be known with a chance of {chance} at least",
        "excluded": "Not counted: {told}",
        "curve": "Decision curve: net benefit per 100, by the probability from which on an alarm is worth its cost",
        "at": "Worth from",
        "all_first": "all first",
        "calibrated": "calibrated probability",
        "interval": "{value} ({low}–{high}; {hits}/{count}, {units} patients)",
        "written": "Written: {path}. Use it: screener scan INBOX --profile {path}",
        "not_written": "Nothing written: name a file with --out",
        "left_out": "The model's own threshold stays: {why}",
    },
)

EXCLUDED = Catalogue(
    "calibrate excluded",
    {
        cases.UNKNOWN_PATIENT: "patient not named",
        cases.TOO_SMALL: "too few slices for the threshold of studies",
        cases.OTHER_MODEL: "judged by another model",
        cases.OTHER_THRESHOLD: "judged at another threshold, with fewer verdicts",
        cases.IN_FUTURE: "dated in the future",
        cases.CONTRADICTED: "readers contradict each other",
        cases.NOT_DECIDED: "unsure, or a bad image",
    },
)
