"""What studies of one problem by several strategies and seeds came to, as plain tables.

Everything is computed from the trials in the storage.  Values are scores here, "higher is better":
a minimised metric is turned round, and turned back where it is shown.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from hpo.errors import HpoError, SpecError
from hpo.outcome.tested import TESTED
from hpo.report.contestants import Contestant, cut_notices, origin_notices
from hpo.report.frame import (
    first_reaching,
    most_at_once,
    saved_by_pruning,
    scheduled,
    spent,
    time_shares,
    trials_frame,
)
from hpo.report.statistics import Difference, best_so_far, differences, friedman, mean_ranks
from hpo.storage.attempts import CUT_OFF
from hpo.storage.known import training_of

BASELINE = "random"
"""The strategy that the others' budgets are measured by, if it takes part."""


@dataclass(frozen=True)
class Comparison:
    """The tables of a comparison.

    Attributes:
        trials: a row a trial, as `trials_frame`, with study, strategy, seed, index (1 ... T).
        curves: best-so-far scores [T x (strategy, seed)].
        times: when each trial ended on `n_workers` workers, seconds [T x (strategy, seed)].
        finals: best score at the end [seeds x strategies].
        tests: test scores of the retrained bests, the same shape; empty without.
        default_tests: test scores of the default configuration by seed; empty without.
        shares: seconds of training, proposing, waiting by strategy.
        saved: by strategy: what pruning saved, and what the cache did.
        notices: what was cut, left out or carried on.
    """

    metric: str
    direction: str
    facts: dict[str, Any]
    trials: pd.DataFrame
    curves: pd.DataFrame
    times: pd.DataFrame
    finals: pd.DataFrame
    tests: pd.DataFrame
    default_tests: pd.Series
    shares: pd.DataFrame
    saved: pd.DataFrame
    n_workers: int
    notices: list[str] = field(default_factory=list)

    @property
    def sign(self) -> int:
        """1 if the metric is maximised, else -1: value = sign * score."""
        return 1 if self.direction == "maximize" else -1

    @property
    def strategies(self) -> list[str]:
        """By mean rank, the best first."""
        return [str(name) for name in self.ranks.index]

    @cached_property
    def ranks(self) -> pd.Series:
        """Mean rank of the final best over seeds."""
        return mean_ranks(self.finals)

    @property
    def friedman(self) -> float:
        """p-value that all strategies are alike; nan if it cannot be tested."""
        return friedman(self.finals)

    @cached_property
    def differences(self) -> list[Difference]:
        """All pairs, tested."""
        return differences(self.finals)

    def area(self) -> pd.DataFrame:
        """Mean best-so-far over the budget, "area under the curve" [seeds x strategies]."""
        return self.curves.mean().unstack(0)[list(self.finals)]

    def reached(self) -> pd.DataFrame:
        """Trials and seconds until the score that the baseline needed its whole budget for.

        Of the same seed; a strategy that does not get there counts as the budget (a lower bound).
        Columns: strategy, reached (share of seeds), trials, seconds, share (of baseline's seconds).
        """
        if BASELINE not in self.finals:
            return pd.DataFrame()
        rows = []
        for strategy in self.finals:
            counts, seconds, shares, n_there = [], [], [], 0
            for seed, goal in self.finals[BASELINE].items():
                at = first_reaching(self.curves[(strategy, seed)].to_numpy(), goal)
                n_there += at is not None
                row = len(self.curves) - 1 if at is None else at
                whole = self.times[(BASELINE, seed)].max()
                counts.append(row + 1)
                seconds.append(_time_at(self.times[(strategy, seed)], row))
                shares.append(seconds[-1] / whole if whole else math.nan)
            rows.append(
                {
                    "strategy": strategy,
                    "reached": n_there / len(self.finals),
                    "trials": float(np.median(counts)),
                    "seconds": float(np.median(seconds)),
                    "share": float(np.median(shares)),
                }
            )
        return pd.DataFrame(rows)


