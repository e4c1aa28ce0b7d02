"""The Pareto front beside its definition."""

from __future__ import annotations

import numpy as np
import pytest

from hpo.pareto import distances, dominates, front_of


@pytest.mark.parametrize("n_objectives", [2, 3, 4])
def test_the_front_is_what_nothing_dominates(n_objectives: int) -> None:
    rng = np.random.default_rng(n_objectives)
    signs = [1, -1, 1, -1][:n_objectives]
    for _ in range(40):
        values = rng.integers(0, 6, size=(30, n_objectives)).astype(float)  # with ties
        expected = [not any(dominates(other, value, signs) for other in values) for value in values]
        assert front_of(values, signs).tolist() == expected


def test_nearest_is_the_knee_and_equal_objectives_do_not_count() -> None:
    front = np.array([[0.5, 1.0, 7.0], [0.9, 2.0, 7.0], [1.0, 11.0, 7.0]])
    far = distances(front, [1, -1, 1])
    assert far.argmin() == 1
    assert far == pytest.approx([1.0, np.hypot(0.2, 0.1), 1.0])
