"""How long a study still takes, from the epochs that it has trained so far."""

from __future__ import annotations

from collections.abc import Collection


class Forecast:
    """Counts epochs, of the search and of the trainings after it.

    Args:
        epochs: of a full training.
        n_trials: trials that the search runs; None if that is open.
        n_after: full trainings after the search.
        timeout: seconds given to the search, None if open.
    """

    def __init__(
        self, epochs: int, n_trials: int | None, n_after: int, timeout: float | None
    ) -> None:
        self.n_trials = n_trials
        self.n_after = n_after
        self.timeout = timeout
        self.searching = True
        self.n_ended = 0
        self._full = epochs
        self._longest = 0  # of the trials that were completed
        self._of_ended = 0
        self._trained = 0  # after the search

    def trial_ended(self, epochs: int, *, complete: bool) -> None:
        """Counts a trial and its epochs."""
        self.n_ended += 1
        self._of_ended += epochs
        if complete:
            self._longest = max(self._longest, epochs)

    def trained(self) -> None:
        """Counts a full training after the search."""
        self._trained += self._epochs
        self.n_after = max(0, self.n_after - 1)

    @property
    def _epochs(self) -> int:
        """Of a full training: fewer than allowed where early stopping or a function ends it."""
        return max(1, self._longest or self._full)

    def _left(self, running: Collection[int]) -> float | None:
        """Epochs left of the search; None if that is open."""
        if not self.searching:
            return 0.0
        if self.n_trials is None:
            return None
        mean = self._of_ended / self.n_ended if self.n_ended else float(self._epochs)
        # What has outlived the mean trial is likely to go on to its end.
        of_running = (mean - n if n < mean else max(0, self._epochs - n) for n in running)
        to_come = max(0, self.n_trials - self.n_ended - len(running))
        return sum(of_running) + to_come * mean

    def seconds_left(self, elapsed: float, running: Collection[int] = ()) -> float | None:
        """Seconds to the end of everything; None if nothing can be said yet.

        Args:
            elapsed: seconds since the first trial started.
            running: epochs done by each trial that runs.
        """
        done = self._of_ended + self._trained + sum(running)
        # A first epoch holds what happens once: data, compilation.
        started = not self.searching or self.n_ended or max(running, default=0) > 1
        if not done or not started or elapsed <= 0:
            return None
        of_search = self._left(running)
        per_epoch = elapsed / done
        after = self.n_after * self._epochs * per_epoch
        allowed = None if self.timeout is None else max(0.0, self.timeout - elapsed)
        if not self.searching:
            return after
        guesses = [] if of_search is None else [of_search * per_epoch]
        guesses += [] if allowed is None else [allowed]
        return min(guesses) + after if guesses else None
