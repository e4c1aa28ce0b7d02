"""Trials that no worker has room for: told to the log, the display and the ledger."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from hpo.storage.attempts import WAITING
from hpo.storage.ledger import Ledger
from hpo.tune.observer import Observer

PATIENCE_S = 10.0
"""A worker needs some seconds to start: until then a trial does not count as waiting."""
_log = logging.getLogger("hpo.tune")


class WaitingRoom:
    """The trials that were handed to the executor and have no worker yet, in that order.

    Args:
        shortage: tells how many trials lack room, and what they wait for.
        patience_s: seconds before a trial counts as waiting.
    """

    def __init__(
        self,
        ledger: Ledger,
        observer: Observer,
        shortage: Callable[[], tuple[int, str]] = lambda: (0, ""),
        *,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.ledger = ledger
        self.observer = observer
        self.shortage = shortage
        self.patience_s = patience_s
        self._since: dict[int, float] = {}
        self._waiting: set[int] = set()

    def enter(self, number: int) -> None:
        """A trial was handed to the executor."""
        self._since[number] = time.monotonic()

    def leave(self, number: int, *, placed: bool) -> None:
        """A trial has a worker (`placed`), or has ended without one."""
        since = self._since.pop(number, None)
        if since is None or number not in self._waiting:
            return
        self._waiting.discard(number)
        if placed:
            _log.warning("trial %d runs after %.0f s of waiting", number, time.monotonic() - since)
            self.ledger.set_trial_attr(number, WAITING, None)

    def look(self) -> None:
        """Finds the trials that wait, and says so once for each."""
        long = time.monotonic() - self.patience_s
        late = [n for n, since in self._since.items() if since <= long]
        if all(number in self._waiting for number in late):
            return
        n_lacking, reason = self.shortage()
        # Ray gives room in the order of asking: the last ones lack it.
        lacking = list(self._since)[len(self._since) - min(n_lacking, len(self._since)) :]
        new = [n for n in late if n in lacking and n not in self._waiting]
        for number in new:
            self._waiting.add(number)
            self.ledger.set_trial_attr(number, WAITING, reason)
            self.observer.trial_waits(number, reason)
        if new:
            many = len(new) > 1
            numbers = ", ".join(map(str, new))
            _log.warning(
                "trial%s %s wait%s for %s", "s" * many, numbers, "" if many else "s", reason
            )
