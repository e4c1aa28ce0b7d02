"""The statistics of a comparison, on cases whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from hpo.report.statistics import (
    best_so_far,
    bootstrap_interval,
    cliques,
    differences,
    friedman,
    holm,
    least_seeds,
    mean_ranks,
    paired_interval,
    seeds_needed,
    sentence,
)

STRATEGIES = ["grid", "random", "tpe", "gp", "skopt"]


def simulated(
    rng: np.random.Generator, n_seeds: int, gaps: dict[str, float] | None = None
) -> pd.DataFrame:
    """Scores with noise of its own for each study and one that the studies of a seed share."""
    shared = rng.normal(0, 1, (n_seeds, 1))
    table = pd.DataFrame(
        0.9 + 0.01 * (shared + rng.normal(0, 1, (n_seeds, len(STRATEGIES)))), columns=STRATEGIES
    )
    for name, gap in (gaps or {}).items():
        table[name] += gap
    return table


@pytest.mark.parametrize("n_seeds", [5, 10, 20])
def test_strategies_that_are_alike_come_out_as_not_different(n_seeds: int) -> None:
    rng = np.random.default_rng(n_seeds)
    alike = [
        not any(d.significant for d in differences(simulated(rng, n_seeds))) for _ in range(100)
    ]
    assert sum(alike) >= 93


def test_friedmans_test_holds_its_level() -> None:
    rng = np.random.default_rng(1)
    assert sum(friedman(simulated(rng, 12)) >= 0.05 for _ in range(100)) >= 89  # 95 less 2 sd


def test_a_planted_difference_is_found_and_no_other() -> None:
    rng = np.random.default_rng(2)
    found = others = 0
    for _ in range(50):
        for d in differences(simulated(rng, 12, {"tpe": 0.04})):
            if d.significant and d.a == "tpe":
                found += 1
            elif d.significant:
                others += 1
    assert found >= 0.9 * 50 * 4 and others <= 5


def test_strategies_that_never_differ_differ_with_p_1() -> None:
    same = pd.DataFrame({name: [0.1, 0.2, 0.3] for name in STRATEGIES})
    assert friedman(same) == 1.0
    for d in differences(same):
        assert (d.gap, d.p, d.p_holm, d.effect, d.significant) == (0, 1, 1, 0, False)
        assert sentence(d).endswith("came out the same.")


def test_ties_share_their_rank() -> None:
    scores = pd.DataFrame({"a": [3.0, 1.0], "b": [3.0, 2.0], "c": [1.0, 3.0]})
    assert mean_ranks(scores).to_dict() == {"b": 1.75, "c": 2.0, "a": 2.25}


def test_a_missing_score_is_refused() -> None:
    with pytest.raises(ValueError, match="lacks a seed"):
        differences(pd.DataFrame({"a": [1.0, math.nan], "b": [1.0, 2.0]}))


def test_p_values_are_those_of_scipy_and_of_holms_paper() -> None:
    rng = np.random.default_rng(3)
    scores = simulated(rng, 9)[["grid", "tpe"]]
    (d,) = differences(scores)
    assert d.p == pytest.approx(stats.wilcoxon(scores["grid"], scores["tpe"]).pvalue)
    assert d.p_holm == d.p
    # Holm 1979: the smallest p times m, the next times m - 1, never falling, at most 1.
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.5, 0.9])).tolist() == [1.0, 1.0]


def test_the_interval_is_students() -> None:
    rng = np.random.default_rng(4)
    a, b = rng.normal(size=7), rng.normal(size=7)
    gap, half = paired_interval(a - b)
    interval = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert (gap - half, gap + half) == pytest.approx((interval.low, interval.high))


def test_the_least_number_of_seeds_is_what_wilcoxons_test_can_do() -> None:
    for n_comparisons in (1, 3, 6, 10, 15):
        n = least_seeds(n_comparisons)
        smallest = [stats.wilcoxon(np.arange(1.0, k + 1)).pvalue for k in (n - 1, n)]
        assert smallest[0] * n_comparisons > 0.05 >= smallest[1] * n_comparisons


def test_the_seeds_asked_for_find_the_gap_in_most_repetitions() -> None:
    rng = np.random.default_rng(5)
    pilot = stats.norm.ppf(np.linspace(0.02, 0.98, 40)) + 1.0  # mean 1, sd about 1
    n = seeds_needed(pilot / pilot.std(ddof=1) * 1.0, 1)
    assert n is not None and n > 40  # more than there were
    small = pilot[::8]
    n = seeds_needed(small, 1)
    assert n is not None
    share = small.mean() / small.std(ddof=1)
    hits = [stats.wilcoxon(rng.normal(share, 1, n)).pvalue < 0.05 for _ in range(300)]
    assert np.mean(hits) > 0.75
    assert seeds_needed(np.array([0.1, -0.1]), 1) is None


def test_best_so_far_passes_over_what_has_no_value_and_never_falls() -> None:
    values = np.array([math.nan, 0.3, math.nan, 0.2, 0.5, 0.4])
    curve = best_so_far(values)
    assert math.isnan(curve[0])
    assert curve[1:].tolist() == [0.3, 0.3, 0.3, 0.5, 0.5]
    losses = np.array([3.0, 4.0, math.nan, 1.0])
    assert (-best_so_far(-losses)).tolist() == [3.0, 3.0, 3.0, 1.0]


def test_the_bootstrap_interval_covers_the_mean() -> None:
    rng = np.random.default_rng(6)
    inside = 0
    for _ in range(200):
        low, high = bootstrap_interval(rng.normal(2.0, 1.0, (20, 1)), 500)
        inside += bool(low[0] <= 2.0 <= high[0])
    assert 0.87 <= inside / 200 <= 0.99
    low, high = bootstrap_interval(np.full((5, 3), 0.7))
    assert low == pytest.approx([0.7] * 3) and high == pytest.approx([0.7] * 3)


def test_bars_join_what_is_not_told_apart_and_nothing_else() -> None:
    rng = np.random.default_rng(7)
    scores = simulated(rng, 20, {"tpe": 0.1, "gp": 0.1})
    order = list(mean_ranks(scores).index)
    runs = cliques(order, differences(scores))
    assert {"tpe", "gp"} in [set(run) for run in runs]
    assert not any({"tpe", "random"} <= set(run) for run in runs)


def test_sentences_say_what_is_certain_and_what_is_not() -> None:
    rng = np.random.default_rng(8)
    clear = differences(simulated(rng, 12, {"tpe": 0.1})[["tpe", "random"]])[0]
    assert sentence(clear).startswith("tpe beat random by 0.1")
    noise = differences(simulated(rng, 8)[["tpe", "random"]])[0]
    assert "are within noise" in sentence(noise) and "ahead by" in sentence(noise)
    few = differences(simulated(rng, 4, {"tpe": 0.1})[["tpe", "random"]])[0]
    assert "looks better" in sentence(few) and "not certain" in sentence(few)
    one = differences(pd.DataFrame({"tpe": [0.9], "random": [0.8]}))[0]
    assert "one seed" in sentence(one)
