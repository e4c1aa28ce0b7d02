"""A study as a sampler or a pruner is to see it: with a given list of trials."""

from __future__ import annotations

import copy
from collections.abc import Container
from typing import Any

from optuna import Study
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState


class SeenStorage:
    """A storage whose trials are a given list; all else is the storage's own."""

    def __init__(self, storage: BaseStorage) -> None:
        self.storage = storage
        self.trials: list[FrozenTrial] = []

    def __getattr__(self, name: str) -> Any:
        if name == "storage":  # while it is being unpickled
            raise AttributeError(name)
        return getattr(self.storage, name)

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        found = self.trials
        if states is not None:
            found = [trial for trial in found if trial.state in states]
        return copy.deepcopy(found) if deepcopy else list(found)


class SeenStudy(Study):
    """A study with its own sampler and pruner, and the trials that were shown last."""

    def __init__(self, study: Study, seen: SeenStorage | None = None) -> None:
        self._seen = seen or SeenStorage(study._storage)
        storage: Any = self._seen
        super().__init__(study.study_name, storage, study.sampler, study.pruner)

    def show(self, trials: list[FrozenTrial]) -> None:
        """From now on these are all there are; by number."""
        self._seen.trials = trials
        self._thread_local.cached_all_trials = None