def compare(contestants: Sequence[Contestant]) -> Comparison:
    """Computes a comparison.

    Raises:
        SpecError: they are not of one problem, a strategy has a seed twice, or no seed is common
            to all; every problem, a line each.
        HpoError: a study has nothing completed.
    """
    problems = _problems(contestants)
    if problems:
        raise SpecError(problems)
    meta = contestants[0].view.meta
    sign = meta.sign
    notices = origin_notices(contestants)
    seeds = _common_seeds(contestants, notices)
    taking_part = [c for c in contestants if c.seed in seeds]
    frames = {(c.strategy, c.seed): trials_frame(c.view) for c in taking_part}
    used = {key: spent(frame).reset_index(drop=True) for key, frame in frames.items()}
    length = _length(taking_part, used, notices)
    notices += cut_notices(taking_part, used, length, sign)
    _note_spaces(taking_part, notices)
    n_workers = max(most_at_once(frame) for frame in frames.values())
    curves, times = {}, {}
    for key, frame in used.items():
        cut = frame.iloc[:length]
        used[key] = cut
        curve = best_so_far(sign * cut["value"].to_numpy(dtype=float))
        ends = scheduled(cut["duration_s"] + cut["proposed_s"], n_workers)
        # A grid that is used up stays where it is.
        curves[key] = np.pad(curve, (0, length - len(curve)), mode="edge")
        times[key] = np.pad(
            np.maximum.accumulate(ends), (0, length - len(ends)), constant_values=math.nan
        )
    index = pd.RangeIndex(1, length + 1, name="trials")
    columns = pd.MultiIndex.from_tuples(list(used), names=["strategy", "seed"])
    curve_table = pd.DataFrame(curves, index=index)
    curve_table.columns = columns
    time_table = pd.DataFrame(times, index=index)
    time_table.columns = columns
    strategies = list(dict.fromkeys(c.strategy for c in taking_part))
    finals = curve_table.iloc[-1].unstack("strategy")[strategies]
    if finals.isna().any().any():
        raise HpoError("\n".join(_nothing_completed(c) for c in taking_part if not c.view.best()))
    tests, default_tests = _tests(taking_part, used, sign, strategies, notices)
    trials = pd.concat(
        [
            frame.assign(
                study=c.view.name, strategy=c.strategy, seed=c.seed, index=range(1, len(frame) + 1)
            )
            for c in taking_part
            for frame in [used[(c.strategy, c.seed)]]
        ],
        ignore_index=True,
    )
    return Comparison(
        metric=meta.metric,
        direction=meta.direction,
        facts={
            **_facts(taking_part, length, strategies, seeds),
            "n_cut_off": sum(int(f["kind"].isin(CUT_OFF).sum()) for f in frames.values()),
        },
        trials=trials,
        curves=curve_table,
        times=time_table,
        finals=finals,
        tests=tests,
        default_tests=default_tests,
        shares=_shares(used, strategies),
        saved=_saved(used, strategies, meta.epochs),
        n_workers=n_workers,
        notices=notices,
    )


def _time_at(times: pd.Series, row: int) -> float:
    known = times.iloc[: row + 1].dropna()
    return float(known.iloc[-1]) if len(known) else math.nan


def _problems(contestants: Sequence[Contestant]) -> list[str]:
    first = contestants[0]
    expected = _problem_of(first)
    problems: list[str] = []
    for other in contestants[1:]:
        found = _problem_of(other)
        problems += [
            f"study {other.view.name!r}: {key} is {found[key]!r}, that of {first.view.name!r} is "
            f"{expected[key]!r}: compare studies of one problem"
            for key in expected
            if found[key] != expected[key]
        ]
    if not problems and len({c.strategy for c in contestants}) < 2:
        problems.append("studies: one strategy only: give two or more to compare")
    seen: dict[tuple[str, int], str] = {}
    for c in contestants:
        twin = seen.setdefault((c.strategy, c.seed), c.view.name)
        if twin != c.view.name:
            problems.append(
                f"study {c.view.name!r}: {c.strategy} with seed {c.seed} is there already, as "
                f"{twin!r}: leave one out"
            )
    return problems


def _problem_of(c: Contestant) -> dict[str, Any]:
    found = training_of(c.view.meta)
    del found["seed"]
    return {**found.pop("settings"), **found}


def _common_seeds(contestants: Sequence[Contestant], notices: list[str]) -> list[int]:
    of: dict[str, set[int]] = {}
    for c in contestants:
        of.setdefault(c.strategy, set()).add(c.seed)
    common = set.intersection(*of.values())
    left_out = set.union(*of.values()) - common
    if not common:
        listed = "; ".join(f"{k}: {', '.join(map(str, sorted(s)))}" for k, s in of.items())
        raise SpecError(f"studies: no seed is common to all strategies ({listed}): run what lacks")
    if left_out:
        shown = ", ".join(map(str, sorted(left_out)))
        notices.append(f"Left out, since not all strategies have them: seeds {shown}.")
    return sorted(common)


def _length(
    contestants: Sequence[Contestant],
    used: dict[tuple[str, int], pd.DataFrame],
    notices: list[str],
) -> int:
    """Trials that count of each study: the shortest one's, but for grids that are used up."""
    whole = {
        (c.strategy, c.seed)
        for c in contestants
        if c.view.meta.settings.get("sampler") == "grid"
        and _is_whole_grid(c, len(used[(c.strategy, c.seed)]))
    }
    lengths = {key: len(frame) for key, frame in used.items()}
    open_ended = [n for key, n in lengths.items() if key not in whole]
    length = min(open_ended) if open_ended else max(lengths.values())
    longest = max(lengths.values())
    if length == 0:
        none = [f"{k} with seed {s}" for (k, s), n in lengths.items() if n == 0]
        raise SpecError(f"studies: no trial has ended of {', '.join(none)}: run them first")
    if longest > length:
        notices.append(
            f"Cut to {length} trials each, the length of the shortest study; the longest has "
            f"{longest}."
        )
    for strategy in dict.fromkeys(key[0] for key in whole):
        n = max(n for (name, _), n in lengths.items() if name == strategy)
        if n < length:
            notices.append(
                f"{strategy} had tried all its {n} points before {length} trials: it stays at its "
                "best from there on, at no further cost."
            )
    return length


