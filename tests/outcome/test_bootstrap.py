"""Resampled statistics are scikit-learn's, and their intervals cover what they should."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk

from hpo.outcome import bootstrap
from hpo.outcome.classified import Measure
from hpo.outcome.quality import Quality, drop


def rows(seed: int, n: int = 60, k: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Targets, predictions and probabilities with ties, of a network that knows something."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(k, size=n)
    scores = rng.random((n, k)).round(1) + 0.6 * np.eye(k)[targets]
    probabilities = scores / scores.sum(axis=1, keepdims=True)
    return targets, probabilities.argmax(axis=1), probabilities.round(2)


@pytest.mark.parametrize("seed", range(5))
def test_each_resample_has_the_value_that_scikit_learn_gives_to_its_rows(seed: int) -> None:
    targets, predicted, probabilities = rows(seed)
    draws = np.random.default_rng(seed).integers(60, size=(3, 60))
    weights = np.stack([np.bincount(draw, minlength=60) for draw in draws]).astype(float)
    counted = bootstrap.counts(targets, predicted, 4)(weights)
    ranked = bootstrap.mean_curves(targets, probabilities)(weights)
    for r, draw in enumerate(draws):
        y, p = targets[draw], predicted[draw]
        assert counted["mcc"][r] == pytest.approx(sk.matthews_corrcoef(y, p))
        assert counted["kappa"][r] == pytest.approx(sk.cohen_kappa_score(y, p))
        assert counted["balanced_accuracy"][r] == pytest.approx(sk.balanced_accuracy_score(y, p))
        for average in ("macro", "weighted"):
            expected = sk.precision_recall_fscore_support(
                y, p, average=average, labels=np.unique(y), zero_division=0
            )
            found = [counted[f"{name}_{average}"][r] for name in ("precision", "recall", "f1")]
            assert found == pytest.approx(expected[:3])
        one_hot = np.eye(4)[y]
        assert ranked["roc_auc"][r] == pytest.approx(
            sk.roc_auc_score(one_hot, probabilities[draw], average="macro")
        )
        assert ranked["average_precision"][r] == pytest.approx(
            sk.average_precision_score(one_hot, probabilities[draw], average="macro")
        )


def test_a_class_that_a_resample_lacks_counts_neither_for_nor_against() -> None:
    targets, predicted = np.array([0, 0, 1, 1, 2]), np.array([0, 0, 1, 0, 0])
    found = bootstrap.counts(targets, predicted, 3)(np.array([[1.0, 1, 1, 1, 0]]))
    assert found["recall_macro"].item() == pytest.approx(0.75)
    assert np.isnan(found["class_recall"][0, 2])


def test_resamples_are_of_a_fixed_seed_and_of_as_many_rows() -> None:
    parts = np.concatenate(list(bootstrap.resamples(50_000, 90)))
    assert parts.shape == (90, 50_000) and (parts.sum(axis=1) == 50_000).all()
    again = np.concatenate(list(bootstrap.resamples(50_000, 90)))
    assert np.array_equal(parts, again)
    # Drawn independently: a row is left out with a chance of 1 / e.
    assert (parts == 0).mean() == pytest.approx(np.exp(-1), abs=0.002)


def test_the_interval_of_a_mean_covers_it_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(300):
        losses = rng.exponential(1.0, 150)
        found = bootstrap.intervals(bootstrap.means({"loss": losses}), 150, 400)
        low, high = found["loss"]
        inside += bool(low <= 1.0 <= high)
    # A percentile bootstrap of 150 skewed rows covers some 94 %; three standard errors are 4.
    assert 0.89 <= inside / 300 <= 0.98


def test_the_interval_of_f1_covers_the_value_of_many_rows() -> None:
    targets, predicted, _ = rows(9, n=40_000)
    truth = sk.f1_score(targets, predicted, average="macro")
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(200):
        draw = rng.integers(40_000, size=200)
        statistic = bootstrap.counts(targets[draw], predicted[draw], 4)
        low, high = bootstrap.intervals(statistic, 200, 300)["f1_macro"]
        inside += bool(low <= truth <= high)
    assert 0.89 <= inside / 200 <= 0.99  # 95 % and three standard errors of 200 draws


def test_a_statistic_that_most_resamples_lack_has_no_interval() -> None:
    targets, predicted = np.array([0] * 30 + [1]), np.array([0] * 31)
    found = bootstrap.intervals(bootstrap.counts(targets, predicted, 3), 31, 500)
    assert np.isnan(found["class_recall"][0][2]) and np.isfinite(found["class_recall"][0][0])


def test_rows_that_are_all_alike_give_no_interval_of_no_width() -> None:
    assert Measure.resampled(1.0, 1.0, 1.0) == Measure(1.0)
    assert Measure.resampled(0.5, 0.4, 0.6).how == "bootstrap"
    same = Quality(0.5, np.full(20, 0.5), is_share=False)
    assert same.measure.low is None and drop(same, same, -1).high is None
