"""Figures of several objectives, and of constraints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import plotly.graph_objects as go

from hpo.report.plots import COLORS, SYMBOLS, figure
from hpo.report.study_plots import MOST_POINTS, thinned

if TYPE_CHECKING:
    from hpo.report.study import StudyReport

GREY = "#808890"
_LOG_FROM = 30.0
"""Largest through smallest value from which an axis is logarithmic."""


def pareto(report: StudyReport) -> go.Figure:
    """The first two objectives of every trial; the front joined by steps if there are no more."""
    first, second = report.view.meta.objectives[:2]
    x, y = f"value_{first.metric}", f"value_{second.metric}"
    drawn = figure(f"{first.metric} ({first.direction})", f"{second.metric} ({second.direction})")
    front = report.front
    others = report.eligible[~report.eligible["number"].isin(front["number"])]
    broken = report.complete[~report.complete["number"].isin(report.eligible["number"])]
    _points(drawn, broken.head(MOST_POINTS), x, y, "infeasible", GREY, "x-thin")
    _points(drawn, thinned(others, report), x, y, "dominated", COLORS[0], SYMBOLS[0])
    ordered = front.sort_values(x)
    if len(report.view.meta.objectives) == 2 and len(ordered) > 1:
        drawn.add_scatter(
            x=ordered[x],
            y=ordered[y],
            mode="lines",
            # What is dominated lies on the worse side of both: the step turns at that corner.
            line={
                "shape": "hv" if first.sign < 0 else "vh",
                "color": COLORS[2],
                "width": 2,
            },
            showlegend=False,
            hoverinfo="skip",
        )
    _points(drawn, ordered, x, y, "Pareto front", COLORS[2], SYMBOLS[2], size=10)
    _points(drawn, front.head(1), x, y, "nearest to the best of each", COLORS[1], "star", size=16)
    for axis, column, objective in (("x", x, first), ("y", y, second)):
        values = report.complete[column]
        # Of an amount that is to be small, not of a score.
        if (
            objective.sign < 0
            and len(values)
            and values.min() > 0
            and values.max() > _LOG_FROM * values.min()
        ):
            drawn.update_layout({f"{axis}axis": {"type": "log"}})
    return drawn


def _points(
    drawn: go.Figure,
    rows: pd.DataFrame,
    x: str,
    y: str,
    name: str,
    color: str,
    symbol: str,
    size: int = 7,
) -> None:
    if rows.empty:
        return
    marker: dict[str, Any] = {"color": color, "symbol": symbol, "size": size}
    if symbol == "x-thin":
        marker["line"] = {"color": color, "width": 1.5}
    elif size == 7:
        marker["opacity"] = 0.6
    drawn.add_scatter(
        x=rows[x],
        y=rows[y],
        mode="markers",
        name=name,
        marker=marker,
        text=rows["number"].astype(str),
        hovertemplate="trial %{text}: %{x:.5g}, %{y:.5g}",
    )


def hypervolume(table: pd.DataFrame, n_trials: int) -> go.Figure:
    """The share that the front dominates, by trial."""
    drawn = figure("trial", "dominated share", height=320, showlegend=False)
    drawn.add_scatter(
        x=[*table["number"], max(n_trials - 1, int(table["number"].iloc[-1]))],
        y=[*table["share"], float(table["share"].iloc[-1])],
        mode="lines",
        line={"shape": "hv", "color": COLORS[2], "width": 2.5},
        hovertemplate="trial %{x}: %{y:.3f}",
    )
    drawn.update_yaxes(rangemode="tozero")
    return drawn
