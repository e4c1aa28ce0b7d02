"""The Pareto front beside its definition."""

from __future__ import annotations

import numpy as np
import pytest

from hpo.pareto import distances, dominates, front_of, nearest_first


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


def test_a_front_that_only_noise_makes_is_no_trade() -> None:
    """Latency is the same of all and measured with 6 % of noise; accuracy differs in truth."""
    rng = np.random.default_rng(7)
    noise = np.array([0.002, 0.0074])
    n_poor = {"measured": 0, "noise known": 0}
    for _ in range(300):
        accuracy = rng.uniform(0.876, 0.963, 40)
        measured = np.column_stack([accuracy, rng.normal(0.1218, 0.0074, 40)])
        on_front = np.flatnonzero(front_of(measured, [1, -1]))
        for key, known in (("measured", None), ("noise known", noise)):
            first = on_front[nearest_first(measured[on_front], [1, -1], known)[0]]
            n_poor[key] += accuracy[first] < accuracy.max() - 0.02
    assert n_poor["noise known"] <= 3 < 20 < n_poor["measured"]


def test_a_trade_beyond_noise_is_still_made() -> None:
    front = np.array([[0.95, 1.0], [0.96, 3.0], [0.97, 9.0]])
    noise = np.array([0.002, 0.03])
    assert nearest_first(front, [1, -1], noise)[0] in (0, 1)
    assert nearest_first(front, [1, -1], noise)[-1] == 2
    assert nearest_first(front, [1, -1]) == nearest_first(front, [1, -1], noise * 0)
