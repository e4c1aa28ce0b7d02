"""What a trial's metrics come to in its study: values of objectives, constraints kept or not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hpo.objectives import violations
from hpo.storage.meta import StudyMeta

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

CONSTRAINTS = "constraints"
"""System attribute of a trial, Optuna's and its dashboard's: by how much it breaks each constraint;
kept if zero or less."""


def value_problem(metric: str, value: Any) -> str | None:
    """Why this can be no value of the metric, or None."""
    if value is None:
        return f"no metric {metric!r}"
    try:
        number = None if isinstance(value, str | bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = None
    if number is None:
        return f"{metric} is {str(value)[:60]!r}, not a number"
    return None if math.isfinite(number) else f"diverged: {metric} is {number}"


def end_problem(meta: StudyMeta, metrics: Mapping[str, Any]) -> str | None:
    """Why a trial can't end with these metrics, or None: each that the study asks for is there,
    and a finite number."""
    for name in meta.measured:
        if (problem := value_problem(name, metrics.get(name))) is not None:
            known = ", ".join(key for key, value in metrics.items() if value is not None)
            missing = metrics.get(name) is None
            return f"{problem} among: {known or 'none'}" if missing else problem
    return None


def values_of(meta: StudyMeta, metrics: Mapping[str, Any]) -> list[float]:
    """The objectives' values, in the study's order."""
    return [float(metrics[one.metric]) for one in meta.objectives]


def broken_by(meta: StudyMeta, metrics: Mapping[str, Any]) -> list[float]:
    """By how much each constraint is broken; nothing if that is not known of all of them."""
    if any(value_problem(one.metric, metrics.get(one.metric)) for one in meta.constraints):
        return []
    return violations(meta.constraints, metrics)


def named_values(meta: StudyMeta, trial: FrozenTrial) -> dict[str, float | None]:
    """A trial's values by objective, `value` if there is one objective; None where it has none."""
    values = trial.values or [None] * len(meta.objectives)
    if not meta.several:
        return {"value": values[0]}
    return {one.metric: value for one, value in zip(meta.objectives, values, strict=False)}


def is_feasible(trial: FrozenTrial) -> bool:
    """Whether it breaks no constraint that is known of it."""
    return all(value <= 0 for value in trial.constraints.values())
