"""Time is measured with nothing beside it: trainings on one machine take turns with measurements.

Each training holds a shared lock while it works on an epoch; who measures takes it exclusively, so
the others wait before their next epoch.  The locks are the kernel's and end with their process.
Nobody waits for ever: after `patience_s` it goes on beside the others.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

PATIENCE_S = 30.0
"""How long a training waits for a measurement, and at least a measurement for trainings."""
_POLL_S = 0.01


class Quiet:
    """The locks of this user's trainings on this machine.

    Args:
        needed: whether time is measured at all; else nobody waits for anything.
        folder: of the lock files.
    """

    def __init__(self, needed: bool = True, folder: Path | None = None) -> None:
        self.needed = needed
        self.folder = folder or Path(tempfile.gettempdir())

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """While an epoch is trained."""
        with contextlib.ExitStack() as held:
            # Through the gate, which a waiting measurement keeps shut: it would starve otherwise.
            with self._lock("gate", fcntl.LOCK_EX, PATIENCE_S):
                held.enter_context(self._lock("work", fcntl.LOCK_SH, PATIENCE_S))
            yield

    @contextlib.contextmanager
    def alone(self, patience_s: float = PATIENCE_S) -> Iterator[bool]:
        """While time is measured; gives whether nothing of ours runs beside it."""
        until = time.monotonic() + max(patience_s, PATIENCE_S)
        with (
            self._lock("gate", fcntl.LOCK_EX, until - time.monotonic()) as first,
            self._lock("work", fcntl.LOCK_EX, until - time.monotonic()) as second,
        ):
            yield first and second

    @contextlib.contextmanager
    def _lock(self, name: str, kind: int, patience_s: float) -> Iterator[bool]:
        """Gives whether the lock was taken in time; without it, work goes on all the same."""
        path = self.folder / f"hpo-{os.getuid()}-{name}.lock"
        if not self.needed:
            yield False
            return
        try:
            flags = os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
            file = os.open(path, flags, 0o600)
        except OSError:
            yield False
            return
        try:
            yield _taken(file, kind, patience_s)
        finally:
            os.close(file)


def _taken(file: int, kind: int, patience_s: float) -> bool:
    until = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() >= until:
                return False
            time.sleep(_POLL_S)
        else:
            return True
