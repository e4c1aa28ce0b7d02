"""Signals: the first one ends a run in order, the second one at once, and time does the rest."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def sigterm_deferred() -> Iterator[None]:
    """SIGTERM waits, until a `Stop` takes over or the context ends.

    Threads that libraries start meanwhile are born deaf to it, so that it always comes to the main
    thread: when Ray's core starts, another thread would run the core's own handler, which aborts.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])


class Stop:
    """Collects SIGINT, SIGTERM and SIGHUP while its context lasts.

    The first one calls what `calls` was given; waits for the end of `held`; or else raises
    KeyboardInterrupt.  The second one ends the process, as does time: Ray may hang.  What comes
    after the context finds all done, and a process about to end by itself: it changes nothing.
    """

    def __init__(self, limit_s: float = 20) -> None:
        self.signal: int | None = None
        self.limit_s = limit_s
        self._call: Callable[[], None] | None = None
        self._last: Callable[[], object] = lambda: None
        self._held = False
        self._timer: threading.Timer | None = None
        self._over = False

    def __enter__(self) -> Stop:
        for number in _SIGNALS:
            signal.signal(number, self._handle)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._over = True

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._over:
            return
        if self.signal is not None:
            self.force(128 + self.signal)
        self.signal = number
        self._timer = threading.Timer(self.limit_s, self.force, [128 + number])
        self._timer.daemon = True
        self._timer.start()
        if self._call is not None:
            self._call()
        elif not self._held:
            raise KeyboardInterrupt

    def hold(self) -> None:
        """From now on the first signal interrupts nothing."""
        self._held = True

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """While it lasts, the first signal interrupts nothing, but what comes after it: for code
        that does not bear being interrupted, as that which starts and stops Ray."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self.signal is not None:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def calls(self, call: Callable[[], None], last: Callable[[], object]) -> Iterator[None]:
        """While it lasts, the first signal makes the call and interrupts nothing.

        Args:
            last: called, in whatever thread, before the process is ended by force.
        """
        self._call, self._last = call, last
        try:
            yield
        finally:
            self._call, self._last = None, lambda: None

    def force(self, code: int) -> None:
        """Ends the process at once; what it leaves behind is the reaper's."""
        with contextlib.suppress(Exception):
            self._last()
        if sys.stderr.isatty():
            sys.stderr.write("\x1b[?25h\n")  # a progress display has hidden the cursor
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
