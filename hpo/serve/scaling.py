"""How many replicas the load asks for."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

PER_REPLICA = 4.0
"""Requests under way that one replica is to have at most, on average."""
UP_AFTER = 4
DOWN_AFTER = 60
"""Looks at the load before there are more, or fewer: to start a process costs seconds of a core."""


@dataclass
class Scaling:
    """Looks at the load again and again.

    Attributes:
        low, high: the fewest and the most replicas.
    """

    low: int
    high: int
    _seen: deque[float] = field(default_factory=lambda: deque(maxlen=DOWN_AFTER))

    def wanted(self, in_flight: float, n: int) -> int:
        """How many there should be.

        Args:
            in_flight: requests under way now.
            n: replicas now.
        """
        self._seen.append(in_flight)
        recent = list(self._seen)[-UP_AFTER:]
        if len(recent) == UP_AFTER and min(recent) > PER_REPLICA * n and n < self.high:
            self._seen.clear()
            return n + 1
        full = len(self._seen) == DOWN_AFTER
        if full and max(self._seen) <= PER_REPLICA * (n - 1) / 2 and n > self.low:
            self._seen.clear()
            return n - 1
        return n
