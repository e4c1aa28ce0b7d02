"""A study's row in the storage: made once, whoever comes first."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from hpo.errors import SpecError
from hpo.storage.lock import engine_of, exclusive
from hpo.storage.meta import META, StudyMeta
from hpo.storage.retry import Patience

if TYPE_CHECKING:
    from optuna.storages import BaseStorage


def ensure_study(
    storage: BaseStorage, name: str, meta: StudyMeta, patience: Patience | None = None
) -> int:
    """Creates the study as `meta` says, unless it exists.

    Returns:
        Its id in the storage.
    Raises:
        SpecError: a study of that name is empty and was made by something else, the other way.
    """
    import optuna

    patience = patience or Patience()
    directions = [one.direction for one in meta.objectives]
    with exclusive(engine_of(storage), "new studies"):
        study = patience(
            lambda: optuna.create_study(
                storage=storage, study_name=name, directions=directions, load_if_exists=True
            )
        )
        if META not in study.user_attrs and not study.get_trials(deepcopy=False):
            before = [direction.name.lower() for direction in study.directions]
            if before != directions:
                raise SpecError(
                    f"study {name!r}: direction was {', '.join(before)!r}, "
                    f"is {', '.join(directions)!r}: give --name another"
                )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # experimental, and only a label for the dashboard
                patience(lambda: study.set_metric_names([one.metric for one in meta.objectives]))
            patience(lambda: study.set_user_attr(META, meta.to_json()))
    return study._study_id
