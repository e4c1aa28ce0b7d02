"""Figures of an evaluation: confusion, calibration, curves of one class against the rest."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from hpo.outcome.classified import Classified
from hpo.report.plots import COLORS, DASHES, figure, translucent

MOST_CONFUSED = 40
"""Classes up to which all pairs are drawn."""
MOST_CURVES = len(COLORS)
_WRITTEN = 12
"""Classes up to which the numbers stand in the cells."""
_POINTS = 300
_LONGEST = 18
"""Characters of a class's name in a figure."""


def short(name: str) -> str:
    """A name as figures show it."""
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"


def confusion(found: Classified) -> go.Figure:
    """Rows by true class, columns by predicted one, coloured by the share of the true class."""
    counts = found.confusion
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names = [f"{k} {short(name)}" for k, name in enumerate(found.class_names)]
    if all(name == str(k) for k, name in enumerate(found.class_names)):
        names = list(found.class_names)
    n = len(names)
    drawn = figure("predicted", "true", height=140 + max(260, 22 * n), meta={"min_width": 26 * n})
    ticks = {"tickmode": "array", "tickvals": list(range(n)), "ticktext": names}
    drawn.add_heatmap(
        z=shares,
        zmin=0,
        zmax=1,
        colorscale=[[0, translucent(COLORS[0], 0.03)], [1, COLORS[0]]],
        colorbar={"title": {"text": "share"}, "thickness": 12},
        customdata=counts,
        hovertemplate="true %{y}, predicted %{x}: %{customdata} rows, %{z:.1%}<extra></extra>",
        xgap=1,
        ygap=1,
    )
    drawn.update_xaxes(**ticks, showgrid=False, tickangle=0 if n <= _WRITTEN else -90)
    drawn.update_yaxes(**ticks, showgrid=False, autorange="reversed")
    if n <= _WRITTEN:
        cells = [(row, column) for row in range(n) for column in range(n) if counts[row, column]]
        drawn.add_scatter(
            x=[column for _, column in cells],
            y=[row for row, _ in cells],
            text=[str(counts[cell]) for cell in cells],
            mode="text",
            hoverinfo="skip",
            showlegend=False,
        )
    return drawn


def reliability(found: Classified) -> go.Figure:
    """Accuracy by confidence with Wilson's intervals, and how many rows are where."""
    bins = found.bins["ece"]
    total = sum(one.rows for one in bins)
    x = [one.confidence for one in bins]
    drawn = figure("confidence", "accuracy")
    drawn.add_scatter(
        x=[0, 1],
        y=[0, 1],
        mode="lines",
        name="calibrated",
        line={"color": "#808890", "dash": "dash"},
        hoverinfo="skip",
    )
    drawn.add_bar(
        x=x,
        y=[one.rows / total for one in bins],
        width=0.03,
        name="share of the rows",
        marker={"color": translucent(COLORS[1], 0.5)},
        hovertemplate="%{y:.1%} of the rows<extra></extra>",
    )
    drawn.add_scatter(
        x=x,
        y=[one.accuracy for one in bins],
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [one.high - one.accuracy for one in bins],
            "arrayminus": [one.accuracy - one.low for one in bins],
        },
        mode="markers+lines",
        name="accuracy, 95 % interval",
        marker={"color": COLORS[0], "size": 8},
        line={"color": COLORS[0], "width": 1},
        text=[f"{one.rows} rows, {one.accuracy:.3f} of them right" for one in bins],
        hoverinfo="text",
    )
    drawn.update_xaxes(range=[-0.02, 1.02])
    drawn.update_yaxes(range=[0, 1.02])
    return drawn


def drawn_classes(found: Classified) -> list[int]:
    """Those with curves: all, or of many the ones told apart worst."""
    areas = {row["class"]: row["roc_auc"] for row in found.classes}
    places = [k for k, name in enumerate(found.class_names) if np.isfinite(areas.get(name, np.nan))]
    return sorted(places, key=lambda k: float(areas[found.class_names[k]]))[:MOST_CURVES]


def roc(found: Classified) -> go.Figure:
    """ROC curves, one class against the rest."""
    from sklearn.metrics import roc_curve

    drawn = figure("false positive rate", "true positive rate")
    drawn.add_scatter(
        x=[0, 1],
        y=[0, 1],
        mode="lines",
        line={"color": "#808890", "dash": "dash"},
        name="chance",
        hoverinfo="skip",
    )
    for place, k in enumerate(drawn_classes(found)):
        false, true, _ = roc_curve(found.targets == k, found.probabilities[:, k])
        _curve(drawn, false, true, short(found.class_names[k]), place)
    return drawn


def precision_recall(found: Classified) -> go.Figure:
    """Precision against recall, one class against the rest."""
    from sklearn.metrics import precision_recall_curve

    drawn = figure("recall", "precision")
    for place, k in enumerate(drawn_classes(found)):
        precision, recall, _ = precision_recall_curve(found.targets == k, found.probabilities[:, k])
        _curve(drawn, recall, precision, short(found.class_names[k]), place)
    drawn.update_yaxes(range=[0, 1.02])
    return drawn


def _curve(
    drawn: go.Figure, x: NDArray[np.float64], y: NDArray[np.float64], name: str, place: int
) -> None:
    kept = np.unique(np.linspace(0, len(x) - 1, _POINTS).round().astype(int))
    drawn.add_scatter(
        x=x[kept].round(5),
        y=y[kept].round(5),
        mode="lines",
        name=name,
        line={"color": COLORS[place], "dash": DASHES[place], "width": 2},
    )


def by_class(found: Classified) -> go.Figure:
    """F1 of each class that occurs, with its interval, the worst at the top."""
    rows = [row for row in found.classes if row["rows"]]
    rows = sorted(rows, key=lambda row: -float(row["f1"]))[-MOST_CONFUSED:]
    drawn = figure("F1", "", height=110 + 22 * len(rows), showlegend=False)
    drawn.add_scatter(
        x=[row["f1"] for row in rows],
        y=[f"{short(row['class'])} ({row['rows']})" for row in rows],
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [max(0.0, row["f1_high"] - row["f1"]) for row in rows],
            "arrayminus": [max(0.0, row["f1"] - row["f1_low"]) for row in rows],
        },
        mode="markers",
        marker={"color": COLORS[0], "size": 8},
    )
    drawn.update_yaxes(type="category")
    return drawn


def histogram(values: NDArray[np.float64], name: str) -> go.Figure:
    """How a number is spread over the rows; the line is its mean."""
    heights, edges = np.histogram(values[np.isfinite(values)], bins=40)
    drawn = figure(name, "rows", height=300, showlegend=False)
    drawn.add_bar(
        x=((edges[:-1] + edges[1:]) / 2).tolist(),
        y=heights.tolist(),
        width=np.diff(edges).tolist(),
        marker={"color": translucent(COLORS[0], 0.7)},
    )
    drawn.add_vline(x=float(np.nanmean(values)), line={"color": COLORS[1], "width": 2})
    return drawn
