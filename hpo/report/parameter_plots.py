"""Figures of a study's parameters: what matters, and where it is good."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from hpo.parameter import Choice
from hpo.report.plots import COLORS, figure
from hpo.report.study_plots import robust_range, thinned

if TYPE_CHECKING:
    from hpo.report.study import StudyReport


def importances(importance: pd.DataFrame) -> go.Figure:
    """Bars with the 95 % range over resamples."""
    table = importance.iloc[::-1]
    drawn = figure(
        "share of the variance explained", "", height=110 + 28 * len(table), showlegend=False
    )
    drawn.add_bar(
        y=table["parameter"],
        x=table["importance"],
        orientation="h",
        marker={"color": COLORS[0]},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": table["high"] - table["importance"],
            "arrayminus": table["importance"] - table["low"],
            "color": "#808890",
        },
        hovertemplate="%{y}: %{x:.2f}",
    )
    drawn.update_layout(margin={"l": 130, "r": 20, "t": 16, "b": 50})
    drawn.update_xaxes(rangemode="tozero")
    return drawn


def parallel(report: StudyReport) -> go.Figure:
    """A line a COMPLETE trial through its parameters, coloured by its value."""
    done = thinned(report.complete, report, 500)
    names = report.params_by_importance()[:8]
    dimensions: list[dict[str, Any]] = []
    for name in names:
        column = done[f"param_{name}"]
        if column.notna().all():
            dimensions.append(_dimension(name, report.view.meta.space[name], column))
    values = done["value"]
    low, high = float(values.quantile(0.1)), float(values.max())
    if report.sign < 0:
        low, high = float(values.min()), float(values.quantile(0.9))
    dimensions.append({"label": report.view.meta.metric, "values": values})
    drawn = figure(height=460, meta={"min_width": 110 * len(dimensions)})
    drawn.add_parcoords(
        dimensions=dimensions,
        line={
            "color": values,
            "cmin": low,
            "cmax": high if high > low else low + 1e-9,
            "colorscale": "Viridis" if report.sign > 0 else "Viridis_r",
            "showscale": True,
        },
        labelside="bottom",
    )
    drawn.update_layout(margin={"l": 60, "r": 40, "t": 40, "b": 70})
    return drawn


def _dimension(name: str, p: Any, column: pd.Series) -> dict[str, Any]:
    if isinstance(p, Choice):
        labels = [str(choice) for choice in p.choices]
        places = [labels.index(str(value)) for value in column]
        return {
            "label": name,
            "values": places,
            "tickvals": list(range(len(labels))),
            "ticktext": labels,
            "range": [-0.3, len(labels) - 0.7],
        }
    if p.log:
        low, high = math.log10(p.low), math.log10(p.high)
        ticks = np.linspace(low, high, 5)
        return {
            "label": name,
            "values": np.log10(column.astype(float)),
            "tickvals": ticks,
            "ticktext": [f"{10**tick:.2g}" for tick in ticks],
            "range": [low, high],
        }
    return {"label": name, "values": column.astype(float), "range": [p.low, p.high]}


def slices(report: StudyReport, name: str) -> go.Figure:
    """Value by one parameter; darker trials came later."""
    done = thinned(report.complete[report.complete[f"param_{name}"].notna()], report)
    p = report.view.meta.space[name]
    drawn = figure(name, report.view.meta.metric, height=340, showlegend=False)
    column = done[f"param_{name}"]
    drawn.add_scatter(
        x=column.astype(str) if isinstance(p, Choice) else column.astype(float),
        y=done["value"],
        mode="markers",
        marker={
            "color": done["number"],
            "colorscale": [[0, "#a8c8ea"], [1, "#0b4f94"]],
            "size": 7,
            "opacity": 0.8,
            "line": {"width": 0.5, "color": "#808890"},
            "colorbar": {"title": {"text": "trial"}, "thickness": 12},
        },
        hovertemplate=f"{name} %{{x}}: %{{y:.5g}}",
    )
    if not isinstance(p, Choice) and p.log:
        drawn.update_xaxes(type="log")
    drawn.update_yaxes(range=robust_range(done))
    return drawn


def is_number(report: StudyReport, name: str) -> bool:
    """Whether a parameter is a number that every completed trial has."""
    p = report.view.meta.space[name]
    return not isinstance(p, Choice) and bool(report.complete[f"param_{name}"].notna().all())


def contour(report: StudyReport, first: str, second: str) -> go.Figure | None:
    """Values over two numbers, between the trials by linear interpolation; None of too few."""
    from scipy.interpolate import griddata
    from scipy.spatial import QhullError

    space = report.view.meta.space
    done = thinned(report.complete, report, 400)
    if len(done) < 8:
        return None
    axes, points, is_log = [], [], []
    for name in (first, second):
        p: Any = space[name]
        log = bool(p.log)
        scale = (lambda v: np.log10(v)) if log else (lambda v: np.asarray(v, dtype=float))
        low, high = float(scale(float(p.low))), float(scale(float(p.high)))
        place = (scale(done[f"param_{name}"].astype(float).to_numpy()) - low) / (high - low)
        ticks = np.linspace(low, high, 50)
        axes.append(10**ticks if log else ticks)
        points.append(place)
        is_log.append(log)
    unit = np.linspace(0, 1, 50)
    across, up = np.meshgrid(unit, unit)
    try:
        heights = griddata(np.stack(points, 1), done["value"].to_numpy(), (across, up))
    except QhullError:  # all on one line
        return None
    drawn = figure(first, second, height=420, showlegend=False)
    low, high = np.quantile(done["value"], [0.1, 1.0] if report.sign > 0 else [0.0, 0.9])
    drawn.add_contour(
        x=axes[0],
        y=axes[1],
        z=heights,
        zmin=low,
        zmax=high,
        ncontours=12,
        connectgaps=False,
        colorscale="Viridis" if report.sign > 0 else "Viridis_r",
        colorbar={"title": {"text": report.view.meta.metric}, "thickness": 12},
        hovertemplate=f"{first} %{{x:.3g}}, {second} %{{y:.3g}}: %{{z:.4g}}",
    )
    drawn.add_scatter(
        x=done[f"param_{first}"],
        y=done[f"param_{second}"],
        mode="markers",
        marker={"color": "#ffffff", "size": 5, "line": {"color": "#30363d", "width": 1}},
        text=[f"trial {n}: {v:.5g}" for n, v in zip(done["number"], done["value"], strict=True)],
        hoverinfo="text",
    )
    drawn.update_xaxes(type="log" if is_log[0] else "linear")
    drawn.update_yaxes(type="log" if is_log[1] else "linear")
    return drawn
