"""What a sampler or a pruner sees of a study: its trials, read once, and a trial that has no row
yet."""

from __future__ import annotations

import copy
from collections.abc import Container
from datetime import datetime
from typing import TYPE_CHECKING, Any

from optuna import Study
from optuna.trial import FrozenTrial, TrialState

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

DRAFT = -1
"""Storage id of a trial without a row."""


class Sight(Study):
    """A study as it was at the last `look`, for its own sampler and pruner.

    They read all trials again and again, each time from the database; and they write, while
    they propose, to a trial that others see unfinished then.  Here they read what was read once,
    and what they write of a draft stays in it.  All else goes to the study's storage.
    """

    def __init__(self, study: Study) -> None:
        self._seen = _SeenStorage(study._storage)
        seen: Any = self._seen
        super().__init__(study.study_name, seen, study.sampler, study.pruner)

    def look(self) -> list[FrozenTrial]:
        """Reads the trials."""
        seen = self._seen
        seen.trials = seen.storage.get_all_trials(self._study_id, deepcopy=False)
        self._thread_local.cached_all_trials = None
        return seen.trials

    def draft(self, user_attrs: dict[str, Any]) -> FrozenTrial:
        """A trial to propose for, with the number that it would get now."""
        self._seen.draft = FrozenTrial(
            number=len(self._seen.trials),
            trial_id=DRAFT,
            state=TrialState.RUNNING,
            value=None,
            datetime_start=datetime.now(),
            datetime_complete=None,
            params={},
            distributions={},
            user_attrs=user_attrs,
            system_attrs={},
            intermediate_values={},
        )
        return self._seen.draft


class _SeenStorage:
    """A storage whose trials are those that were read last, and a draft."""

    def __init__(self, storage: BaseStorage) -> None:
        self.storage = storage
        self.trials: list[FrozenTrial] = []
        self.draft: FrozenTrial | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.storage, name)

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        found = [trial for trial in self.trials if states is None or trial.state in states]
        return copy.deepcopy(found) if deepcopy else found

    def get_trial(self, trial_id: int) -> FrozenTrial:
        if trial_id == DRAFT:
            assert self.draft is not None
            return self.draft
        return self.storage.get_trial(trial_id)

    def get_trial_system_attrs(self, trial_id: int) -> dict[str, Any]:
        if trial_id == DRAFT:
            return self.get_trial(trial_id).system_attrs
        return self.storage.get_trial_system_attrs(trial_id)

    def set_trial_param(self, trial_id: int, *values: Any) -> None:
        if trial_id != DRAFT:  # into a draft, Optuna's Trial writes them itself
            self.storage.set_trial_param(trial_id, *values)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        if trial_id == DRAFT:
            self.get_trial(trial_id).system_attrs[key] = value
        else:
            self.storage.set_trial_system_attr(trial_id, key, value)
