"""What the bench of calibration simulates."""

from __future__ import annotations

import numpy as np
import pytest

from bench import calibration


def test_a_simulated_site_is_what_its_true_sensitivity_says() -> None:
    site = calibration.Site(np.random.default_rng(5))
    scores, negatives = site.positives(200_000), site.negatives(200_000)
    for threshold in (0.0, 0.3, 0.9):
        assert (scores >= threshold).mean() == pytest.approx(site.sensitivity(threshold), abs=0.005)
        assert (negatives < threshold).mean() == pytest.approx(site.specificity(threshold), abs=0.005)


def test_certificates_of_simulated_sites_hold_and_the_report_says_so() -> None:
    rng = np.random.default_rng(2)
    labelled, logged = calibration.labelled_sites(60, rng), calibration.logged_sites(40, rng)
    assert labelled["all_patients"]["certified"] > labelled["halves"]["certified"]
    for found in (labelled["all_patients"], labelled["halves"], logged):
        assert found["valid_share"] > 0.88
    cost = {"seconds": 2.0, "peak_mb": 200.0, "studies": 300}
    figures = {"labelled_sites": labelled, "logged_sites": logged, "cores": 2, "cost": {"log": cost, "labelled": cost}}
    text = calibration.report(figures)
    assert f"{labelled['all_patients']['certified']} of 60" in text
    assert "300 studies in a log | 2.0 s | 200 MB" in text
