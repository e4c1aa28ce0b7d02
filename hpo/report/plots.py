"""What all figures share, and the figures of a comparison.  Colours hold on light and dark."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from hpo.report.statistics import bootstrap_interval, cliques

if TYPE_CHECKING:
    from hpo.report.comparison import Comparison

COLORS = ("#3b82c4", "#d9702b", "#2a9d6f", "#b65fc0", "#a88a12", "#d0504c", "#6f78c9", "#2f9fae")
"""At least 3:1 against white and against #0d1117; told apart by the colour-blind too."""
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot", "solid", "dash")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star", "pentagon")
_N_TIMES = 200


def figure(x: str = "", y: str = "", height: int = 420, **layout: Any) -> go.Figure:
    """An empty figure in the reports' style."""
    base: dict[str, Any] = {
        "template": "none",
        "height": height,
        "margin": {"l": 64, "r": 20, "t": 16, "b": 56},
        "font": {"size": 13},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        "hovermode": "closest",
        "xaxis": {"title": {"text": x}, "gridcolor": "#d0d7de", "zeroline": False},
        "yaxis": {"title": {"text": y}, "gridcolor": "#d0d7de", "zeroline": False},
    }
    return go.Figure(layout={**base, **layout})


def translucent(color: str, share: float) -> str:
    """`#3b82c4` at a share of opacity."""
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{share})"


def colors_of(names: list[str]) -> dict[str, int]:
    """Place of each name in the palettes: the same in every figure, whatever the ranks."""
    return {name: i % len(COLORS) for i, name in enumerate(sorted(names))}


def _band(drawn: go.Figure, x: Any, mean: Any, low: Any, high: Any, name: str, place: int) -> None:
    color = COLORS[place]
    x = np.asarray(x, dtype=float)
    drawn.add_scatter(
        x=np.concatenate([x, x[::-1]]),
        y=np.concatenate([high, np.asarray(low)[::-1]]),
        fill="toself",
        fillcolor=translucent(color, 0.16),
        line={"width": 0},
        hoverinfo="skip",
        showlegend=False,
        legendgroup=name,
    )
    drawn.add_scatter(
        x=x,
        y=mean,
        name=name,
        legendgroup=name,
        mode="lines",
        line={"color": color, "width": 2.5, "dash": DASHES[place]},
    )


def best_by_trials(c: Comparison) -> go.Figure:
    """Best so far against trials: mean over seeds and its bootstrap interval."""
    drawn = figure("trials", f"best {c.metric} so far (validation)")
    places = colors_of(c.strategies)
    for name in c.strategies:
        curves = c.curves[name].to_numpy().T
        low, high = bootstrap_interval(curves)
        ends = (c.sign * low, c.sign * high)
        _band(drawn, c.curves.index, c.sign * curves.mean(axis=0), *ends, name, places[name])
    drawn.update_yaxes(range=_late_range(c))
    return drawn


