"""Statistics of a comparison: paired over seeds, with intervals, corrected for many comparisons.

Notation: S seeds (blocks), K strategies, T trials.  Scores are "higher is better" throughout; the
caller turns a minimised metric round.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Array = NDArray[np.float64]

ALPHA = 0.05
POWER = 0.8
MOST_SEEDS = 500
"""More seeds than this are not asked for: the difference is as good as none."""


def best_so_far(values: Array) -> Array:
    """The highest value up to each trial, [..., T] -> [..., T].

    NaN, of a trial that was pruned or failed, adds nothing; it stays where nothing came before.
    """
    return np.fmax.accumulate(np.asarray(values, dtype=float), axis=-1)


def bootstrap_interval(values: Array, n_resamples: int = 2000) -> tuple[Array, Array]:
    """The 95 % percentile bootstrap interval of the mean over seeds, [S, T] -> two of [T].

    Seeds are drawn as wholes, so that a curve stays a curve.  With few seeds it is too narrow:
    it is for pictures, and `Difference` has the interval for decisions.
    Source: Efron, Tibshirani 1993, chapter 13.
    """
    values = np.asarray(values, dtype=float)
    rng = np.random.default_rng(0)
    rows = rng.integers(len(values), size=(n_resamples, len(values)))
    # As weights: a table of all draws, [n_resamples, S, T], would not fit a long study.
    weights = np.stack([np.bincount(row, minlength=len(values)) for row in rows]) / len(values)
    means = weights @ np.nan_to_num(values)
    means[:, np.isnan(values).any(axis=0)] = np.nan
    low, high = np.percentile(means, [2.5, 97.5], axis=0)
    return low, high


def holm(p_values: Array) -> Array:
    """Holm's step-down correction, [M] -> [M].  Source: Holm 1979."""
    p_values = np.asarray(p_values, dtype=float)
    order = np.argsort(p_values)
    n = len(p_values)
    stepped = np.maximum.accumulate(p_values[order] * (n - np.arange(n)))
    corrected = np.empty(n)
    corrected[order] = np.minimum(stepped, 1.0)
    return corrected


def mean_ranks(scores: pd.DataFrame) -> pd.Series:
    """Mean rank over seeds, 1 the best, ties shared; [S x K] -> [K], the best first."""
    return scores.rank(axis=1, ascending=False, method="average").mean().sort_values()


def friedman(scores: pd.DataFrame) -> float:
    """p-value that all strategies are alike, [S x K]; nan with fewer than three or one seed.

    Source: Friedman 1937; Demšar 2006.
    """
    from scipy.stats import friedmanchisquare

    if scores.shape[1] < 3 or len(scores) < 2:
        return math.nan
    columns = [scores[name].to_numpy() for name in scores]
    if all(np.array_equal(columns[0], other) for other in columns[1:]):
        return 1.0
    return float(friedmanchisquare(*columns).pvalue)


_ROUNDED = 1e-9


@dataclass(frozen=True)
class Difference:
    """Strategy `a` beside strategy `b` over the same seeds.

    Attributes:
        gap: mean of a's scores less b's.
        half: half the width of its 95 % interval (paired, Student's t); inf with one seed.
        p: Wilcoxon's signed-rank test, two-sided; `p_holm` after Holm's correction.
        effect: matched-pairs rank-biserial correlation, from -1 (b always ahead) to 1.
        n_seeds: pairs.
        n_needed: seeds that would show this gap in four of five repetitions; None: it is shown
            already, or would take more than `MOST_SEEDS`.
    """

    a: str
    b: str
    gap: float
    half: float
    p: float
    p_holm: float
    effect: float
    n_seeds: int
    n_needed: int | None

    @property
    def significant(self) -> bool:
        """Whether the two differ beyond noise."""
        return self.p_holm < ALPHA


def differences(scores: pd.DataFrame) -> list[Difference]:
    """All pairs of strategies, [S x K]; in each, the one of the higher mean comes first.

    Raises:
        ValueError: a score is missing: what is not there cannot be paired.
    """
    if scores.isna().any().any():
        raise ValueError("scores: a strategy lacks a seed")
    # Of equal means the one that comes first by rank.
    order = list(mean_ranks(scores).index)
    means = scores.mean()
    order.sort(key=lambda name: -float(means[name]))
    pairs = list(combinations(order, 2))
    tested = [_wilcoxon((scores[a] - scores[b]).to_numpy()) for a, b in pairs]
    corrected = holm(np.array([p for p, _ in tested])) if pairs else np.array([])
    found = []
    for (a, b), (p, effect), p_holm in zip(pairs, tested, corrected, strict=True):
        gaps = (scores[a] - scores[b]).to_numpy()
        gap, half = paired_interval(gaps)
        needed = None if p_holm < ALPHA else seeds_needed(gaps, len(pairs))
        found.append(Difference(a, b, gap, half, p, float(p_holm), effect, len(gaps), needed))
    return found


