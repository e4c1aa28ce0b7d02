"""When a run gives up: its first trials all fail of one cause, so that the code is broken."""

from __future__ import annotations

import shlex
from collections import Counter
from typing import TYPE_CHECKING

from hpo.storage.attempts import KIND, REASON

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


class FailureCount:
    """Failures of one cause while nothing has ended well.

    Args:
        limit: so many are enough to give up; 0: none are.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._n_of: Counter[str] = Counter()
        self._one_of_it_works = False
        self.last: tuple[int, str] | None = None
        """Number and reason of the failure that reached the limit."""

    def succeeded(self) -> None:
        """A trial was completed, pruned or paused: what fails fails of its parameters."""
        self._one_of_it_works = True

    def count(self, ended: FrozenTrial, alike: str | None) -> None:
        """Counts a trial that has ended and is not tried again.

        Args:
            alike: the same for failures of one cause; None: of its parameters, or of its worker.
        """
        if ended.state.name != "FAIL":
            self.succeeded()
            return
        reason = str(ended.user_attrs.get(REASON))
        if cause := reason if ended.user_attrs.get(KIND) == "lost" else alike:
            self._n_of[cause] += 1
            if self._n_of[cause] == self.limit:
                self.last = ended.number, reason

    @property
    def reached(self) -> bool:
        """Whether no further trial is worth its start."""
        return self.last is not None and not self._one_of_it_works

    def problem(self, study: str) -> str | None:
        """Why the run gave up and what to do, in one line; None if it did not."""
        if not self.reached or self.last is None:
            return None
        number, reason = self.last
        name = shlex.quote(study)
        return (
            f"study {study!r}: stopped after {self.limit} trials failed with the same error, and "
            f"none completed: {reason}: see `hpo trial {name} {number}` and `hpo logs {name} "
            f"{number}`, fix it, and run `hpo resume {name} --retry-failed`; --max-failures 0 "
            "turns this stop off"
        )
