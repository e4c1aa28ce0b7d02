"""Columns that lists of trials share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hpo.cli.output import Format

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from hpo.storage.meta import StudyMeta


def measured(meta: StudyMeta, trial: FrozenTrial, form: Format) -> dict[str, Any]:
    """Columns of a trial's value or values, and of what its constraints look at.

    A table has a column for each metric, under the metric's own name.
    """
    from hpo.storage.measured import is_feasible, named_values

    values = named_values(meta, trial)
    metrics = trial.user_attrs.get("metrics") or {}
    looked_at = {one.metric: metrics.get(one.metric) for one in meta.constraints}
    feasible = {}
    if meta.constraints:
        feasible = {"feasible": is_feasible(trial) if trial.constraints else None}
    if form is Format.table:
        named = values if meta.several else {meta.metric: values["value"]}
        return {**looked_at, **named, **feasible}
    columns: dict[str, Any] = {"values": values} if meta.several else dict(values)
    return {**columns, **({"constrained": looked_at} if meta.constraints else {}), **feasible}


def so_far(meta: StudyMeta, trial: FrozenTrial) -> dict[str, float | None]:
    """The last and the best value of a trial's epochs, of the guiding metric."""
    curve = trial.intermediate_values
    if not curve:
        return {"last": None, "best": None}
    best = max(curve.values(), key=lambda value: meta.guide.sign * value)
    return {"last": curve[max(curve)], "best": best}
