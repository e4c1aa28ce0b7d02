"""What early stopping saves and what it costs: asynchronous searches in a table of curves.

    python benchmarks/early_stopping.py                  # 40 seeds x 2 samplers x all pruners
    python benchmarks/early_stopping.py --seeds 4 --samplers random

Each search draws 80 configurations of `benchmarks/curves` with four workers; its cost is the
epochs that they train.  After these it goes on with new ones until it has the value that `none`
has found with the same seed, or has spent as much as `none`.
"""

from __future__ import annotations

import argparse
import heapq
import multiprocessing
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import curves
import numpy as np
import optuna
from optuna.trial import Trial, TrialState

from hpo import Choice, Int, Space
from hpo.search import make_pruner, make_sampler

N_TRIALS = 80
N_WORKERS = 4
PRUNERS: dict[str, tuple[str, dict[str, Any]]] = {
    "none": ("none", {}),
    "median": ("median", {}),
    "curve, chance 0.1": ("curve", {"chance": 0.1}),
    "curve, chance 0.05": ("curve", {"chance": 0.05}),
    "curve, chance 0.02": ("curve", {"chance": 0.02}),
    "asha without pauses": ("asha", {}),
    "asha": ("asha", {}),
    "hyperband": ("hyperband", {}),
}
SPACE = Space(
    **{
        name: Choice(*values) if isinstance(values[0], str) else Int(0, len(values) - 1)
        for name, values in curves.LATTICE.items()
    }
)
SAMPLERS: dict[str, Callable[[int], optuna.samplers.BaseSampler]] = {
    "random": lambda seed: optuna.samplers.RandomSampler(seed=seed),
    "tpe": lambda seed: optuna.samplers.TPESampler(seed=seed),
    "gp": lambda seed: make_sampler("gp", SPACE, seed, n_trials=N_TRIALS, n_concurrent=N_WORKERS),
}


@dataclass(frozen=True)
class Outcome:
    """Of one search.

    Attributes:
        cost: epochs that the first N_TRIALS configurations took.
        chosen: table row of the best of these that ran to its end.
        reached_at: epochs until the goal was reached; None: within the budget it was not.
        n_full: of the first N_TRIALS, how many ran to their end.
    """

    cost: int
    chosen: int
    reached_at: int | None
    n_full: int


class Search:
    """One study whose trials look their epochs up."""

    def __init__(self, table: curves.Curves, pruner: str, sampler: str, seed: int) -> None:
        self.accuracy = table.accuracy
        name, options = PRUNERS[pruner]
        self.study = optuna.create_study(
            direction="maximize",
            study_name=f"{sampler}-{seed}",
            sampler=SAMPLERS[sampler](seed),
            pruner=make_pruner(name, epochs=curves.EPOCHS, n_trials=N_TRIALS, **options),
        )
        pauses = "without" not in pruner
        self.promotable = getattr(self.study.pruner, "promotable", None) if pauses else None
        self.speeds = np.random.default_rng(seed)
        self.trials: list[tuple[Trial, int]] = []
        self.paused: dict[int, int] = {}  # number -> epochs done
        self.workers: list[tuple[float, int, int]] = []  # (end of the epoch, number, epoch)
        self.cost = 0
        self.full: list[tuple[int, float]] = []  # (epochs spent when it ended, row) by time

    def run(self, n_trials: int, enough: Callable[[], bool]) -> None:
        """Draws configurations until there are so many, then lets all end, or stops if enough."""
        now = 0.0
        while not enough():
            while len(self.workers) < N_WORKERS and self._start(now, n_trials):
                pass
            if not self.workers:
                return
            now, number, epoch = heapq.heappop(self.workers)
            self._epoch(now, number, epoch)

    def _start(self, now: float, n_trials: int) -> bool:
        if self.promotable is not None and self.paused:
            trials = self.study.get_trials(deepcopy=False)
            number = self.promotable(self.study, trials, set(self.paused))
            if number is not None:
                self._push(now, number, self.paused.pop(number) + 1)
                return True
        if len(self.trials) >= n_trials:
            return False
        trial = self.study.ask()
        drawn = SPACE.suggest(trial)
        params = {
            name: drawn[name] if isinstance(values[0], str) else values[drawn[name]]
            for name, values in curves.LATTICE.items()
        }
        self.trials.append((trial, curves.index_of(params)))
        self._push(now, trial.number, 1)
        return True

    def _push(self, now: float, number: int, epoch: int) -> None:
        heapq.heappush(self.workers, (now + self.speeds.uniform(0.7, 1.3), number, epoch))

    def _epoch(self, now: float, number: int, epoch: int) -> None:
        trial, row = self.trials[number]
        self.cost += 1
        value = float(self.accuracy[row, epoch - 1])
        if np.isnan(value):
            self.study.tell(trial, state=TrialState.FAIL)
            return
        trial.report(value, epoch)
        if epoch == curves.EPOCHS:
            best = float(self.accuracy[row].max())
            self.study.tell(trial, best)
            self.full.append((self.cost, row))
        elif not trial.should_prune():
            self._push(now, number, epoch + 1)
        elif self.promotable is not None:
            self.paused[number] = epoch
        else:
            self.study.tell(trial, state=TrialState.PRUNED)


