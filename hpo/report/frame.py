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
from hpo.storage.measured import is_feasible

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from hpo.storage.meta import StudyMeta
    from hpo.storage.view import StudyView


def trials_frame(view: StudyView) -> pd.DataFrame:
    """A row a trial, by number.

    Columns: number, state, value (the first objective's, NaN unless COMPLETE), last (last epoch's
    value of the guiding metric), epochs,
    proposed_s, duration_s (training), started, ended, driver, worker, device, cached (its
    training was another study's), kind and reason of a failure, param_NAME ...; value_METRIC of
    each objective if there are several, feasible if there are constraints.
    """
    meta = view.meta
    rows = [_row(trial) | _goals(trial, meta) for trial in view.trials()]
    names = [f"value_{one.metric}" for one in meta.objectives] if meta.several else []
    names += ["feasible"] if meta.constraints else []
    names += [f"param_{name}" for name in meta.space.names]
    frame = pd.DataFrame(rows, columns=[*_COLUMNS, *names])
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
        "value": trial.values[0] if trial.state.name == "COMPLETE" else math.nan,
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


def _goals(trial: FrozenTrial, meta: StudyMeta) -> dict[str, Any]:
    """What only studies of several objectives, or with constraints, have."""
    found: dict[str, Any] = {}
    if meta.constraints:
        found["feasible"] = is_feasible(trial)
    if meta.several:
        values = trial.values if trial.state.name == "COMPLETE" else None
        for i, one in enumerate(meta.objectives):
            found[f"value_{one.metric}"] = math.nan if values is None else values[i]
    return found


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
