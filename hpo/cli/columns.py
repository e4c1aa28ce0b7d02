"""Columns that lists of trials share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hpo.cli.output import Format

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from hpo.storage.meta import StudyMeta


def measured(meta: StudyMeta, trial: FrozenTrial, form: Format) -> dict[str, Any]:
    """Columns of a trial's value or values, and of what its constraints look at."""
    from hpo.storage.measured import is_feasible, named_values

    values = named_values(meta, trial)
    columns: dict[str, Any] = {"values": values} if meta.several else dict(values)
    if meta.constraints:
        metrics = trial.user_attrs.get("metrics") or {}
        looked_at = dict.fromkeys(one.metric for one in meta.constraints)
        columns["constrained"] = {name: metrics.get(name) for name in looked_at}
        columns["feasible"] = is_feasible(trial) if trial.constraints else None
    if form is not Format.csv:
        return columns
    return {
        f"{key}_{name}" if isinstance(item, dict) else key: value
        for key, item in columns.items()
        for name, value in (item.items() if isinstance(item, dict) else [("", item)])
    }
