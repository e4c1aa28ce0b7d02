"""A study's row in the storage: made once, whoever comes first."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from hpo.errors import SpecError
from hpo.storage.lock import engine_of, exclusive
from hpo.storage.meta import META, StudyMeta
from hpo.storage.retry import Patience

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from sqlalchemy import Engine


def ensure_study(
    storage: BaseStorage, name: str, meta: StudyMeta, patience: Patience | None = None
) -> int:
    """Creates the study as `meta` says, unless it exists.

    Returns:
        Its id in the storage.
    Raises:
        SpecError: a study of that name is empty and was made by something else, the other way;
            or the database does not tell the name from another study's.
        StorageError: the database cannot hold the study; nothing was created.
    """
    import optuna

    patience = patience or Patience()
    directions = [one.direction for one in meta.objectives]
    engine = engine_of(storage)
    with exclusive(engine, "new studies"):
        if name not in patience(lambda: optuna.get_all_study_names(storage)):
            patience(lambda: _rehearse(engine, name, meta))
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


@contextlib.contextmanager
def not_left_empty(storage: BaseStorage, name: str) -> Iterator[None]:
    """A study that is created while it lasts goes again if an error ends it before a first trial,
    and no other driver has come to it."""
    import optuna

    from hpo.storage.lease import current_drivers

    existed = name in Patience()(lambda: optuna.get_all_study_names(storage))
    try:
        yield
    except Exception:
        with contextlib.suppress(Exception), exclusive(engine_of(storage), "new studies"):
            if not existed:
                study = optuna.load_study(study_name=name, storage=storage)
                if not study.trials and not current_drivers(storage, study._study_id):
                    optuna.delete_study(study_name=name, storage=storage)
        raise


def _rehearse(engine: Engine, name: str, meta: StudyMeta) -> None:
    """Writes the study with one trial and takes all of it back.

    So a database that cannot hold its names and texts, takes two of them for the same, or grants
    too little says so before the study exists.
    """
    from optuna.storages._rdb import models
    from optuna.trial import FrozenTrial, TrialState
    from sqlalchemy import delete, update

    from hpo.storage.lease import drivers_table
    from hpo.storage.whole import WholeStudy, write_rows

    distributions: dict[str, Any] = meta.space.distributions()
    params = {n: d.choices[0] if hasattr(d, "choices") else d.low for n, d in distributions.items()}
    now = datetime.now()
    values = [0.0] * len(meta.objectives)
    attrs = {one: 0.0 for one in meta.measured}
    trial = FrozenTrial(
        number=0,
        state=TrialState.COMPLETE,
        value=None,
        values=values,
        datetime_start=now,
        datetime_complete=now,
        params=params,
        distributions=distributions,
        user_attrs={"metrics": attrs},
        system_attrs={"rehearsal": True},
        intermediate_values={1: 0.0},
        trial_id=0,
    )
    directions = tuple(_direction(one.direction) for one in meta.objectives)
    study = WholeStudy(name, directions, {META: meta.to_json()}, {"rehearsal": True}, (trial,))
    drivers = drivers_table()
    drivers.create(engine, checkfirst=True)
    trials: Any = models.TrialModel.__table__
    steps: Any = models.TrialIntermediateValueModel.__table__
    with engine.connect() as connection, connection.begin() as transaction:
        study_id = write_rows(connection, study)
        mine = trials.c.study_id == study_id
        connection.execute(update(trials).where(mine).values(state=TrialState.FAIL))
        connection.execute(delete(steps).where(steps.c.trial_id < 0))
        connection.execute(delete(drivers).where(drivers.c.study_id == study_id))
        transaction.rollback()


def _direction(word: str) -> Any:
    from optuna.study import StudyDirection

    return StudyDirection[word.upper()]
