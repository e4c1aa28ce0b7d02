"""A study of a storage, to look at from Python."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from hpo.storage.view import StudyView

if TYPE_CHECKING:
    import optuna
    import pandas as pd
    from optuna.trial import FrozenTrial

    from hpo.storage.studies import StudySummary


@dataclass(frozen=True)
class Trial:
    """A completed trial.

    Attributes:
        params: what was searched; parameters fixed by `set` are not among them.
        value: of the first objective.
        values: by metric, of every objective.
    """

    number: int
    params: Mapping[str, Any]
    value: float
    values: Mapping[str, float]


class Study:
    """A study to look at: from this process or another one, while it runs or afterwards."""

    def __init__(self, view: StudyView) -> None:
        self._view = view

    @property
    def name(self) -> str:
        """The study's name in its storage."""
        return self._view.name

    @property
    def best(self) -> Trial | None:
        """The best trial by the search; the front's first one of several objectives."""
        if self._view.meta.several:
            return next(iter(self.front), None)
        best = self._view.best()
        return None if best is None else self._trial(best)

    @property
    def front(self) -> list[Trial]:
        """The Pareto front, the trial nearest to the best of each objective first."""
        if not self._view.meta.several:
            return [self.best] if self.best is not None else []
        return [self._trial(trial) for trial in self._view.front()]

    @property
    def counts(self) -> dict[str, int]:
        """Trials by outcome: complete, pruned, failed, ..."""
        return self._view.outcomes()

    @property
    def trials(self) -> pd.DataFrame:
        """Every trial, a row each, in the columns of `optuna.Study.trials_dataframe`."""
        return self.optuna.trials_dataframe()

    @cached_property
    def optuna(self) -> optuna.Study:
        """The study for Optuna's own functions, such as its plots; it refuses to write."""
        import optuna

        from hpo.storage.reading import ReadOnlyStorage

        storage: Any = ReadOnlyStorage(self._view.storage)
        return optuna.load_study(study_name=self.name, storage=storage)

    def _trial(self, trial: FrozenTrial) -> Trial:
        metrics = (objective.metric for objective in self._view.meta.objectives)
        values = dict(zip(metrics, trial.values, strict=True))
        return Trial(trial.number, dict(trial.params), trial.values[0], values)

    def __repr__(self) -> str:
        counts = ", ".join(f"{n} {state}" for state, n in self.counts.items()) or "no trials"
        return f"<{type(self).__name__} {self.name!r}: {counts}; {self._view.meta.goal}>"


def open_study(name: str, storage: str | None = None) -> Study:
    """Opens a study to look at it.

    Args:
        storage: URL or file of its storage [default: HPO_STORAGE, else ./hpo.db].
    Raises:
        SpecError: there is no such study.
        StorageError: there is no such storage.
    """
    from hpo.storage.sql import open_storage, resolve_url

    return Study(StudyView.open(open_storage(resolve_url(storage), create=False), name))


def studies(storage: str | None = None) -> list[StudySummary]:
    """Lists the studies of a storage: name, model, objective, trials, best value.

    Raises:
        StorageError: there is no such storage.
    """
    from hpo.storage.sql import open_storage, resolve_url
    from hpo.storage.studies import list_studies

    return list_studies(open_storage(resolve_url(storage), create=False))
