"""Percentile bootstrap over test rows, all resamples at once, and the statistics it resamples.

Notation: N rows, K classes, R resamples.  A resample is a row of weights: how often each test row
was drawn, [R, N]; a statistic takes weights and gives a number (or K) for each resample.
Source: Efron, Tibshirani 1993, chapter 13.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Statistic = Callable[[Array], Mapping[str, Array]]
"""Weights [R, N] -> name: [R] or [R, K]; nan where a resample has none."""

_CELLS = 2_000_000
"""Weights that are held at once."""
MOST_RANKED = 200_000
"""N times K up to which curves are resampled: each needs a sorted pass for each class."""


def resamples(n_rows: int, n_resamples: int, seed: int = 0) -> Iterator[Array]:
    """Weights [r, N] of N rows drawn with replacement, in parts; R in all."""
    rng = np.random.default_rng(seed)
    at_once = max(1, _CELLS // n_rows)
    for start in range(0, n_resamples, at_once):
        r = min(at_once, n_resamples - start)
        drawn = rng.integers(n_rows, size=(r, n_rows)) + n_rows * np.arange(r)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=r * n_rows)
        yield counts.reshape(r, n_rows).astype(np.float64)


def intervals(
    statistic: Statistic, n_rows: int, n_resamples: int, seed: int = 0
) -> dict[str, tuple[Array, Array]]:
    """The 2.5th and 97.5th percentile of each statistic; nan if less than half of them exist."""
    parts = [statistic(weights) for weights in resamples(n_rows, n_resamples, seed)]
    found = {}
    for name in parts[0]:
        values = np.concatenate([part[name] for part in parts])
        exist = np.isfinite(values).mean(axis=0) >= 0.5
        values = np.where(exist, values, 0.0)
        low, high = np.nanpercentile(np.where(np.isfinite(values), values, np.nan), (2.5, 97.5), 0)
        found[name] = (np.where(exist, low, np.nan), np.where(exist, high, np.nan))
    return found


def means(columns: Mapping[str, Array]) -> Statistic:
    """The means of columns of N numbers each."""
    table = np.stack([np.asarray(column, dtype=float) for column in columns.values()], axis=1)

    def statistic(weights: Array) -> dict[str, Array]:
        found = weights @ table / weights.sum(axis=1, keepdims=True)
        return dict(zip(columns, found.T, strict=True))

    return statistic


def counts(targets: NDArray[np.int64], predicted: NDArray[np.int64], n_classes: int) -> Statistic:
    """What depends on targets and predictions [N] alone, under the names of `classified.py`.

    Means over classes are over those that occur among a resample's targets.
    """
    n = len(targets)
    of_target, of_predicted = np.zeros((n, n_classes)), np.zeros((n, n_classes))
    of_target[np.arange(n), targets] = of_predicted[np.arange(n), predicted] = 1.0
    of_hits = of_target * of_predicted

    def statistic(weights: Array) -> dict[str, Array]:
        hits, support, chosen = weights @ of_hits, weights @ of_target, weights @ of_predicted
        occurs = support > 0
        precision = _ratio(hits, chosen, 0.0)
        recall = _ratio(hits, support, np.nan)
        f1 = np.where(occurs, _ratio(2 * hits, support + chosen, 0.0), np.nan)
        found = {"class_precision": precision, "class_recall": recall, "class_f1": f1}
        total = weights.sum(axis=1)
        n_occur = occurs.sum(axis=1)
        for name, values in (("precision", precision), ("recall", recall), ("f1", f1)):
            values = np.where(occurs, values, 0.0)
            found[f"{name}_macro"] = values.sum(axis=1) / n_occur
            found[f"{name}_weighted"] = (values * support).sum(axis=1) / total
        found["balanced_accuracy"] = found["recall_macro"]
        agreed, by_chance = hits.sum(axis=1) * total, (support * chosen).sum(axis=1)
        spread = (total**2 - (support**2).sum(axis=1)) * (total**2 - (chosen**2).sum(axis=1))
        found["mcc"] = _ratio(agreed - by_chance, np.sqrt(spread), 0.0)
        found["kappa"] = _ratio(agreed - by_chance, total**2 - by_chance, np.nan)
        return found

    return statistic


def curves(positive: NDArray[np.bool_], scores: Array) -> Callable[[Array], tuple[Array, Array]]:
    """Area under the ROC curve and average precision of one class, for each resample.

    Args:
        positive: [N], whether a row is of the class.
        scores: [N], its probability; equal ones share a threshold.
    """
    order = np.argsort(-scores, kind="stable")
    starts = np.concatenate(([0], np.flatnonzero(np.diff(scores[order])) + 1))
    hit = positive[order].astype(float)

    def statistic(weights: Array) -> tuple[Array, Array]:
        ranked = weights[:, order]
        true = np.add.reduceat(ranked * hit, starts, axis=1)  # [R, thresholds]
        false = np.add.reduceat(ranked, starts, axis=1) - true
        n_true, n_false = true.sum(axis=1), false.sum(axis=1)
        above = np.cumsum(true, axis=1)
        pairs = (false * (above - true / 2)).sum(axis=1)
        taken = above + np.cumsum(false, axis=1)
        area = _ratio(pairs, n_true * n_false, np.nan)
        precision = _ratio((true * _ratio(above, taken, 0.0)).sum(axis=1), n_true, np.nan)
        return area, precision

    return statistic


def mean_curves(targets: NDArray[np.int64], probabilities: Array) -> Statistic:
    """Means over classes of both, one class against the rest, `roc_auc` and `average_precision`."""
    classes = [k for k in np.unique(targets) if (targets != k).any()]
    each = [curves(targets == k, probabilities[:, k]) for k in classes]

    def statistic(weights: Array) -> dict[str, Array]:
        areas, precisions = zip(*(one(weights) for one in each), strict=True)
        return {
            "roc_auc": _mean_of_those_there(np.stack(areas)),
            "average_precision": _mean_of_those_there(np.stack(precisions)),
        }

    return statistic


def _mean_of_those_there(values: Array) -> Array:
    there = np.isfinite(values)
    return _ratio(np.where(there, values, 0.0).sum(axis=0), there.sum(axis=0), np.nan)


def _ratio(a: Array, b: Array, otherwise: float) -> Array:
    """a / b; `otherwise` where b is 0."""
    result: Array = np.divide(a, b, out=np.full(np.shape(a), otherwise), where=b > 0)
    return result
