"""What a study of several objectives came to: its front, and how that grew."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hpo.pareto import dominates
from hpo.report.study import StudyReport

Array = NDArray[np.float64]
MOST_OBJECTIVES = 4
"""Beyond these the hypervolume takes too long to work out."""
_BEYOND = 0.1
"""Share of the front's range by which the reference point is worse than its worst values."""


def values_in(report: StudyReport, rows: pd.DataFrame) -> Array:
    """[N, K] values of trials by objective."""
    columns = [f"value_{one.metric}" for one in report.view.meta.objectives]
    return rows[columns].to_numpy(dtype=float)


def front_table(report: StudyReport) -> pd.DataFrame:
    """The front's trials, from the nearest to the ideal point on: values and parameters."""
    front = report.front
    names = [f"param_{name}" for name in report.view.meta.space.names]
    searched = [column for column in names if front[column].notna().any()]
    values = {f"value_{one.metric}": one.metric for one in report.view.meta.objectives}
    table = front[["number", *values, *searched]]
    titles = {column: column.removeprefix("param_") for column in searched}
    twice = set(titles.values()) & set(values.values())
    titles |= {f"param_{name}": f"parameter {name}" for name in twice}
    return table.rename(columns={"number": "trial", **values, **titles}).reset_index(drop=True)


def hypervolumes(report: StudyReport) -> pd.DataFrame:
    """How much of the space between the ideal point and a reference point the front dominates.

    Both points are of the front as it is now, the reference point a tenth of its range worse
    than its worst values, so that 1 would be a trial with the best of each objective.

    Returns:
        number, share: after each trial that changed the front; empty if there is none.
    Source: Zitzler, Thiele 1998.
    """
    from optuna._hypervolume import compute_hypervolume

    rows = report.eligible
    if rows.empty or report.front.empty:
        return pd.DataFrame(columns=["number", "share"])
    signs = np.array([one.sign for one in report.view.meta.objectives])
    best = -signs * values_in(report, report.front)
    low, high = best.min(axis=0), best.max(axis=0)
    width = np.where(high > low, high - low, np.maximum(np.abs(low), 1.0)) * (1 + _BEYOND)
    losses = (-signs * values_in(report, rows) - low) / width  # the reference point is all ones
    front: list[Array] = []
    found: list[dict[str, Any]] = []
    minimized = [-1] * len(signs)
    ones = np.ones(len(signs))
    for number, point in zip(rows["number"], losses, strict=True):
        if (point >= 1).any() or any(_covers(own, point, minimized) for own in front):
            continue
        front = [own for own in front if not dominates(point, own, minimized)] + [point]
        share = float(compute_hypervolume(np.array(front), ones, assume_pareto=False))
        found.append({"number": int(number), "share": share})
    return pd.DataFrame(found, columns=["number", "share"])


def _covers(a: Array, b: Array, signs: Sequence[int]) -> bool:
    return bool((a == b).all()) or dominates(a, b, signs)
