"""The Pareto front of points, and the point of it that is nearest to having the best of all.

Notation: N points, K objectives; values [N, K], signs [K]: +1 where larger is better, else -1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
DIFFER = 1.96 * 2**0.5
"""In so many standard deviations two measurements of one thing differ less in 95 of 100 cases."""


def dominates(a: Iterable[float], b: Iterable[float], signs: Iterable[int]) -> bool:
    """Whether a is as good as b in all objectives and better in one.

    >>> dominates((0.9, 10), (0.9, 12), (1, -1))
    True
    """
    gains = [s * (x - y) for x, y, s in zip(a, b, signs, strict=True)]
    return min(gains) >= 0 and max(gains) > 0


def front_of(values: Array, signs: Sequence[int]) -> NDArray[np.bool_]:
    """[N] whether no other point dominates it; of equal points all are on the front."""
    losses = -np.asarray(values, dtype=float) * np.asarray(signs)
    on_front = np.zeros(len(losses), dtype=bool)
    # A point is dominated only by one that comes before it in this order.
    kept = np.empty((0, losses.shape[1]))
    for row in np.lexsort(losses.T[::-1]):
        point = losses[row]
        better = (kept <= point).all(axis=1) & (kept < point).any(axis=1)
        if not better.any():
            on_front[row] = True
            kept = np.vstack([kept, point])
    return on_front


def distances(
    front: Array, signs: Sequence[int], noise: Array | None = None, ideal: Array | None = None
) -> Array:
    """[N] how far each point of a front is from the ideal one, which has the best of each
    objective, in shares of the front's range; an objective in which all are equal does not count.

    Args:
        noise: [K] standard deviations of the measurements.  Who is behind the best of an objective
            by less than two measurements of one thing differ, in 95 of 100 cases, is not behind.
        ideal: [K] the best of each objective; by default the front's.

    >>> front = np.array([[0.96, 0.124], [0.88, 0.120]])
    >>> distances(front, (1, -1)).tolist(), distances(front, (1, -1), np.array([0, 0.007])).tolist()
    ([1.0, 1.0], [0.0, 1.0])
    """
    losses = -np.asarray(front, dtype=float) * np.asarray(signs)
    low, high = losses.min(axis=0), losses.max(axis=0)
    if ideal is not None:
        low = np.minimum(low, -np.asarray(ideal, dtype=float) * np.asarray(signs))
    ties = np.zeros(len(low)) if noise is None else DIFFER * np.asarray(noise, dtype=float)
    behind = np.maximum(0.0, losses - low - ties)
    # A range that is hardly more than noise does not count as a whole one.
    scale = np.maximum(high - low - ties, ties)
    shares = behind / np.where(scale > 0, scale, 1.0)
    return np.asarray(np.sqrt((shares**2).sum(axis=1)))


def nearest_first(
    front: Array, signs: Sequence[int], noise: Array | None = None, ideal: Array | None = None
) -> list[int]:
    """Rows of a front by `distances`; those that noise makes alike by what was measured."""
    far, measured = distances(front, signs, noise, ideal), distances(front, signs, None, ideal)
    return [int(row) for row in np.lexsort((measured, far))]
