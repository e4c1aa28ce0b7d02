"""What one study came to, as plain tables: importance, good region, cost, outcome."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from hpo.errors import SpecError
from hpo.outcome.artifact import Artifact, read
from hpo.parameter import Choice, Float, Int, Parameter, n_values
from hpo.parameter_forms import range_text
from hpo.report.frame import saved_by_pruning, time_shares, trials_frame
from hpo.storage.meta import SPEC

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from hpo.storage.view import StudyView

N_RESAMPLES = 10
MOST_RANKED = 200
"""Trials in one resample of the importance: its cost grows faster than their number."""
_EDGE = 0.1
"""Share of a range that counts as its edge."""
_LEAST_FOR_REGION = 10
_LEAST_FOR_IMPORTANCE = 8


@dataclass(frozen=True)
class StudyReport:
    """A study's tables.

    Attributes:
        frame: a row a trial, as `trials_frame`.
        trials: the trials themselves, by number.
        importance: parameter, importance, low, high (95 % over resamples); empty if unknown; for
            the first objective.
        region: parameter, range, default, best of the search, where the best tenth lies.
        warnings: what the search space should be changed in.
        artifact: the retrained model's facts, or None.
        front: rows of the Pareto front, the nearest to the ideal point first; empty for one
            objective.
    """

    view: StudyView
    frame: pd.DataFrame
    trials: list[FrozenTrial]
    importance: pd.DataFrame
    region: pd.DataFrame
    warnings: list[str]
    artifact: Artifact | None
    front: pd.DataFrame

    @property
    def sign(self) -> int:
        """1 if the first objective is maximised, else -1."""
        return self.view.meta.sign

    @property
    def spec(self) -> dict[str, Any]:
        """The settings of the last run; empty for a study made otherwise."""
        return dict(self.view.attr(SPEC) or {})

    @property
    def complete(self) -> pd.DataFrame:
        """COMPLETE trials, by number."""
        return self.frame[self.frame["state"] == "COMPLETE"]

    @property
    def eligible(self) -> pd.DataFrame:
        """COMPLETE trials that break no constraint, by number."""
        return eligible_in(self.frame)

    @property
    def best(self) -> pd.Series | None:
        """The best COMPLETE trial's row, or None; of several objectives the front's first."""
        if not self.front.empty:
            return self.front.iloc[0]
        done = self.eligible
        if done.empty:
            return None
        place = int((self.sign * done["value"]).to_numpy().argmax())
        return done.iloc[place]

    def params_by_importance(self) -> list[str]:
        """Parameters, the most important first; as declared if that is unknown."""
        ranked = [str(name) for name in self.importance["parameter"]]
        return ranked + [name for name in self.view.meta.space.names if name not in ranked]


def study_report(view: StudyView) -> StudyReport:
    """Computes a study's tables; reads, and changes nothing."""
    trials = view.trials()
    frame = trials_frame(view)
    region, warnings = good_region(view, frame, view.meta.sign)
    on_front = [trial.number for trial in view.front()] if view.meta.several else []
    front = frame.set_index("number", drop=False).loc[on_front].reset_index(drop=True)
    artifact = artifact_of(view)
    return StudyReport(view, frame, trials, importance(trials), region, warnings, artifact, front)


def eligible_in(frame: pd.DataFrame) -> pd.DataFrame:
    """COMPLETE trials of a frame that break no constraint."""
    done = frame[frame["state"] == "COMPLETE"]
    return done[done["feasible"].astype(bool)] if "feasible" in done else done


def artifact_of(view: StudyView) -> Artifact | None:
    """The facts of the retrained model, if its folder is still there."""
    retrained = view.attr("hpo:retrained")
    if not retrained:
        return None
    try:
        return read(retrained["path"])
    except SpecError:
        return None


def importance(trials: Sequence[FrozenTrial], objective: int = 0) -> pd.DataFrame:
    """Share of the value's variance that each parameter explains, with its uncertainty.

    fANOVA on bootstrap resamples of the COMPLETE trials; of parameters that all of them have.
    Source: Hutter, Hoos, Leyton-Brown 2014.

    Args:
        objective: place of the objective whose values are explained.
    Returns:
        parameter, importance (mean), low, high (95 % of the resamples), the highest first; empty
        with fewer than eight trials, or if their values are all the same.
    """
    import optuna
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    columns = ["parameter", "importance", "low", "high"]
    done = [t for t in trials if t.state.name == "COMPLETE"]

    def value(trial: FrozenTrial) -> float:
        return float(trial.values[objective])

    done = [trial for trial in done if math.isfinite(value(trial))]
    if len(done) < _LEAST_FOR_IMPORTANCE or len({value(trial) for trial in done}) == 1:
        return pd.DataFrame(columns=columns)
    rng = np.random.default_rng(0)
    rows: list[dict[str, float]] = []
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        for resample in range(N_RESAMPLES):
            drawn = rng.choice(len(done), size=min(len(done), MOST_RANKED), replace=True)
            study = optuna.create_study(directions=["minimize"] * len(done[0].values))
            study.add_trials([done[i] for i in drawn])
            evaluator = FanovaImportanceEvaluator(n_trees=16, max_depth=16, seed=resample)
            try:
                with np.errstate(all="ignore"):
                    found = get_param_importances(study, evaluator=evaluator, target=value)
            except (ValueError, RuntimeError, AssertionError):  # no variance, or beyond a float
                continue
            rows.append({name: float(value) for name, value in found.items()})
    finally:
        optuna.logging.set_verbosity(verbosity)
    if not rows:
        return pd.DataFrame(columns=columns)
    table = pd.DataFrame(rows).fillna(0.0)
    means = table.mean().sort_values(ascending=False)
    low, high = table.quantile(0.025), table.quantile(0.975)
    return pd.DataFrame(
        {
            "parameter": means.index,
            "importance": means.to_numpy(),
            "low": low[means.index].to_numpy(),
            "high": high[means.index].to_numpy(),
        }
    )


