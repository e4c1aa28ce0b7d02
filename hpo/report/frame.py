"""Trials of studies as one long pandas table: the source of every figure of a report."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hpo.storage.attempts import KIND, REASON, origin_of, used_budget
from hpo.storage.known import CACHED_FROM

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from hpo.storage.view import StudyView


def trials_frame(view: StudyView) -> pd.DataFrame:
    """A row a trial, by number.

    Columns: number, state, value (NaN unless COMPLETE), last (last epoch's value), epochs,
    proposed_s, duration_s (training), started, ended, driver, worker, device, cached (its
    training was another study's), kind and reason of a failure, param_NAME ...
    """
    rows = [_row(trial) for trial in view.trials()]
    frame = pd.DataFrame(rows, columns=[*_COLUMNS, *(f"param_{n}" for n in view.meta.space.names)])
    return frame.sort_values("number", ignore_index=True)


_COLUMNS = (
    "number", "state", "value", "last", "epochs", "proposed_s", "duration_s", "started", "ended",
    "driver", "worker", "device", "cached", "counts", "kind", "reason",
)  # fmt: skip


def _row(trial: FrozenTrial) -> dict[str, Any]:
    run = trial.user_attrs.get("run")
    run = run if isinstance(run, dict) else {}
    curve = trial.intermediate_values
    return {
        "number": trial.number,
        "state": trial.state.name,
        "value": trial.value if trial.state.name == "COMPLETE" else math.nan,
        "last": curve[max(curve)] if curve else math.nan,
        "epochs": run.get("epochs", len(curve)),
        "proposed_s": run.get("proposed_s", 0.0),
        "duration_s": run.get("duration_s", _wall_s(trial)),
        "started": trial.datetime_start,
        "ended": trial.datetime_complete,
        "driver": origin_of(trial).get("driver", ""),
        "worker": run.get("worker", ""),
        "device": run.get("device", ""),
        "cached": CACHED_FROM in run,
        "counts": used_budget(trial),
        "kind": trial.user_attrs.get(KIND),
        "reason": trial.user_attrs.get(REASON),
        **{f"param_{name}": value for name, value in trial.params.items()},
    }


def _wall_s(trial: FrozenTrial) -> float:
    if trial.datetime_start is None or trial.datetime_complete is None:
        return 0.0
    return (trial.datetime_complete - trial.datetime_start).total_seconds()


def spent(frame: pd.DataFrame) -> pd.DataFrame:
    """The trials that used up budget: ended, and not to be tried again."""
    return frame[frame["counts"].astype(bool)]


def most_at_once(frame: pd.DataFrame) -> int:
    """The most trials that ran at the same time, by their start and end."""
    real = frame[~frame["cached"].astype(bool) & frame["ended"].notna()]
    events = [(time, 1) for time in real["started"]] + [(time, -1) for time in real["ended"]]
    running = most = 0
    for _, change in sorted(events):
        running += change
        most = max(most, running)
    return max(most, 1)


def scheduled(durations: Iterable[float], n_workers: int) -> list[float]:
    """When each trial ends if it starts as soon as one of the workers is free, in seconds.

    It gives trials that a cache answered the time that their training took, and leaves out
    what has nothing to do with the strategy: pauses, restarts, a busy machine's queue.

    >>> scheduled([2.0, 1.0, 1.0], n_workers=2)
    [2.0, 1.0, 2.0]
    """
    free = [0.0] * n_workers
    ends = []
    for duration in durations:
        end = heapq.heappop(free) + float(duration)
        heapq.heappush(free, end)
        ends.append(end)
    return ends


def time_shares(frame: pd.DataFrame) -> dict[str, float]:
    """Seconds of the workers' real time: training, proposing, waiting; those of a cache have none.

    A driver's workers are there from its first trial's start to its last one's end.
    """
    real = frame[~frame["cached"].astype(bool) & frame["ended"].notna()]
    training, proposing = float(real["duration_s"].sum()), float(real["proposed_s"].sum())
    there = 0.0
    for _, own in real.groupby("driver"):
        there += (own["ended"].max() - own["started"].min()).total_seconds() * most_at_once(own)
    waiting = max(0.0, there - training - proposing)
    return {"training": training, "proposing": proposing, "waiting": waiting}


def saved_by_pruning(frame: pd.DataFrame, epochs: int) -> tuple[int, float]:
    """Epochs and seconds that pruned trials would still have taken, at their own speed."""
    pruned = frame[(frame["state"] == "PRUNED") & (frame["epochs"] > 0)]
    left = epochs - pruned["epochs"]
    return int(left.sum()), float((pruned["duration_s"] / pruned["epochs"] * left).sum())


def first_reaching(curve: NDArray[np.float64], goal: float) -> int | None:
    """Index of the first value that is as high as the goal, or None."""
    reached = np.flatnonzero(curve >= goal)
    return int(reached[0]) if len(reached) else None
