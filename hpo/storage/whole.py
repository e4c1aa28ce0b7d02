"""A whole study outside any storage: read at once, written in one transaction or not at all."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, distribution_to_json
from optuna.storages._rdb import models
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, insert, select
from sqlalchemy.exc import SQLAlchemyError

from hpo.errors import SpecError
from hpo.storage.attempts import KIND, PAUSED, REASON
from hpo.storage.lock import engine_of, exclusive
from hpo.storage.meta import META, SPEC
from hpo.storage.outage import refusal
from hpo.storage.rows import attribute_rows, insert_rows, utc

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

CUT = "lost: it was running when its study was exported"


@dataclass(frozen=True)
class WholeStudy:
    """A study as it is, ids apart.

    Attributes:
        directions: one an objective.
        trials: by number, from 0 without a gap.
    """

    name: str
    directions: tuple[StudyDirection, ...]
    user_attrs: Mapping[str, Any]
    system_attrs: Mapping[str, Any]
    trials: tuple[FrozenTrial, ...]

    def named(self, name: str) -> WholeStudy:
        """The same study under another name."""
        return replace(self, name=name)

    def pointing_to(self, *, model: str | None = None, data: str | None = None) -> WholeStudy:
        """The same study with its model or data, by their resolved names, in another place."""
        found = {key: value for key, value in (("model", model), ("data", data)) if value}
        attrs = dict(self.user_attrs)
        for key in (META, SPEC):
            if isinstance(attrs.get(key), Mapping):
                attrs[key] = {**attrs[key], **found}
        return replace(self, user_attrs=attrs)

    def ended(self) -> WholeStudy:
        """The same study with nothing under way: no driver answers for it where it goes."""
        trials = tuple(_ended(t) if t.state == TrialState.RUNNING else t for t in self.trials)
        return replace(self, trials=trials)


def _ended(trial: FrozenTrial) -> FrozenTrial:
    """As a driver would end what another one left: paused ones PRUNED, the others FAIL."""
    done = copy.copy(trial)
    done.datetime_complete = datetime.now()
    if trial.user_attrs.get(PAUSED) is None:
        done.state, done.values = TrialState.FAIL, None
        done.user_attrs = {**trial.user_attrs, REASON: CUT, KIND: "lost"}
        return done
    last = trial.intermediate_values.get(trial.last_step) if trial.last_step is not None else None
    done.state = TrialState.PRUNED
    done.values = None if last is None or math.isnan(last) else [last]
    return done


def read_study(storage: BaseStorage, name: str) -> WholeStudy:
    """Reads a study, whoever made it.

    Raises:
        SpecError: there is none of that name.
    """
    try:
        study_id = storage.get_study_id_from_name(name)
    except KeyError:
        names = ", ".join(sorted(optuna.get_all_study_names(storage))[:10]) or "none"
        raise SpecError(f"study: no {name!r} in this storage: choose from {names}") from None
    # An ended trial says nothing new; of one under way, values may have come since.
    trials = sorted(storage.get_all_trials(study_id, deepcopy=False), key=lambda t: t.number)
    return WholeStudy(
        name=name,
        directions=tuple(storage.get_study_directions(study_id)),
        user_attrs=storage.get_study_user_attrs(study_id),
        system_attrs=storage.get_study_system_attrs(study_id),
        trials=tuple(_consistent(trial) for trial in trials),
    )


def _consistent(trial: FrozenTrial) -> FrozenTrial:
    """A trial that ended between the reading of its state and of its values has none yet."""
    if trial.state.is_finished() or trial.values is None:
        return trial
    early = copy.copy(trial)
    early.values = None
    return early


def write_study(storage: BaseStorage, study: WholeStudy) -> None:
    """Writes a study with all its trials, in one transaction.

    Raises:
        SpecError: there is one of that name.
        StorageError: the database refuses it.
    """
    engine = engine_of(storage)
    try:
        with exclusive(engine, "new studies"), engine.begin() as connection:
            write_rows(connection, study)
    except SQLAlchemyError as error:
        raise refusal(error) from None


def write_rows(connection: Connection, study: WholeStudy) -> int:
    """Writes a study with all its trials, in the connection's transaction.

    Returns:
        The study's id.
    Raises:
        SpecError: there is one of that name, or of a name that the database takes for the same.
    """
    table: Any = models.StudyModel.__table__
    same = select(table.c.study_name).where(table.c.study_name == study.name)
    there = connection.execute(same).scalar()
    if there is not None:
        twin = "" if there == study.name else f", which this database takes for {there!r},"
        raise SpecError(
            f"name: study {study.name!r}{twin} is in this storage already: give --name another"
        )
    key = connection.execute(insert(table).values(study_name=study.name)).inserted_primary_key
    assert key is not None
    study_id = int(key[0])
    _write_parts(connection, study_id, study)
    return study_id


def _write_parts(connection: Connection, study_id: int, study: WholeStudy) -> None:
    of_study = {"study_id": study_id}
    directions: Any = models.StudyDirectionModel.__table__
    insert_rows(
        connection,
        directions,
        [{**of_study, "direction": d, "objective": i} for i, d in enumerate(study.directions)],
    )
    parts: tuple[tuple[Any, Mapping[str, Any]], ...] = (
        (models.StudyUserAttributeModel.__table__, study.user_attrs),
        (models.StudySystemAttributeModel.__table__, study.system_attrs),
    )
    for table, attrs in parts:
        insert_rows(connection, table, attribute_rows(of_study, attrs))
    trials: Any = models.TrialModel.__table__
    insert_rows(
        connection,
        trials,
        [
            {
                **of_study,
                "number": trial.number,
                "state": trial.state,
                "datetime_start": utc(trial.datetime_start),
                "datetime_complete": utc(trial.datetime_complete),
            }
            for trial in study.trials
        ],
    )
    ids: dict[int, int] = dict(
        connection.execute(
            select(trials.c.number, trials.c.trial_id).where(trials.c.study_id == study_id)
        )
        .tuples()
        .all()
    )
    for table, rows in _trial_rows(study.trials, ids):
        insert_rows(connection, table, rows)


def _trial_rows(
    trials: Iterable[FrozenTrial], ids: Mapping[int, int]
) -> list[tuple[Any, list[dict[str, Any]]]]:
    """Each table of trials' parts, and its rows."""
    params, values, user, system, steps = (list[dict[str, Any]]() for _ in range(5))
    stored = models.TrialValueModel.value_to_stored_repr
    stored_step = models.TrialIntermediateValueModel.intermediate_value_to_stored_repr
    for trial in trials:
        of_trial = {"trial_id": ids[trial.number]}
        for name, value in trial.params.items():
            distribution = trial.distributions[name]
            param = {"param_name": name, "param_value": internal(distribution, value)}
            params.append(
                {**of_trial, **param, "distribution_json": distribution_to_json(distribution)}
            )
        for objective, value in enumerate(trial.values or ()):
            kept, kind = stored(value)
            values.append({**of_trial, "objective": objective, "value": kept, "value_type": kind})
        for step, value in trial.intermediate_values.items():
            of_step, of_kind = stored_step(value)
            row = {"intermediate_value": of_step, "intermediate_value_type": of_kind}
            steps.append({**of_trial, "step": step, **row})
        user += attribute_rows(of_trial, trial.user_attrs)
        system += attribute_rows(of_trial, trial.system_attrs)
    tables: tuple[Any, ...] = (
        models.TrialParamModel.__table__,
        models.TrialValueModel.__table__,
        models.TrialUserAttributeModel.__table__,
        models.TrialSystemAttributeModel.__table__,
        models.TrialIntermediateValueModel.__table__,
    )
    return list(zip(tables, (params, values, user, system, steps), strict=True))


def internal(distribution: BaseDistribution, value: Any) -> float:
    """A parameter's value as it is stored; Optuna's own takes True for 1 among choices."""
    if isinstance(distribution, CategoricalDistribution):
        for index, choice in enumerate(distribution.choices):
            if type(choice) is type(value) and choice == value:
                return index
    return float(distribution.to_internal_repr(value))
