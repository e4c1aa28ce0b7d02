"""A study to look at: its trials, counts, best, drivers.  Changes nothing."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from hpo.errors import SpecError
from hpo.pareto import front_of, nearest_first
from hpo.storage.aggregates import attribute_of_failed, by_state, by_value, refinements
from hpo.storage.attempts import REASON
from hpo.storage.lease import Driver, current_drivers
from hpo.storage.measured import is_feasible
from hpo.storage.meta import StudyMeta, meta_of
from hpo.storage.noise import CONFIRMED, noise_of
from hpo.storage.outcomes import outcomes
from hpo.storage.retry import Patience

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

_LOOK_S = 10
"""Who only looks at a study does not wait long for its database."""


class StudyView:
    """A study and its rows, for reading."""

    def __init__(
        self,
        study: Study,
        storage: BaseStorage,
        meta: StudyMeta,
        *,
        patience: Patience | None = None,
    ) -> None:
        self.study = study
        self.storage = storage
        self.meta = meta
        self.patience = patience or Patience()

    @property
    def name(self) -> str:
        """The study's name."""
        return self.study.study_name

    @classmethod
    def open(cls, storage: BaseStorage, name: str) -> Self:
        """Opens an existing study to look at it.

        Raises:
            SpecError: there is none of that name, or it is not one of this service.
        """
        import optuna

        patience = Patience(_LOOK_S)
        names = patience(lambda: optuna.get_all_study_names(storage))
        if name not in names:
            near = get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "see `hpo studies`"
            raise SpecError(f"study: no {name!r} in this storage: {hint}")
        study = patience(lambda: optuna.load_study(study_name=name, storage=storage))
        return cls(study, storage, meta_of(study), patience=patience)

    def trial(self, number: int) -> FrozenTrial:
        """One trial."""
        trial_id = self.storage.get_trial_id_from_study_id_trial_number(
            self.study._study_id, number
        )
        return self.storage.get_trial(trial_id)

    def existing(self, number: int) -> FrozenTrial:
        """One trial that a user named.

        Raises:
            SpecError: there is none of that number.
        """
        try:
            return self.patience(lambda: self.trial(number))
        except KeyError:
            n = sum(self.counts().values())
            there = f"choose from 0 to {n - 1}" if n else "it has none yet"
            raise SpecError(f"trial: no {number} in study {self.name!r}: {there}") from None

    def trials(self) -> list[FrozenTrial]:
        """All trials by number."""
        return self.patience(lambda: self.study.get_trials(deepcopy=False))

    def counts(self) -> dict[str, int]:
        """Number of trials by state, only states that occur."""
        return self.patience(lambda: by_state(self.storage, self.study._study_id))

    def outcomes(self) -> dict[str, int]:
        """Number of trials by outcome, as `storage.outcomes` has them."""
        study_id = self.study._study_id
        refined = self.patience(lambda: refinements(self.storage, study_id))
        return outcomes(self.counts(), refined.get(study_id, {}))

    def failures(self) -> dict[str, int]:
        """Number of FAIL trials by reason, the most frequent first."""
        return attribute_of_failed(self.storage, self.study._study_id, REASON)

    def top(self, k: int) -> list[FrozenTrial]:
        """The k best COMPLETE trials of distinct configurations, the best first.

        None of them breaks a constraint.  With several objectives it is the Pareto front, from
        the trial nearest to having the best of each.
        """
        if self.meta.several:
            return self.front()[:k]
        if self.meta.constraints:
            sign = self.meta.sign
            return self._distinct(sorted(self._feasible(), key=lambda t: -sign * t.values[0]))[:k]
        descending = self.meta.direction == "maximize"
        study_id = self.study._study_id
        distinct: dict[str, FrozenTrial] = {}
        for trial_id in self.patience(
            lambda: by_value(self.storage, study_id, descending=descending)
        ):
            trial = self.patience(partial(self.storage.get_trial, trial_id))
            distinct.setdefault(self.meta.space.key(trial.params), trial)
            if len(distinct) == k:
                break
        return list(distinct.values())

    def front(self) -> list[FrozenTrial]:
        """The Pareto front: COMPLETE trials of distinct configurations that no other one is as
        good as in every objective and better in one, the nearest to the ideal point first, where
        differences that are within an objective's noise do not count."""
        trials = self._feasible()
        if not trials:
            return []
        signs = [one.sign for one in self.meta.objectives]
        values = np.array([trial.values for trial in trials])
        found = [
            trial for trial, is_on in zip(trials, front_of(values, signs), strict=True) if is_on
        ]
        found = self._distinct(found)
        noise = noise_of(self.meta, trials, self.attr(CONFIRMED))
        order = nearest_first(np.array([trial.values for trial in found]), signs, noise)
        return [found[i] for i in order]

    def noise(self) -> dict[str, float]:
        """Standard deviation of one measurement of each objective, as far as it is known."""
        found = noise_of(self.meta, self._feasible(), self.attr(CONFIRMED))
        names = (one.metric for one in self.meta.objectives)
        return {name: float(sd) for name, sd in zip(names, found, strict=True) if sd > 0}

    def _feasible(self) -> list[FrozenTrial]:
        """COMPLETE trials that keep the constraints, by number."""
        return [t for t in self.trials() if t.state.name == "COMPLETE" and is_feasible(t)]

    def _distinct(self, trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
        """The first trial of each configuration."""
        found: dict[str, FrozenTrial] = {}
        for trial in trials:
            found.setdefault(self.meta.space.key(trial.params), trial)
        return list(found.values())

    def n_infeasible(self) -> int:
        """How many COMPLETE trials break a constraint."""
        if not self.meta.constraints:
            return 0
        return sum(t.state.name == "COMPLETE" and not is_feasible(t) for t in self.trials())

    def best(self) -> FrozenTrial | None:
        """The first of `top`, or None."""
        found = self.top(1)
        return found[0] if found else None

    def drivers(self) -> list[Driver]:
        """Drivers that have not signed off; one may have died."""
        return current_drivers(self.storage, self.study._study_id)

    def attr(self, key: str) -> Any:
        """A study attribute, or None."""
        return self.study.user_attrs.get(key)