def paired_interval(gaps: Array) -> tuple[float, float]:
    """Mean of paired differences [S] and half its 95 % interval by Student's t."""
    from scipy.stats import t

    if len(gaps) < 2:
        return float(np.mean(gaps)), math.inf
    error = float(np.std(gaps, ddof=1)) / math.sqrt(len(gaps))
    return float(np.mean(gaps)), float(t.ppf(1 - ALPHA / 2, len(gaps) - 1)) * error


def _wilcoxon(gaps: Array) -> tuple[float, float]:
    """p-value, exact where it can be, and rank-biserial correlation of paired differences [S].

    Source: Wilcoxon 1945; Kerby 2014 for the effect size.
    """
    from scipy.stats import rankdata, wilcoxon

    gaps = gaps[gaps != 0]
    if not len(gaps):
        return 1.0, 0.0
    ranks = rankdata(np.abs(gaps))
    effect = float((ranks * np.sign(gaps)).sum() / ranks.sum())
    return float(wilcoxon(gaps).pvalue), effect


def least_seeds(n_comparisons: int) -> int:
    """With fewer, Wilcoxon's test cannot fall below 5 % after Holm's correction, whatever the data.

    >>> [least_seeds(1), least_seeds(10)]
    [6, 9]
    """
    return math.ceil(1 + math.log2(n_comparisons / ALPHA))


def seeds_needed(gaps: Array, n_comparisons: int) -> int | None:
    """Seeds at which a gap of this size and spread would be found with a power of 0.8.

    For the paired t-test, enlarged by the 0.955 that Wilcoxon's loses on normal data; the gap is
    an estimate itself, and so this is one too.  Source: Guenther 1981.
    """
    from scipy.stats import norm

    gap, sd = abs(float(np.mean(gaps))), float(np.std(gaps, ddof=1)) if len(gaps) > 1 else math.nan
    if gap == 0 or math.isnan(sd):
        return None
    limit = float(norm.ppf(1 - ALPHA / n_comparisons / 2))
    n = ((limit + float(norm.ppf(POWER))) * sd / gap) ** 2 + limit**2 / 2
    n = max(math.ceil(n / 0.955), least_seeds(n_comparisons), len(gaps) + 1)
    return n if n <= MOST_SEEDS else None


def cliques(order: list[str], found: list[Difference]) -> list[list[str]]:
    """Longest runs of strategies, by rank, of which no two differ beyond noise.

    They are the bars of a critical-difference diagram.  Source: Demšar 2006, section 3.2.
    """
    apart = {frozenset((d.a, d.b)) for d in found if d.significant}
    runs: list[list[str]] = []
    for start in range(len(order)):
        end = start + 1
        while end < len(order) and not any(
            frozenset((order[end], other)) in apart for other in order[start:end]
        ):
            end += 1
        run = order[start:end]
        if len(run) > 1 and not any(set(run) <= set(known) for known in runs):
            runs.append(run)
    return runs


def sentence(d: Difference) -> str:
    """The difference in plain words: beyond noise, perhaps, or within noise."""
    if d.gap == 0 and d.effect == 0:
        return f"{d.a} and {d.b} came out the same."
    p = f"p = {d.p_holm:.2g}" if d.p_holm >= 0.001 else "p < 0.001"
    if math.isinf(d.half):
        return f"{d.a} is ahead of {d.b} by {number(d.gap)} with one seed: no telling from noise."
    if no_spread(d.gap, d.half):
        return (
            f"{d.a} is ahead of {d.b} by {number(d.gap)}, by as much with every seed: no interval."
        )
    ahead = f"by {number(d.gap)} ± {number(d.half)} ({p})"
    if d.significant:
        return f"{d.a} beat {d.b} {ahead}."
    if d.n_needed is None:
        more = "more seeds would hardly tell them apart"
    else:
        more = f"about {d.n_needed} seeds in all would tell"
    if d.gap > d.half:
        return f"{d.a} looks better than {d.b} {ahead}, but this is not certain: {more}."
    return f"{d.a} and {d.b} are within noise: {d.a} is ahead {ahead}; {more}."


def no_spread(gap: float, half: float) -> bool:
    """Whether paired differences were all the same, but for rounding: that is no certainty."""
    return half <= _ROUNDED * abs(gap)


def number(value: Any, digits: int = 3) -> str:
    """Three significant digits, or so many."""
    return f"{float(value):.{digits}g}"