def _note_spaces(contestants: Sequence[Contestant], notices: list[str]) -> None:
    """Says so if strategies searched different spaces; a grid is a part of the others' anyway."""
    by_space: dict[str, list[str]] = {}
    for c in contestants:
        if c.view.meta.settings.get("sampler") != "grid":
            key = str((c.view.meta.space.to_json(), c.view.meta.settings.get("fixed")))
            by_space.setdefault(key, []).append(c.view.name)
    if len(by_space) > 1:
        groups = " | ".join(", ".join(names[:3]) for names in by_space.values())
        notices.append(f"Their search spaces differ, which may be the whole difference: {groups}.")


def _nothing_completed(c: Contestant) -> str:
    reason = next(iter(c.view.failures()), "none failed")
    return (
        f"study {c.view.name!r}: no trial completed (most failed of: {reason}): "
        f"see `hpo trials {c.view.name} --state fail`"
    )


def _is_whole_grid(c: Contestant, n_trials: int) -> bool:
    return n_trials >= c.view.meta.space.grid_size()


def _tests(
    contestants: Sequence[Contestant],
    used: dict[tuple[str, int], pd.DataFrame],
    sign: int,
    strategies: list[str],
    notices: list[str],
) -> tuple[pd.DataFrame, pd.Series]:
    """Test scores of the bests within the compared budget, if every study has one."""
    cells: dict[tuple[int, str], float] = {}
    defaults: dict[int, float] = {}
    n_tested = 0
    for c in contestants:
        tested = c.view.attr(TESTED) or {}
        n_tested += bool(tested)
        own = used[(c.strategy, c.seed)]
        best = own.iloc[int((sign * own["value"]).fillna(-math.inf).to_numpy().argmax())]
        value = (tested.get("test") or {}).get(c.view.meta.metric)
        if value is not None and tested.get("trial") == best["number"]:
            cells[(c.seed, c.strategy)] = sign * float(value)
        default = (tested.get("default") or {}).get(c.view.meta.metric)
        if default is not None:
            defaults[c.seed] = sign * float(default)
    if len(cells) < len(contestants):
        if n_tested:
            metric = contestants[0].view.meta.metric
            notices.append(
                "Test figures are left out: not every study's best within these budgets was "
                f"retrained and has a test {metric}."
            )
        return pd.DataFrame(), pd.Series(dtype=float)
    table = pd.Series(cells, dtype=float)
    return table.unstack()[strategies], pd.Series(defaults, dtype=float)


def _shares(used: dict[tuple[str, int], pd.DataFrame], strategies: list[str]) -> pd.DataFrame:
    rows = {
        strategy: pd.DataFrame(
            [time_shares(frame) for (name, _), frame in used.items() if name == strategy]
        ).sum()
        for strategy in strategies
    }
    return pd.DataFrame(rows).T


def _saved(
    used: dict[tuple[str, int], pd.DataFrame], strategies: list[str], epochs: int
) -> pd.DataFrame:
    rows = {}
    for strategy in strategies:
        own = pd.concat([frame for (name, _), frame in used.items() if name == strategy])
        cached = own[own["cached"].astype(bool)]
        n_epochs, seconds = saved_by_pruning(own, epochs)
        rows[strategy] = {
            "trials": len(own),
            "pruned": int((own["state"] == "PRUNED").sum()),
            "failed": int((own["state"] == "FAIL").sum()),
            "pruned_epochs_saved": n_epochs,
            "pruned_s_saved": seconds,
            "cached": len(cached),
            "cached_s": float(cached["duration_s"].sum()),
        }
    return pd.DataFrame(rows).T


def _best_is_default(c: Contestant) -> bool:
    """Whether nothing was better than the default; of equal values the first trial counts."""
    best, space = c.view.best(), c.view.meta.space
    return best is not None and space.key(best.params) == space.key(space.default())


def _facts(
    contestants: Sequence[Contestant], length: int, strategies: list[str], seeds: list[int]
) -> dict[str, Any]:
    meta = contestants[0].view.meta
    return {
        "model": meta.model,
        "data": meta.data,
        "metric": meta.metric,
        "direction": meta.direction,
        "epochs": meta.epochs,
        "n_trials": length,
        "strategies": strategies,
        "seeds": seeds,
        "studies": {c.view.name: [c.strategy, c.seed] for c in contestants},
        "n_best_is_default": sum(_best_is_default(c) for c in contestants),
    }
