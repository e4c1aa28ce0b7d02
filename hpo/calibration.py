"""Calibration: whether what is said with a confidence of 0.8 is right in 80 % of the cases.

Notation: N rows, B bins, R resamples; `confidence` [N] is the highest probability of each row and
`correct` [N] whether that class is the true one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hpo.metrics import accuracy_interval

Array = NDArray[np.float64]
N_BINS = 15
_CELLS = 4_000_000
"""Numbers of a table that is drawn at once."""


@dataclass(frozen=True)
class Bin:
    """The rows whose confidence lies in one range; the interval is Wilson's, of the accuracy."""

    rows: int
    confidence: float
    accuracy: float
    low: float
    high: float


def equal_width(confidence: Array, n_bins: int = N_BINS) -> NDArray[np.int64]:
    """Each row's bin: 0..1 cut into ranges of one width, of which each holds its upper end."""
    found = np.ceil(np.asarray(confidence) * n_bins).astype(np.int64) - 1
    return np.clip(found, 0, n_bins - 1)


def equal_mass(confidence: Array, n_bins: int = N_BINS) -> NDArray[np.int64]:
    """Each row's bin: ranges with the same number of rows, but equal confidences share one."""
    values = np.asarray(confidence, dtype=float)
    edges = np.quantile(values, np.linspace(0, 1, n_bins + 1)[1:-1])
    return np.searchsorted(edges, values, side="left").astype(np.int64)


def calibration_error(
    confidence: Array, correct: NDArray[np.bool_], bins: NDArray[np.int64]
) -> float:
    """Expected calibration error: mean over rows of |accuracy - confidence| of their bins.

    With `equal_width` it is the ECE of Guo et al. 2017, with `equal_mass` the adaptive one of
    Nixon et al. 2019 for the predicted class.
    """
    gaps = np.bincount(bins, weights=np.asarray(correct, dtype=float) - confidence)
    return float(np.abs(gaps).sum() / len(confidence))


def error_if_calibrated(
    confidence: Array, bins: NDArray[np.int64], n_resamples: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """What the error comes to by chance: its mean and 95th percentile over R draws.

    A network that says these confidences and is perfectly calibrated is right with just these
    chances; of N rows its error is still not 0.  A bootstrap over rows would add that chance to the
    measured error once more, and so give an interval that lies too high.
    Source: Broecker, Smith 2007; Vaicenavicius et al. 2019 (consistency resampling).
    """
    rng = np.random.default_rng(seed)
    n, n_bins = len(confidence), int(bins.max()) + 1
    errors = []
    at_once = max(1, _CELLS // n)
    for start in range(0, n_resamples, at_once):
        r = min(at_once, n_resamples - start)
        gaps = (rng.random((r, n)) < confidence) - confidence  # [r, N]
        cells = (np.arange(r)[:, None] * n_bins + bins).ravel()
        sums = np.bincount(cells, weights=gaps.ravel(), minlength=r * n_bins).reshape(r, n_bins)
        errors.append(np.abs(sums).sum(axis=1) / n)
    found = np.concatenate(errors)
    return float(found.mean()), float(np.quantile(found, 0.95))


def reliability(
    confidence: Array, correct: NDArray[np.bool_], bins: NDArray[np.int64]
) -> list[Bin]:
    """The bins that hold rows, from the least confident on."""
    found = []
    for k in np.unique(bins):
        inside = bins == k
        n, hits = int(inside.sum()), int(np.asarray(correct)[inside].sum())
        low, high = accuracy_interval(hits, n)
        found.append(Bin(n, float(confidence[inside].mean()), hits / n, low, high))
    return found
