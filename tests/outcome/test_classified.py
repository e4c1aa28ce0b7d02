"""Every measure of a classifier is scikit-learn's; few rows and few classes are no trouble."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics as sk

from hpo.outcome.classified import classify


def logits_of(n: int, k: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    targets = rng.integers(k, size=n)
    return rng.normal(size=(n, k)) + 1.5 * np.eye(k)[targets], targets


@pytest.mark.parametrize("k", [2, 3, 10])
def test_values_are_those_of_scikit_learn(k: int) -> None:
    logits, y = logits_of(200, k)
    found = classify(logits, y, [str(c) for c in range(k)], 100)
    p, labels = found.probabilities, np.arange(k)
    expected = {
        "accuracy": sk.accuracy_score(y, logits.argmax(1)),
        "mcc": sk.matthews_corrcoef(y, logits.argmax(1)),
        "f1_macro": sk.f1_score(y, logits.argmax(1), average="macro"),
        "log_loss": sk.log_loss(y, p, labels=labels),
        "brier": sk.brier_score_loss(y, p if k > 2 else p[:, 1], labels=labels),
        "roc_auc": np.mean([sk.roc_auc_score(y == c, p[:, c]) for c in labels]),
        "average_precision": np.mean([sk.average_precision_score(y == c, p[:, c]) for c in labels]),
    }
    if k == 10:
        for top in (3, 5):
            expected[f"top_{top}"] = sk.top_k_accuracy_score(y, p, k=top, labels=labels)
    for name, value in expected.items():
        assert found.measures[name].value == pytest.approx(value), name
    assert ("top_3" in found.measures) == (k == 10)
    for name, measure in found.measures.items():
        if "ece" in name:
            assert measure.low is None
        else:
            assert measure.low is not None and measure.high is not None
            assert measure.low - 1e-9 <= measure.value <= measure.high + 1e-9, name
    assert found.measures["accuracy"].how == "Wilson"
    assert found.confusion.sum() == 200 and found.losses.mean() == pytest.approx(
        expected["log_loss"]
    )


def test_one_class_alone_has_the_measures_that_make_sense() -> None:
    logits, _ = logits_of(20, 3)
    found = classify(logits + 9 * np.eye(3)[0], np.zeros(20, dtype=np.int64), ["a", "b", "c"], 100)
    assert found.measures["accuracy"].value == 1.0
    assert "roc_auc" not in found.measures and math.isnan(found.measures["kappa"].value)
    assert found.measures["kappa"].text == "-"
    assert [row["class"] for row in found.classes] == ["a"]
    assert math.isnan(found.classes[0]["roc_auc"])


def test_one_row_alone_has_values_without_a_bootstrap() -> None:
    found = classify(np.array([[0.1, 2.0]]), np.array([1]), ["a", "b"], 100)
    assert found.measures["log_loss"].low is None and found.measures["accuracy"].low is not None


def test_logits_beyond_reason_stay_finite() -> None:
    logits = np.array([[1e6, -1e6], [-1e6, 1e6], [1e6, 0.0]])
    found = classify(logits, np.array([0, 1, 1]), ["a", "b"], 100)
    assert np.isfinite(found.losses).all() and found.losses[2] == pytest.approx(1e6)
    assert np.isfinite(found.probabilities).all()


def test_fewer_resamples_than_one_leave_wilsons_interval_alone() -> None:
    logits, y = logits_of(50, 3)
    found = classify(logits, y, ["a", "b", "c"], 0)
    assert [name for name, m in found.measures.items() if m.low is not None] == ["accuracy"]
