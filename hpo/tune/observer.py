"""An observer of a run: told of each trial of the search, and of each training after it.  The
progress display is one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Observer:
    """Does nothing; a subclass overrides the calls that it needs."""

    def trial_started(self, number: int, params: Mapping[str, Any]) -> None:
        """A trial is handed to the executor, for the first time or after a pause."""

    def trial_waits(self, number: int, reason: str) -> None:
        """No worker has room for the trial."""

    def trial_placed(self, number: int) -> None:
        """A worker has taken the trial."""

    def trial_reported(self, number: int, epoch: int, value: float) -> None:
        """An epoch has ended with this value of the guiding metric."""

    def trial_paused(self, number: int) -> None:
        """The pruner has stopped the trial; it may go on later."""

    def trial_ended(self, number: int) -> None:
        """The trial's end is in the ledger."""

    def phase(self, name: str, done: int, total: int) -> None:
        """So many trainings after the search have ended: first called with 0, then after each."""

    def training_started(self, title: str, params: Mapping[str, Any]) -> None:
        """A worker is given a training after the search, for the first time or once more.

        Args:
            title: `trial 3, seed 1001`; tells the trainings of a phase apart.
        """

    def training_ended(self, title: str) -> None:
        """The training has ended, or failed."""
