"""Figures of a study's course, each of a bounded number of points: long studies are thinned."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from hpo.metrics import accuracy_interval
from hpo.report.plots import COLORS, SYMBOLS, figure, translucent
from hpo.report.statistics import best_so_far

if TYPE_CHECKING:
    from hpo.outcome.artifact import Artifact
    from hpo.report.study import StudyReport

MOST_POINTS = 1000
MOST_CURVES = 150
MOST_BARS = 600
_STATES = {"COMPLETE": 0, "PRUNED": 1, "FAIL": 5, "RUNNING": 4}


def thinned(frame: pd.DataFrame, report: StudyReport, most: int = MOST_POINTS) -> pd.DataFrame:
    """At most so many rows: the best half by value, the rest evenly over the study."""
    if len(frame) <= most:
        return frame
    order = (report.sign * frame["value"]).sort_values(ascending=False).index
    best = order[: most // 2]
    others = frame.index.difference(best)
    evenly = others[np.linspace(0, len(others) - 1, most - len(best)).astype(int)]
    return frame.loc[best.union(evenly)]


def outcome(report: StudyReport) -> go.Figure:
    """Search, fresh seeds and test of the chosen and the default configuration, in one."""
    metric = report.view.meta.metric
    drawn = figure(metric, "", height=280, hovermode="closest")
    artifact = report.artifact
    assert artifact is not None
    default = next((c for c in artifact.confirmed if c["default"]), None)
    rows: list[tuple[str, list[float], list[float]]] = [
        ("search, one seed", _one(artifact.searched), _one(default and default["searched"])),
        (
            "validation, fresh seeds",
            list(artifact.confirmed[0]["values"]),
            list(default["values"]) if default else [],
        ),
        (
            "test, retrained",
            _one(artifact.test.get(metric)),
            _one(artifact.default_test.get(metric)),
        ),
    ]
    parts = rows[::-1]
    for place, (name, which) in enumerate((("chosen", 0), (artifact.reference, 1))):
        points = [(stage, v) for stage, *both in parts for v in both[which]]
        drawn.add_scatter(
            x=[v for _, v in points],
            y=[stage for stage, _ in points],
            mode="markers",
            name=name,
            marker={
                "color": COLORS[place],
                "symbol": SYMBOLS[place],
                "size": 11,
                "opacity": 0.75,
                "line": {"width": 1, "color": COLORS[place]},
            },
        )
        _test_interval(drawn, artifact, which, COLORS[place])
        means = [
            (stage, float(np.mean(both[which]))) for stage, *both in parts if len(both[which]) > 1
        ]
        drawn.add_scatter(
            x=[v for _, v in means],
            y=[stage for stage, _ in means],
            mode="markers",
            marker={"symbol": "line-ns", "size": 30, "line": {"width": 2, "color": COLORS[place]}},
            showlegend=False,
            hovertemplate=f"{name}: mean %{{x:.5g}}",
        )
    drawn.update_yaxes(categoryorder="array", categoryarray=[stage for stage, *_ in parts])
    drawn.update_layout(margin={"l": 150, "r": 20, "t": 16, "b": 50})
    return drawn


def _test_interval(drawn: go.Figure, artifact: Artifact, which: int, color: str) -> None:
    """The 95 % interval of an accuracy on so many test rows."""
    n = int(artifact.info.get("n_test", 0))
    value = (artifact.test, artifact.default_test)[which].get(artifact.metric)
    if artifact.metric != "accuracy" or not n or value is None:
        return
    low, high = accuracy_interval(round(value * n), n)
    drawn.add_scatter(
        x=[low, high],
        y=["test, retrained"] * 2,
        mode="lines",
        line={"color": translucent(color, 0.6), "width": 2 + 5 * which},
        showlegend=False,
        hovertemplate="95 %% interval: %{x:.4f}",
    )


def _one(value: Any) -> list[float]:
    return [] if value is None else [float(value)]


def history(report: StudyReport) -> go.Figure:
    """Value by trial number, and the best so far."""
    metric, frame = report.view.meta.metric, report.frame
    drawn = figure("trial", metric)
    broken = report.complete[~report.complete["number"].isin(report.eligible["number"])]
    for state, place in (("COMPLETE", 0), ("PRUNED", 1)):
        own = report.eligible if state == "COMPLETE" else frame[frame["state"] == state]
        own = thinned(own, report)
        if own.empty:
            continue
        drawn.add_scattergl(
            x=own["number"],
            y=own["value"] if state == "COMPLETE" else own["last"],
            mode="markers",
            name=f"{state.lower()}" + (" (last epoch)" if state == "PRUNED" else ""),
            marker={
                "color": COLORS[place],
                "symbol": SYMBOLS[place],
                "size": 6,
                "opacity": 0.7,
            },
            hovertemplate="trial %{x}: %{y:.5g}",
        )
    if len(broken):
        drawn.add_scattergl(
            x=broken["number"].tail(MOST_POINTS),
            y=broken["value"].tail(MOST_POINTS),
            mode="markers",
            name="infeasible",
            marker={"color": "#808890", "symbol": "x", "size": 6},
            hovertemplate="trial %{x}: %{y:.5g}, infeasible",
        )
    failed = frame[frame["state"] == "FAIL"].head(MOST_POINTS)
    counting = frame["value"].where(~frame["number"].isin(broken["number"]))
    curve = report.sign * best_so_far(report.sign * counting.to_numpy(dtype=float))
    changed = np.flatnonzero(np.diff(curve, prepend=math.nan) != 0)
    known: list[int] = [int(i) for i in changed if not math.isnan(curve[i])]
    if known:
        rows = [*known, len(curve) - 1]
        drawn.add_scatter(
            x=frame["number"].to_numpy()[rows],
            y=curve[rows],
            mode="lines",
            line={"shape": "hv", "color": COLORS[2], "width": 2.5},
            name="best so far",
        )
    if len(failed) and known:
        worst = float(np.nanmin(report.sign * frame["value"].to_numpy(dtype=float)))
        drawn.add_scattergl(
            x=failed["number"],
            y=[report.sign * worst] * len(failed),
            mode="markers",
            name="failed (no value)",
            marker={"color": COLORS[5], "symbol": "x", "size": 7},
            hovertemplate="trial %{x} failed",
        )
    drawn.update_yaxes(range=robust_range(frame))
    return drawn


def robust_range(frame: pd.DataFrame) -> list[float] | None:
    """The range of the values without far outliers; None if there are none."""
    values = pd.concat([frame["value"], frame["last"]]).dropna()
    if len(values) < 8:
        return None
    low, high = float(values.quantile(0.25)), float(values.quantile(0.75))
    reach = 3 * (high - low)
    inside = values[(values >= low - reach) & (values <= high + reach)]
    if len(inside) == len(values) or reach == 0:
        return None
    pad = 0.05 * float(inside.max() - inside.min())
    return [float(inside.min()) - pad, float(inside.max()) + pad]


def curves(report: StudyReport) -> go.Figure:
    """Value by epoch; pruned trials end in a cross."""
    drawn = figure("epoch", report.view.meta.guide.metric)
    frame = report.frame
    ended = frame[frame["state"].isin(("COMPLETE", "PRUNED"))]
    shown = set(thinned(ended, report, MOST_CURVES)["number"])
    lines: dict[str, tuple[list[Any], list[Any]]] = {"COMPLETE": ([], []), "PRUNED": ([], [])}
    ends: tuple[list[int], list[float]] = ([], [])
    for trial in report.trials:
        curve = trial.intermediate_values
        if trial.number not in shown or not curve:
            continue
        steps = sorted(curve)
        x, y = lines[trial.state.name]
        x += [*steps, None]
        y += [*(curve[step] for step in steps), None]
        if trial.state.name == "PRUNED":
            ends[0].append(steps[-1])
            ends[1].append(curve[steps[-1]])
    for place, (state, (x, y)) in enumerate(lines.items()):
        if x:
            drawn.add_scatter(
                x=x,
                y=y,
                mode="lines",
                name=state.lower(),
                line={"color": translucent(COLORS[place], 0.45), "width": 1.5},
                hovertemplate="epoch %{x}: %{y:.5g}",
            )
    if ends[0]:
        drawn.add_scatter(
            x=ends[0],
            y=ends[1],
            mode="markers",
            name="pruned here",
            marker={"symbol": "x", "size": 7, "color": COLORS[1]},
            hovertemplate="pruned at epoch %{x}: %{y:.5g}",
        )
    best = report.best
    if best is not None:
        curve = report.trials[_row_of(report, int(best["number"]))].intermediate_values
        steps = sorted(curve)
        drawn.add_scatter(
            x=steps,
            y=[curve[step] for step in steps],
            mode="lines+markers",
            name=f"{'chosen' if report.view.meta.several else 'best'}, trial {best['number']}",
            line={"color": COLORS[2], "width": 3},
        )
    drawn.update_xaxes(dtick=1 if report.view.meta.epochs <= 15 else None)
    same = report.view.meta.guide.metric == report.view.meta.metric
    drawn.update_yaxes(range=robust_range(frame if same else frame.assign(value=math.nan)))
    return drawn


def _row_of(report: StudyReport, number: int) -> int:
    return next(i for i, trial in enumerate(report.trials) if trial.number == number)


def timeline(report: StudyReport) -> go.Figure:
    """What each worker did when."""
    frame = report.frame[report.frame["worker"] != ""].dropna(subset=["started", "ended"])
    frame = frame[~frame["cached"].astype(bool)]
    if len(frame) > MOST_BARS:
        frame = frame.tail(MOST_BARS)
    workers = {name: f"worker {i + 1}" for i, name in enumerate(dict.fromkeys(frame["worker"]))}
    drawn = figure("", "", height=130 + 30 * len(workers), barmode="overlay")
    for state, place in _STATES.items():
        own = frame[frame["state"] == state]
        if own.empty:
            continue
        drawn.add_bar(
            y=own["worker"].map(workers),
            base=own["started"],
            x=(own["ended"] - own["started"]).dt.total_seconds() * 1000,
            orientation="h",
            name=state.lower(),
            marker={"color": COLORS[place], "line": {"width": 1, "color": "#ffffff"}},
            text=own["number"].astype(str),
            textposition="inside",
            hovertemplate="trial %{text}: %{base|%H:%M:%S}",
        )
    drawn.update_xaxes(type="date")
    drawn.update_yaxes(categoryorder="array", categoryarray=list(workers.values())[::-1])
    return drawn
