"""A wider space for a study that has trials: their rows get the new distributions.

Optuna refuses a categorical parameter whose choices change and ignores trials whose ranges
differ.  The old values stay what they were; only the description of where they came from grows.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from hpo.storage.meta import META, StudyMeta

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.storages import BaseStorage


def widen(storage: BaseStorage, study_id: int, meta: StudyMeta) -> BaseStorage:
    """Gives a study's trials and the study itself the space of `meta`, in one transaction.

    Returns:
        A storage over the same database, without what the given one had cached.
    """
    from optuna.distributions import distribution_to_json, json_to_distribution
    from optuna.storages._cached_storage import _CachedStorage
    from optuna.storages._rdb import models
    from sqlalchemy import bindparam, select, update

    backend: Any = getattr(storage, "_backend", storage)
    params: Any = models.TrialParamModel.__table__
    trials: Any = models.TrialModel.__table__
    attrs: Any = models.StudyUserAttributeModel.__table__
    described = {
        name: (d, distribution_to_json(d)) for name, d in meta.space.distributions().items()
    }
    rows = (
        select(params)
        .join(trials, trials.c.trial_id == params.c.trial_id)
        .where(trials.c.study_id == study_id)
    )
    changed: list[dict[str, Any]] = []
    with backend.engine.begin() as connection:
        for row in connection.execute(rows):
            new, new_json = described.get(row.param_name, (None, row.distribution_json))
            if new is not None and new_json != row.distribution_json:
                # The row's own description, not the study's, says what its number means.
                value = _moved(json_to_distribution(row.distribution_json), new, row.param_value)
                changed.append({"id": row.param_id, "value": value, "json": new_json})
        if changed:
            statement = update(params).where(params.c.param_id == bindparam("id"))
            connection.execute(
                statement.values(
                    param_value=bindparam("value"), distribution_json=bindparam("json")
                ),
                changed,
            )
        connection.execute(
            update(attrs)
            .where(attrs.c.study_id == study_id, attrs.c.key == META)
            .values(value_json=json.dumps(meta.to_json()))
        )
    return _CachedStorage(backend)


def _moved(old: BaseDistribution, new: BaseDistribution, stored: float) -> float:
    """The stored form of the same value: a choice is stored by its index."""
    return float(new.to_internal_repr(old.to_external_repr(stored)))