def search(pruner: str, sampler: str, seed: int, goal: float, budget: int) -> Outcome:
    """One search.

    Args:
        goal: value to be reached.
        budget: epochs.
    """
    table = curves.load()
    of = Search(table, pruner, sampler, seed)
    of.run(N_TRIALS, lambda: False)
    cost, first = of.cost, list(of.full)
    best = {row: float(table.accuracy[row].max()) for _, row in first}
    chosen = max(best, key=lambda row: best[row])

    def reached_at() -> int | None:
        return next((at for at, row in of.full if table.accuracy[row].max() >= goal), None)

    of.run(10**9, lambda: reached_at() is not None or of.cost >= budget)
    return Outcome(cost, chosen, reached_at(), len(first))


def _of_seed(task: tuple[str, int]) -> list[Outcome]:
    sampler, seed = task
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    table = curves.load()
    full = search("none", sampler, seed, 0.0, 0)
    goal = float(table.accuracy[full.chosen].max())
    return [search(pruner, sampler, seed, goal, full.cost) for pruner in PRUNERS]


def interval(values: Any) -> str:
    """Mean and its 95 % interval over seeds, from 10,000 bootstrap samples."""
    values = np.asarray(values, float)
    draws = np.random.default_rng(0).integers(len(values), size=(10_000, len(values)))
    low, high = np.quantile(values[draws].mean(axis=1), [0.025, 0.975])
    return f"{values.mean():.4f} [{low:.4f}, {high:.4f}]"


def report(sampler: str, outcomes: list[list[Outcome]]) -> str:
    """A row a pruner; costs as shares of what `none` spends on all its configurations."""
    table = curves.load()
    final = np.nan_to_num(np.fmax.reduce(table.accuracy, axis=1))
    highest = final.max()
    full = [of_seed[0] for of_seed in outcomes]
    lines = [
        f"### {sampler}, {len(outcomes)} seeds",
        "",
        "| pruner | cost of 80 configurations | run to the end "
        "| final choice - none's (validation) | test | regret "
        "| reaches none's best | cost until then |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for k, pruner in enumerate(PRUNERS):
        mine = [of_seed[k] for of_seed in outcomes]
        shares = [m.cost / f.cost for m, f in zip(mine, full, strict=True)]
        better = [final[m.chosen] - final[f.chosen] for m, f in zip(mine, full, strict=True)]
        tested = [
            table.test[m.chosen] - table.test[f.chosen] for m, f in zip(mine, full, strict=True)
        ]
        times = [
            (f.cost if m.reached_at is None else m.reached_at) / f.cost
            for m, f in zip(mine, full, strict=True)
        ]
        lines.append(
            f"| {pruner} | {interval(shares)} | {np.mean([m.n_full for m in mine]):.1f} "
            f"| {interval(better)} | {interval(tested)} "
            f"| {np.mean([highest - final[m.chosen] for m in mine]):.4f} "
            f"| {np.mean([m.reached_at is not None for m in mine]):.0%} | {interval(times)} |"
        )
    return "\n".join([*lines, "", *_beside_median(final, outcomes)])


def _beside_median(final: Any, outcomes: list[list[Outcome]]) -> list[str]:
    """A line a pruner: its difference to median, seed by seed."""
    at = list(PRUNERS).index("median")
    lines = []
    for k, pruner in enumerate(PRUNERS):
        pairs = [(of_seed[k], of_seed[at], of_seed[0].cost) for of_seed in outcomes]
        better = [final[mine.chosen] - final[its.chosen] for mine, its, _ in pairs]
        cost = [(mine.cost - its.cost) / full for mine, its, full in pairs]
        until = [
            ((mine.reached_at or full) - (its.reached_at or full)) / full
            for mine, its, full in pairs
        ]
        if k != at:
            lines.append(
                f"- {pruner} - median: final choice {interval(better)}, cost {interval(cost)}, "
                f"cost until none's best {interval(until)}"
            )
    return lines


def main() -> None:
    """Runs all searches and prints a table a sampler."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--samplers", nargs="+", default=list(SAMPLERS), choices=SAMPLERS)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    with multiprocessing.get_context("spawn").Pool(arguments.workers) as pool:
        for sampler in arguments.samplers:
            tasks = [(sampler, seed) for seed in range(arguments.seeds)]
            print(report(sampler, pool.map(_of_seed, tasks, chunksize=1)), flush=True)
            print()


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
