"""The baseline that is blind to anatomy, against scikit-learn and against known data."""

from __future__ import annotations

import numpy as np
import pytest

from screener.evaluate.acquisition_baseline import baseline_scores, grey_statistics
from screener.evaluate.metrics import auc


def drawn(seed: int, count: int = 60, effect: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = (np.arange(count) % 2).astype(np.int64)
    features = rng.normal(size=(count, 4)) * [1, 10, 0.1, 1] + [0, 256, 0.5, 0]
    features[:, 1] += 10 * effect * labels
    return features, labels, np.arange(count)


def test_leaving_one_patient_out_is_that_of_scikit_learn() -> None:
    pytest.importorskip("sklearn", reason="needs the extra [train]")
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features, labels, units = drawn(1)
    units = units // 3
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000, tol=1e-10))
    theirs = cross_val_predict(
        model, features, labels, groups=units, cv=LeaveOneGroupOut(), method="predict_proba"
    )  # fmt: skip
    assert baseline_scores(features, labels, units) == pytest.approx(theirs[:, 1], abs=1e-5)


def test_a_scanner_that_tells_gets_a_high_figure_and_noise_does_not() -> None:
    assert auc(drawn(2)[1], baseline_scores(*drawn(2, effect=20.0))) == 1.0
    features, labels, units = drawn(3, 200, effect=0.0)
    assert 0.3 < auc(labels, baseline_scores(features, labels, units)) < 0.65


def test_a_feature_that_never_changes_is_no_failure() -> None:
    features, labels, units = drawn(4)
    features[:, 0] = 7.0
    assert np.isfinite(baseline_scores(features, labels, units)).all()


def test_statistics_of_a_picture() -> None:
    found = grey_statistics(np.tile(np.arange(100, dtype=np.float32), (50, 1)))
    assert found[:3] == [50.0, 100.0, 49.5]
    assert found[6] == 49.5
    assert len(found) == 9