def good_region(view: StudyView, frame: pd.DataFrame, sign: int) -> tuple[pd.DataFrame, list[str]]:
    """Where the best tenth of the trials lies in each parameter's range, and what to widen; of
    several objectives, where the front lies.

    A range is to be widened if the best tenth (ten trials or more were completed) has its median
    within a tenth of the range of an edge, and the best trial too.
    """
    done = eligible_in(frame)
    if done.empty:
        return pd.DataFrame(), []
    ordered = done.loc[(sign * done["value"]).sort_values(ascending=False, kind="stable").index]
    top = ordered.head(min(max(3, math.ceil(len(ordered) / 10)), math.ceil(len(ordered) / 2)))
    if view.meta.several:
        numbers = [trial.number for trial in view.front()]
        top = done.set_index("number", drop=False).loc[numbers]
        ordered = top
    space = view.meta.space
    default = space.default()
    rows, warnings = [], []
    for name, parameter in space.params.items():
        values = top[f"param_{name}"].dropna()
        best = ordered.iloc[0][f"param_{name}"]
        rows.append(
            {
                "parameter": name,
                "range": range_text(parameter),
                "default": default.get(name, "-"),
                "best of the search": "-" if _missing(best) else best,
                f"the {'front' if view.meta.several else 'best'} {len(top)} of {len(done)}": _good(
                    parameter, values.tolist()
                ),
            }
        )
        if view.meta.several:  # a front reaches as far as there is anything to trade
            continue
        if len(done) >= _LEAST_FOR_REGION and not _missing(best):
            warnings += _edge_warnings(name, parameter, values.tolist(), best)
    return pd.DataFrame(rows), warnings


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _good(p: Parameter, values: list[Any]) -> str:
    if not values:
        return "not active"
    if isinstance(p, Choice):
        counts = pd.Series([str(value) for value in values]).value_counts()
        return ", ".join(f"{name} ({n})" for name, n in counts.items())
    return f"{min(values):.4g} .. {max(values):.4g}"


def _edge_warnings(name: str, p: Parameter, values: list[Any], best: Any) -> list[str]:
    if isinstance(p, Choice) or (n_values(p) or math.inf) < 5 or not values:
        return []
    places = [_place(p, float(value)) for value in values]
    both = (statistics.median(places), _place(p, float(best)))
    if max(both) <= _EDGE:
        edge, bound = "lower", p.low
    elif min(both) >= 1 - _EDGE:
        edge, bound = "upper", p.high
    else:
        return []
    if bound == 0:  # no dropout, no smoothing: there is nothing beyond
        return []
    return [
        f"The best {name} ({best:.4g}) lies at the {edge} edge of its range {range_text(p)}: "
        "widen it."
    ]


def _place(p: Float | Int, value: float) -> float:
    """Where a value lies in its range, from 0 to 1, on the scale that it is searched on."""
    low, high = float(p.low), float(p.high)
    if p.log:
        low, high, value = math.log(low), math.log(high), math.log(value)
    return (value - low) / (high - low) if high > low else 0.5


def cost(report: StudyReport) -> dict[str, float]:
    """Hours of cores and GPUs, those that pruning saved, and the workers' use of their time."""
    spec, frame = report.spec, report.frame
    n_workers = float(spec.get("workers_per_trial") or 1)
    cpus = float(spec.get("cpus_per_trial") or 1) * n_workers
    on_gpu = frame["device"].astype(str).str.startswith("cuda")
    gpus = float(spec.get("gpus_per_trial") or 1) * n_workers
    hours = frame["duration_s"] / 3600
    saved_epochs, saved_s = saved_by_pruning(frame, report.view.meta.epochs)
    shares = time_shares(frame)
    there = sum(shares.values())
    return {
        "core hours": float(hours.sum()) * cpus,
        "GPU hours": float(hours[on_gpu].sum()) * gpus,
        "epochs saved by pruning": saved_epochs,
        "core hours saved by pruning": saved_s / 3600 * cpus,
        "workers' time spent training": shares["training"] / there if there else math.nan,
        "workers' time spent proposing": shares["proposing"] / there if there else math.nan,
    }


def failures(frame: pd.DataFrame) -> pd.DataFrame:
    """FAIL trials grouped by kind and reason: how many, and which."""
    failed = frame[frame["state"] == "FAIL"]
    if failed.empty:
        return pd.DataFrame()
    groups = failed.fillna({"kind": "unknown", "reason": "unknown"}).groupby(["kind", "reason"])
    rows = [
        {"kind": kind, "reason": reason, "n": len(own), "trials": _listed(own["number"])}
        for (kind, reason), own in groups
    ]
    return pd.DataFrame(rows).sort_values("n", ascending=False, ignore_index=True)


def _listed(numbers: pd.Series) -> str:
    shown = ", ".join(str(n) for n in numbers.head(10))
    return f"{shown}, ..." if len(numbers) > 10 else shown
