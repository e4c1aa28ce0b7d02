"""Optuna's SQL storage, reading trials several times as fast.

Optuna loads the rows of trials as objects of SQLAlchemy's mapper; here each table is read once as
plain rows.
"""

from __future__ import annotations

import functools
import json
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from optuna.distributions import BaseDistribution, json_to_distribution
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, select

_TRIALS: Any = models.TrialModel.__table__
_PARTS: tuple[Any, ...] = (
    models.TrialParamModel,
    models.TrialValueModel,
    models.TrialUserAttributeModel,
    models.TrialSystemAttributeModel,
    models.TrialIntermediateValueModel,
)
_CHUNK = 500
_distribution = functools.lru_cache(maxsize=4096)(json_to_distribution)
Rows = dict[int, list[Any]]
"""Rows of one table by trial id."""


class BulkStorage(RDBStorage):
    """`RDBStorage` that reads trials as plain rows."""

    def _get_trials(
        self,
        study_id: int,
        states: Container[TrialState] | None,
        included_trial_ids: set[int],
        trial_id_greater_than: int,
    ) -> list[FrozenTrial]:
        of_study = _TRIALS.c.study_id == study_id
        if isinstance(states, Iterable):
            of_study &= _TRIALS.c.state.in_(states)
        whole = trial_id_greater_than < 0
        with self.engine.connect() as connection:
            # First what state they are in: what a trial that has ended says changes no more.
            if whole:
                rows = _heads(connection, of_study)
                parts = [_by_trial(connection, model, of_study) for model in _PARTS]
            else:  # the few that changed since the last reading
                rows = _heads(connection, of_study & (_TRIALS.c.trial_id > trial_id_greater_than))
                old = [id_ for id_ in included_trial_ids if id_ <= trial_id_greater_than]
                for ids in _chunks(sorted(old)):
                    rows += _heads(connection, of_study & _TRIALS.c.trial_id.in_(ids))
                rows.sort(key=lambda row: row.trial_id)
                parts = _parts_of(connection, [row.trial_id for row in rows])
        if not rows and whole:
            self.get_study_name_from_id(study_id)  # raises KeyError if there is no such study
        return [_trial(row, *(part[row.trial_id] for part in parts)) for row in rows]

    def get_trial(self, trial_id: int) -> FrozenTrial:
        with self.engine.connect() as connection:
            rows = _heads(connection, _TRIALS.c.trial_id == trial_id)
            if not rows:
                raise KeyError(models.NOT_FOUND_MSG)
            parts = _parts_of(connection, [trial_id])
        return _trial(rows[0], *(part[trial_id] for part in parts))


def _heads(connection: Connection, where: Any) -> list[Any]:
    query = select(_TRIALS).where(where).order_by(_TRIALS.c.trial_id)
    return list(connection.execute(query))


def _by_trial(connection: Connection, model: Any, of_study: Any) -> Rows:
    table = model.__table__
    query = (
        select(table)
        .join(_TRIALS, _TRIALS.c.trial_id == table.c.trial_id)
        .where(of_study)
        .order_by(*table.primary_key)
    )
    found: Rows = defaultdict(list)
    for row in connection.execute(query):
        found[row.trial_id].append(row)
    return found


def _parts_of(connection: Connection, trial_ids: list[int]) -> list[Rows]:
    """The rows of these trials, a table each."""
    parts: list[Rows] = [defaultdict(list) for _ in _PARTS]
    for ids in _chunks(trial_ids):
        for model, found in zip(_PARTS, parts, strict=True):
            table = model.__table__
            query = select(table).where(table.c.trial_id.in_(ids)).order_by(*table.primary_key)
            for row in connection.execute(query):
                found[row.trial_id].append(row)
    return parts


def _chunks(ids: list[int]) -> Iterator[list[int]]:
    """Databases limit how many values a statement may name."""
    return (ids[i : i + _CHUNK] for i in range(0, len(ids), _CHUNK))


def _trial(
    row: Any,
    params: list[Any],
    values: list[Any],
    user_attrs: list[Any],
    system_attrs: list[Any],
    intermediate: list[Any],
) -> FrozenTrial:
    distributions: dict[str, BaseDistribution] = {
        p.param_name: _distribution(p.distribution_json) for p in params
    }
    ordered = sorted(values, key=lambda value: value.objective)
    step_value = models.TrialIntermediateValueModel.stored_repr_to_intermediate_value
    return FrozenTrial(
        number=row.number,
        state=row.state,
        value=None,
        values=[models.TrialValueModel.stored_repr_to_value(v.value, v.value_type) for v in ordered]
        or None,
        datetime_start=local(row.datetime_start),
        datetime_complete=local(row.datetime_complete),
        params={
            p.param_name: distributions[p.param_name].to_external_repr(p.param_value)
            for p in params
        },
        distributions=distributions,
        user_attrs={a.key: json.loads(a.value_json) for a in user_attrs},
        system_attrs={a.key: json.loads(a.value_json) for a in system_attrs},
        intermediate_values={
            v.step: step_value(v.intermediate_value, v.intermediate_value_type)
            for v in intermediate
        },
        trial_id=row.trial_id,
    )


def local(moment: datetime | None) -> datetime | None:
    """Optuna stores UTC and tells local time, both without saying so.

    Of an hour that comes twice when clocks are set back, `fold` says which it is.
    """
    if moment is None:
        return None
    return datetime.fromtimestamp(moment.replace(tzinfo=UTC).timestamp())
