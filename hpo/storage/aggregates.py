"""What SQL can say of a study without its trials being loaded: counts, the best, the failures.

A study of 10,000 trials takes Optuna seconds to load, and this some milliseconds.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from hpo.storage.attempts import CUT_OFF, KIND, PAUSED, WAITING
from hpo.storage.lock import engine_of

if TYPE_CHECKING:
    from optuna.storages import BaseStorage


@dataclass
class Totals:
    """Of one study.

    Attributes:
        n_trials: by state, only states that occur.
        ranges: by objective the lowest and the highest value of COMPLETE trials; without them none.
    """

    n_trials: dict[str, int]
    started: datetime | None = None
    ranges: dict[int, tuple[float, float]] = field(default_factory=dict)


def totals(storage: BaseStorage, study_id: int | None = None) -> dict[int, Totals]:
    """By study id; of one study, or of all that have trials."""
    from sqlalchemy import func, select

    from hpo.storage.bulk import local

    trials, values, _ = _tables()
    counts = select(
        trials.c.study_id, trials.c.state, func.count(), func.min(trials.c.datetime_start)
    ).group_by(trials.c.study_id, trials.c.state)
    ranges = (
        select(
            trials.c.study_id,
            values.c.objective,
            func.min(values.c.value),
            func.max(values.c.value),
        )
        .join(values, values.c.trial_id == trials.c.trial_id)
        .where(trials.c.state == "COMPLETE")
        .group_by(trials.c.study_id, values.c.objective)
    )
    if study_id is not None:
        counts = counts.where(trials.c.study_id == study_id)
        ranges = ranges.where(trials.c.study_id == study_id)
    found: dict[int, Totals] = {}
    with engine_of(storage).connect() as connection:
        for study, state, n, started in connection.execute(counts):
            of_study = found.setdefault(study, Totals({}))
            of_study.n_trials[state.name] = n
            of_study.started = min(filter(None, (of_study.started, started)), default=None)
        for study, objective, lowest, highest in connection.execute(ranges):
            if study in found:
                found[study].ranges[objective] = (lowest, highest)
    for of_study in found.values():
        of_study.started = local(of_study.started)
    return found


def by_state(storage: BaseStorage, study_id: int) -> dict[str, int]:
    """Number of a study's trials by state, only states that occur."""
    from sqlalchemy import func, select

    trials, _, _ = _tables()
    query = select(trials.c.state, func.count()).where(trials.c.study_id == study_id)
    with engine_of(storage).connect() as connection:
        rows = connection.execute(query.group_by(trials.c.state)).all()
    return {state.name: n for state, n in rows}


def by_value(storage: BaseStorage, study_id: int, *, descending: bool) -> list[int]:
    """Storage ids of the COMPLETE trials by value, those of equal value by number."""
    from sqlalchemy import select

    trials, values, _ = _tables()
    order = values.c.value.desc() if descending else values.c.value.asc()
    query = (
        select(trials.c.trial_id)
        .join(values, values.c.trial_id == trials.c.trial_id)
        .where(trials.c.study_id == study_id, trials.c.state == "COMPLETE")
        .where(values.c.objective == 0)
        .order_by(order, trials.c.number)
    )
    with engine_of(storage).connect() as connection:
        return list(connection.execute(query).scalars())


def attribute_of_failed(storage: BaseStorage, study_id: int, key: str) -> dict[str, int]:
    """How many FAIL trials have which value of a user attribute, the most frequent first."""
    from sqlalchemy import func, select

    trials, _, attrs = _tables()
    query = (
        select(attrs.c.value_json, func.count())
        .select_from(trials)
        .join(attrs, (attrs.c.trial_id == trials.c.trial_id) & (attrs.c.key == key), isouter=True)
        .where(trials.c.study_id == study_id, trials.c.state == "FAIL")
        .group_by(attrs.c.value_json)
        .order_by(func.count().desc())
    )
    with engine_of(storage).connect() as connection:
        rows = list(connection.execute(query))
    return {"unknown" if text is None else str(json.loads(text)): n for text, n in rows}


def refinements(storage: BaseStorage, study_id: int | None = None) -> dict[int, Counter[str]]:
    """What FAIL and RUNNING trials are more exactly, by study id: how many were interrupted or
    lost, are paused or wait for a worker.

    Args:
        study_id: of one study; None: of all.
    """
    from sqlalchemy import func, select

    trials, _, attrs = _tables()
    query = (
        select(trials.c.study_id, trials.c.state, attrs.c.key, attrs.c.value_json, func.count())
        .join(attrs, attrs.c.trial_id == trials.c.trial_id)
        .where(trials.c.state.in_(("FAIL", "RUNNING")), attrs.c.key.in_((KIND, PAUSED, WAITING)))
        .group_by(trials.c.study_id, trials.c.state, attrs.c.key, attrs.c.value_json)
    )
    if study_id is not None:
        query = query.where(trials.c.study_id == study_id)
    found: dict[int, Counter[str]] = {}
    with engine_of(storage).connect() as connection:
        for study, state, key, text, n in connection.execute(query):
            value = json.loads(text)
            if state.name == "RUNNING":
                name = key if key != KIND and value is not None else None
            else:
                name = value if key == KIND and value in CUT_OFF else None
            if name is not None:
                found.setdefault(study, Counter())[name] += n
    return found


def _tables() -> tuple[Any, Any, Any]:
    from optuna.storages._rdb import models

    return (
        models.TrialModel.__table__,
        models.TrialValueModel.__table__,
        models.TrialUserAttributeModel.__table__,
    )
