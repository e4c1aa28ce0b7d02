"""A trial's beginning and its end, one transaction each.

Optuna commits every parameter, attribute and value by itself, a dozen times a trial; here a trial
begins whole or not at all, and so does its end.  The rows are those that Optuna writes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from optuna.distributions import distribution_to_json
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, Engine, func, insert, select, update

from hpo.storage.measured import CONSTRAINTS

_STUDIES: Any = models.StudyModel.__table__
_TRIALS: Any = models.TrialModel.__table__
_PARAMS: Any = models.TrialParamModel.__table__
_VALUES: Any = models.TrialValueModel.__table__
_USER_ATTRS: Any = models.TrialUserAttributeModel.__table__
_SYSTEM_ATTRS: Any = models.TrialSystemAttributeModel.__table__
_STEPS: Any = models.TrialIntermediateValueModel.__table__
_FINITE = models.TrialValueModel.TrialValueType.FINITE
_FINITE_STEP = models.TrialIntermediateValueModel.TrialIntermediateValueType.FINITE


@dataclass(frozen=True)
class End:
    """How a trial ends.

    Attributes:
        values: finite, by objective; None: a PRUNED trial's last intermediate value, if it has any.
        attrs: user attributes, JSON-able.
        last: step and finite value of a report that comes with the end.
        broken: by how much it breaks each of the study's constraints, if that is known.
    """

    state: TrialState
    values: Sequence[float] | None
    attrs: Mapping[str, Any]
    last: tuple[int, float] | None = None
    broken: Sequence[float] = ()

    def is_of(self, trial: FrozenTrial) -> bool:
        """Whether the trial has ended in this very way."""
        attrs = json.loads(json.dumps(dict(self.attrs)))
        return (
            trial.state == self.state
            and (self.values is None or trial.values == list(self.values))
            and attrs == {key: trial.user_attrs.get(key) for key in attrs}
        )


def begin_trial(engine: Engine, study_id: int, trial: FrozenTrial) -> tuple[int, int]:
    """Writes a RUNNING row with parameters and attributes.

    Returns:
        Its id in the storage, and its number.
    Raises:
        KeyError: there is no such study.
    """
    with engine.begin() as connection:
        # Held to the end: two trials that are opened at once are not to get one number.
        study = select(_STUDIES.c.study_id).where(_STUDIES.c.study_id == study_id)
        if connection.execute(study.with_for_update()).first() is None:
            raise KeyError(models.NOT_FOUND_MSG)
        row = insert(_TRIALS).values(
            study_id=study_id, state=TrialState.RUNNING, datetime_start=utc(trial.datetime_start)
        )
        key = connection.execute(row).inserted_primary_key
        assert key is not None
        trial_id = int(key[0])
        before = select(func.count()).where(
            _TRIALS.c.study_id == study_id, _TRIALS.c.trial_id < trial_id
        )
        number = int(connection.execute(before).scalar_one())
        connection.execute(
            update(_TRIALS).where(_TRIALS.c.trial_id == trial_id).values(number=number)
        )
        insert_rows(
            connection,
            _PARAMS,
            [
                {
                    "trial_id": trial_id,
                    "param_name": name,
                    "param_value": trial.distributions[name].to_internal_repr(value),
                    "distribution_json": distribution_to_json(trial.distributions[name]),
                }
                for name, value in trial.params.items()
            ],
        )
        of_trial = {"trial_id": trial_id}
        insert_rows(connection, _USER_ATTRS, attribute_rows(of_trial, trial.user_attrs))
        insert_rows(connection, _SYSTEM_ATTRS, attribute_rows(of_trial, trial.system_attrs))
    return trial_id, number


def end_trial(engine: Engine, trial_id: int, end: End) -> bool:
    """Ends a RUNNING trial.

    Returns:
        False if it was not RUNNING: nothing was written.
    """
    with engine.begin() as connection:
        # Of several that try this at once, the database lets one through.
        running = (_TRIALS.c.trial_id == trial_id) & (_TRIALS.c.state == TrialState.RUNNING)
        ended = update(_TRIALS).where(running)
        ended = ended.values(state=end.state, datetime_complete=utc(datetime.now()))
        if not connection.execute(ended).rowcount:
            return False
        if end.last is not None:
            _report(connection, trial_id, *end.last)
        values = end.values
        if values is None and end.state == TrialState.PRUNED:
            values = _last_value(connection, trial_id)
        rows = [
            {"trial_id": trial_id, "objective": i, "value": value, "value_type": _FINITE}
            for i, value in enumerate(values or ())
        ]
        insert_rows(connection, _VALUES, rows)
        _set_attributes(connection, trial_id, end.attrs)
        if end.broken:
            broken = {CONSTRAINTS: list(end.broken)}
            insert_rows(connection, _SYSTEM_ATTRS, attribute_rows({"trial_id": trial_id}, broken))
    return True


def _report(connection: Connection, trial_id: int, step: int, value: float) -> None:
    at_step = (_STEPS.c.trial_id == trial_id) & (_STEPS.c.step == step)
    if connection.execute(select(_STEPS.c.step).where(at_step)).first() is None:
        row = {"trial_id": trial_id, "step": step, "intermediate_value": value}
        insert_rows(connection, _STEPS, [{**row, "intermediate_value_type": _FINITE_STEP}])


def _last_value(connection: Connection, trial_id: int) -> list[float] | None:
    steps = select(_STEPS.c.intermediate_value).where(_STEPS.c.trial_id == trial_id)
    found: float | None = connection.execute(
        steps.order_by(_STEPS.c.step.desc()).limit(1)
    ).scalar_one_or_none()
    return None if found is None else [found]


def _set_attributes(connection: Connection, trial_id: int, attrs: Mapping[str, Any]) -> None:
    of_trial = _USER_ATTRS.c.trial_id == trial_id
    known = set(connection.execute(select(_USER_ATTRS.c.key).where(of_trial)).scalars())
    rows = attribute_rows({"trial_id": trial_id}, attrs)
    for row in rows:
        if row["key"] in known:
            of_key = of_trial & (_USER_ATTRS.c.key == row["key"])
            connection.execute(
                update(_USER_ATTRS).where(of_key).values(value_json=row["value_json"])
            )
    insert_rows(connection, _USER_ATTRS, [row for row in rows if row["key"] not in known])


def attribute_rows(owner: Mapping[str, int], attrs: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of attributes, of a trial or a study: `owner` is its id by its column's name."""
    return [{**owner, "key": key, "value_json": json.dumps(value)} for key, value in attrs.items()]


def insert_rows(connection: Connection, table: Any, rows: list[dict[str, Any]]) -> None:
    """Inserts rows that share their keys."""
    if rows:
        connection.execute(insert(table), rows)


def utc(moment: datetime | None) -> datetime | None:
    """A local moment as Optuna stores it: UTC, without saying so."""
    return None if moment is None else moment.astimezone(UTC).replace(tzinfo=None)