def _late_range(c: Comparison) -> list[float] | None:
    """Without the first fifth of the budget, where a bad start would flatten all the rest."""
    late = c.sign * c.curves.iloc[max(1, len(c.curves) // 5) :]
    if late.empty or late.isna().any().any():
        return None
    low, high = float(late.min().min()), float(late.max().max())
    pad = 0.08 * (high - low) or 1e-3
    return [low - pad, high + pad]


def best_by_time(c: Comparison) -> go.Figure:
    """Best so far against seconds of search, as far as every seed of a strategy has come."""
    drawn = figure(
        f"seconds of proposing and training, {c.n_workers} at once",
        f"best {c.metric} so far (validation)",
    )
    places = colors_of(c.strategies)
    for name in c.strategies:
        times, scores = c.times[name], c.curves[name]
        start = float(times.iloc[0].max())
        grid = np.linspace(start, float(times.max().min()), _N_TIMES)
        rows = []
        for seed in scores:
            ends = times[seed].dropna().to_numpy()
            at = np.searchsorted(ends, grid, side="right") - 1
            rows.append(scores[seed].to_numpy()[np.clip(at, 0, len(scores) - 1)])
        curves = np.array(rows)
        low, high = bootstrap_interval(curves)
        ends = (c.sign * low, c.sign * high)
        _band(drawn, grid, c.sign * curves.mean(axis=0), *ends, name, places[name])
    drawn.update_yaxes(range=_late_range(c))
    return drawn


def finals(c: Comparison) -> go.Figure:
    """Every seed's final best on validation data and, retrained, on the test split."""
    drawn = figure("", c.metric, boxmode="group")
    order = c.strategies
    parts = [("validation", c.finals, 0)]
    if len(c.tests):
        parts.append(("test, retrained", c.tests, 1))
    for title, table, place in parts:
        drawn.add_box(
            x=[name for name in order for _ in table.index],
            y=[c.sign * value for name in order for value in table[name]],
            name=title,
            boxpoints="all",
            jitter=0.4,
            pointpos=0,
            marker={"color": COLORS[place], "symbol": SYMBOLS[place], "size": 7},
            line={"width": 1.5},
            fillcolor=translucent(COLORS[place], 0.15),
        )
    return drawn


def critical_difference(c: Comparison) -> go.Figure:
    """Mean ranks on a line; a bar joins strategies that do not differ beyond noise.

    Source: Demšar 2006; bars by Wilcoxon's test with Holm's correction, after Benavoli 2016.
    """
    ranks = c.ranks
    order = [str(name) for name in ranks.index]
    runs = cliques(order, c.differences)
    height = 130 + 26 * (len(runs) + len(order))
    drawn = figure("mean rank over seeds (1 is best)", "", height=height, showlegend=False)
    places = colors_of(order)
    depth = len(runs) + len(order)
    for row, name in enumerate(order):
        at, y = float(ranks[name]), -(len(runs) + row + 1)
        drawn.add_scatter(
            x=[at, at],
            y=[0, y],
            mode="lines",
            line={"color": COLORS[places[name]], "width": 1},
            hoverinfo="skip",
        )
        drawn.add_scatter(
            x=[at],
            y=[y],
            mode="markers+text",
            text=[f" {name} {at:.2f}"],
            textposition="middle right" if at < (1 + len(order)) / 2 else "middle left",
            marker={"size": 10, "color": COLORS[places[name]], "symbol": SYMBOLS[places[name]]},
            hoverinfo="text",
        )
    for row, run in enumerate(runs):
        drawn.add_scatter(
            x=[float(ranks[run[0]]) - 0.03, float(ranks[run[-1]]) + 0.03],
            y=[-(row + 0.6)] * 2,
            mode="lines",
            line={"color": "#808890", "width": 6},
            hovertext="not told apart: " + ", ".join(run),
            hoverinfo="text",
        )
    drawn.update_yaxes(visible=False, range=[-depth - 0.8, 0.6])
    drawn.update_xaxes(range=[0.7, len(order) + 0.3], dtick=1)
    return drawn


def time_shares(c: Comparison) -> go.Figure:
    """Share of the workers' time by strategy."""
    drawn = figure(
        "share of the workers' time", "", height=120 + 42 * len(c.shares), barmode="stack"
    )
    order = c.strategies[::-1]
    shares = c.shares.loc[order]
    total = shares.sum(axis=1).replace(0, math.nan)
    for place, kind in enumerate(shares):
        drawn.add_bar(
            y=order,
            x=shares[kind] / total,
            orientation="h",
            name=str(kind),
            marker={
                "color": COLORS[place],
                "pattern": {"shape": ["", "/", "."][place], "fgopacity": 0.5},
            },
            customdata=shares[kind],
            hovertemplate="%{y}: %{customdata:.0f} s, %{x:.1%}",
        )
    drawn.update_xaxes(tickformat=".0%", range=[0, 1])
    return drawn


def table_of(c: Comparison) -> pd.DataFrame:
    """Final figures by strategy, the best mean rank first."""
    area = c.area()
    rows = []
    for name in c.strategies:
        row: dict[str, Any] = {
            "strategy": name,
            "mean rank": float(c.ranks[name]),
            f"best {c.metric} (validation)": spread(c.sign * c.finals[name]),
            "mean best-so-far": spread(c.sign * area[name]),
        }
        if len(c.tests):
            row["test, retrained"] = spread(c.sign * c.tests[name])
        rows.append(row)
    return pd.DataFrame(rows)


def spread(values: pd.Series) -> str:
    """`0.9853 ± 0.0012`: mean and standard deviation over seeds."""
    text = f"{values.mean():.5g}"
    if len(values) < 2:
        return text
    return (
        f"{text} ± {values.std():.2g}"
        if values.nunique() > 1
        else f"{text} on each of {len(values)}"
    )
