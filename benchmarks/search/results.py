"""Runs on disk: a JSONL file for each peer, a line a run; and the baseline of random search.

A line holds the trials that improved on all before them, which is all that regret needs, and the
CPU seconds spent in `ask` and `tell` until the budgets.  So a new sampler costs only its own runs,
and an interrupted contest goes on.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.search.contest import Run
from benchmarks.search.problems import Problem, problem

FOLDER = Path(__file__).resolve().parents[1] / "search_quality"
BUDGETS = (30, 60, 100)
N_TRIALS = 100
N_BASELINE = 300
"""Random runs behind the baseline."""

Block = tuple[str, int]  # problem, seed


@dataclass(frozen=True)
class Record:
    """A stored run.

    Attributes:
        steps: (trial, loss) of every improvement, trials counted from 1.
        ask_s: cumulative CPU seconds in `ask` and `tell` at each budget that the run reached.
        failed: trials that failed, counted from 1.
    """

    problem: str
    seed: int
    parallel: int
    n_trials: int
    steps: tuple[tuple[int, float], ...]
    ask_s: tuple[float, ...]
    failed: tuple[int, ...] = ()

    @property
    def key(self) -> tuple[str, int, int]:
        return self.problem, self.seed, self.parallel

    def curve(self) -> list[float]:
        """Best loss so far after each trial."""
        return unfold(self.steps, self.n_trials)


def unfold(steps: Iterable[tuple[int, float]], n_trials: int) -> list[float]:
    """(trial, loss) of improvements as best loss after each of n_trials trials.

    >>> unfold([(1, 5.0), (3, 2.0)], 4)
    [5.0, 5.0, 2.0, 2.0]
    """
    curve: list[float] = []
    for trial, loss in steps:
        curve += curve[-1:] * (trial - 1 - len(curve))
        curve.append(loss)
    return curve + curve[-1:] * (n_trials - len(curve))


def fold(losses: Iterable[float]) -> list[tuple[int, float]]:
    """(trial, loss) of the losses that are lower than all before, to 6 significant digits.

    >>> fold([5.0, 7.0, 2.0])
    [(1, 5.0), (3, 2.0)]
    """
    steps: list[tuple[int, float]] = []
    best = float("inf")
    for trial, loss in enumerate(losses, 1):
        if loss < best:
            best = loss
            steps.append((trial, float(f"{loss:.6g}")))
    return steps


def path(peer: str) -> Path:
    return FOLDER / f"{peer}.jsonl"


def peers_stored() -> list[str]:
    return sorted(file.stem for file in FOLDER.glob("*.jsonl"))


def load(peer: str) -> list[Record]:
    """A peer's stored runs; a line that an interruption cut off is left out."""
    records = []
    for line in path(peer).read_text().splitlines() if path(peer).exists() else ():
        try:
            data = json.loads(line)
        except json.JSONDecodeError:
            continue
        steps = tuple((int(trial), float(loss)) for trial, loss in data.pop("steps"))
        lists = {key: tuple(data.pop(key, ())) for key in ("ask_s", "failed")}
        records.append(Record(steps=steps, **lists, **data))
    return records


def append(peer: str, name: str, seed: int, parallel: int, run: Run) -> None:
    """Stores a run at once, so that nothing is lost if the next one is interrupted."""
    FOLDER.mkdir(exist_ok=True)
    data = {
        "problem": name,
        "seed": seed,
        "parallel": parallel,
        "n_trials": len(run.losses),
        "steps": fold(run.losses),
        "ask_s": [float(f"{run.ask_s[n - 1]:.3g}") for n in BUDGETS if n <= len(run.ask_s)],
    }
    if run.failed:
        data["failed"] = run.failed
    with path(peer).open("a") as file:
        file.write(json.dumps(data) + "\n")


def baseline(names: Iterable[str]) -> dict[str, list[float]]:
    """Random search's median best loss after each trial, by problem; computed once, then stored."""
    file = FOLDER / "random_median.json"
    stored = json.loads(file.read_text()) if file.exists() else {}
    missing = [name for name in names if name not in stored]
    for name in missing:
        stored[name] = fold(_median_curve(problem(name)))
    if missing:
        FOLDER.mkdir(exist_ok=True)
        lines = ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in sorted(stored.items()))
        file.write_text(f"{{\n{lines}\n}}\n")
    return {name: unfold(map(tuple, stored[name]), N_TRIALS) for name in names}


def _median_curve(task: Problem) -> list[float]:
    import numpy as np

    losses = np.empty((N_BASELINE, N_TRIALS))
    for run in range(N_BASELINE):
        rng = random.Random(f"{task.name} {run}")
        drawn = (task.loss(task.space.random(rng)) for _ in range(N_TRIALS))
        losses[run] = [task.ceiling if loss is None else loss for loss in drawn]
    return list(np.median(np.minimum.accumulate(losses, axis=1), axis=0))
