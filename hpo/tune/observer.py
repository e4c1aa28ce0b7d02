"""An observer of a search: told of each trial as it goes on.  The progress display is one."""

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
