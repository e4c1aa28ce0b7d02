"""Signals: the first one ends a run in order, the second one at once, and time does the rest."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType

from hpo.errors import HpoError
from hpo.tune import signals

_TWICE_S = 0.3
"""A signal that comes again so soon is the same one: `timeout` sends it to a process and to its
group."""
_FLUSH_S = 2.0


class Stop:
    """Collects SIGINT, SIGTERM and SIGHUP while its context lasts.

    The first one calls what `calls` was given; waits for the end of `held`; or else raises
    KeyboardInterrupt.  The second one ends the process, as does time: Ray, C code and a user's
    `except` may hang.  What comes after the context finds all done, and a process about to end by
    itself: only if it does not, it is ended.

    A Stop may be entered inside another one, which hears nothing any more from then on.
    """

    def __init__(self, limit_s: float = 20) -> None:
        self.signal: int | None = None
        self.limit_s = limit_s
        self._call: Callable[[], None] | None = None
        self._last: Callable[[], object] = lambda: None
        self._held = False
        self._noticed: tuple[int, float] | None = None
        self._over = False

    def __enter__(self) -> Stop:
        signals.hear(self._handle, self._notice)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over = True  # a timer that runs goes on: the process may hang on its way out

    def _notice(self, number: int) -> None:
        """Called at once, in another thread: sees to it that the process ends."""
        now = time.monotonic()
        if self._noticed is None:
            self._noticed = number, now
            timer = threading.Timer(self.limit_s, self.force, [128 + number])
            timer.daemon = True
            timer.start()
        elif now - self._noticed[1] > _TWICE_S:
            self.force(128 + self._noticed[0])

    def _handle(self, number: int, frame: FrameType | None) -> None:
        """Called in the main thread, when it gets there."""
        if self._over or self.signal is not None:
            return
        self.signal = number
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

    def force(self, code: int, reason: str = "") -> None:
        """Ends the process at once; what it leaves behind is the reaper's."""
        with contextlib.suppress(Exception):
            self._last()
        # Another thread may hold a stream, for ever if its reader does not read.
        flush = threading.Thread(target=_flush, daemon=True)
        flush.start()
        flush.join(_FLUSH_S)
        os._exit(code)


class Borrowed(Stop):
    """The same in somebody else's process, such as a notebook's: ends it never, and leaves its
    handlers as they were.  The second signal raises KeyboardInterrupt wherever the code is."""

    def __enter__(self) -> Borrowed:
        self._context = signals.borrowed(self._handle)
        self._context.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, trace)
        self._context.__exit__(None, None, None)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None and not self._held:
            raise KeyboardInterrupt
        super()._handle(number, frame)

    def force(self, code: int, reason: str = "") -> None:
        """Ends what runs by an error: the process is not ours."""
        self._last()
        raise HpoError(reason)


def _flush() -> None:
    with contextlib.suppress(Exception):
        if sys.stderr.isatty():
            sys.stderr.write("\x1b[?25h\n")  # a progress display has hidden the cursor
        sys.stdout.flush()
        sys.stderr.flush()
