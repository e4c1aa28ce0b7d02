"""What a sampler or a pruner sees of a study: its trials, read once, and a trial that has no row
yet."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from optuna.trial import FrozenTrial, TrialState

from hpo.search.seen import SeenStorage, SeenStudy

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import BaseStorage

DRAFT = -1
"""Storage id of a trial without a row."""


class Sight(SeenStudy):
    """A study as it was at the last `look`, for its own sampler and pruner.

    They read all trials again and again, each time from the database; and they write, while
    they propose, to a trial that others see unfinished then.  Here they read what was read once,
    and what they write of a draft stays in it.  All else goes to the study's storage.
    """

    def __init__(self, study: Study) -> None:
        self._drafts = _DraftStorage(study._storage)
        super().__init__(study, self._drafts)

    def look(self) -> list[FrozenTrial]:
        """Reads the trials."""
        trials = self._drafts.storage.get_all_trials(self._study_id, deepcopy=False)
        self.show(trials)
        return trials

    def draft(self, user_attrs: dict[str, Any]) -> FrozenTrial:
        """A trial to propose for, with the number that it would get now."""
        self._drafts.draft = FrozenTrial(
            number=len(self._drafts.trials),
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
        return self._drafts.draft


class _DraftStorage(SeenStorage):
    """A storage with one trial more, which has no row."""

    def __init__(self, storage: BaseStorage) -> None:
        super().__init__(storage)
        self.draft: FrozenTrial | None = None

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
