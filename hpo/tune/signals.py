"""SIGINT, SIGTERM and SIGHUP, heard at any moment: while C code runs, and while Ray starts."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

HEARD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
IGNORED = frozenset(number for number in HEARD if signal.getsignal(number) is signal.SIG_IGN)
"""Signals that this process inherited as ignored, as under nohup or in a shell's background job.
They stay ignored."""
_SIGTERM = [signal.SIGTERM]
_WAIT_S = 0.1


class _Ear(threading.Thread):
    """Learns of signals when they arrive; Python's handlers wait for the main thread's next step.

    Args:
        notice: called in this thread with the number of each signal.
    """

    def __init__(self, notice: Callable[[int], None]) -> None:
        super().__init__(name="hpo signals", daemon=True)
        self.notice = notice
        self.missed: int | None = None
        self._read, self.pipe = os.pipe()
        os.set_blocking(self.pipe, False)
        self._alone = threading.Event()
        self._left = threading.Event()

    def run(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)
        while True:
            if self._alone.is_set():
                if signal.sigtimedwait(_SIGTERM, _WAIT_S) is not None:
                    self.missed = signal.SIGTERM
                    self.notice(signal.SIGTERM)
                continue
            self._left.set()
            for number in os.read(self._read, 64):
                if number in HEARD:
                    self.notice(number)

    def take_sigterm(self) -> None:
        """From now on this thread waits for SIGTERM, without any handler."""
        self._left.clear()
        self._alone.set()
        with contextlib.suppress(BlockingIOError):
            os.write(self.pipe, b"\0")  # wakes it

    def give_sigterm_back(self) -> int | None:
        """Ends that; returns SIGTERM if it came meanwhile."""
        self._alone.clear()
        self._left.wait(10 * _WAIT_S)
        missed, self.missed = self.missed, None
        return missed


_ear: _Ear | None = None


def hear(handle: Callable[[int, FrameType | None], None], notice: Callable[[int], None]) -> None:
    """Hears the signals, those apart that were inherited as ignored.

    Args:
        handle: called in the main thread, as Python calls handlers: between two of its steps.
        notice: called before, in another thread, whatever the main thread does.
    """
    global _ear
    if _ear is None:
        _ear = _Ear(notice)
        _ear.start()
        os.register_at_fork(after_in_child=_forget)
    _ear.notice = notice
    for number in HEARD:
        if number not in IGNORED:
            signal.signal(number, handle)
    signal.set_wakeup_fd(_ear.pipe, warn_on_full_buffer=False)


@contextlib.contextmanager
def borrowed(handle: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Hears the signals in somebody else's process: afterwards all is as it was before.

    Does nothing outside the main thread, where Python calls no handlers.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in HEARD}
    for number, known in before.items():
        if known not in (signal.SIG_IGN, None):
            signal.signal(number, handle)
    try:
        yield
    finally:
        for number, known in before.items():
            if known is not None:
                signal.signal(number, known)


def _forget() -> None:
    """In a forked child: signals to it are not its parent's, and end it."""
    signal.set_wakeup_fd(-1)
    for number in HEARD:
        if number not in IGNORED:
            default = number == signal.SIGINT
            signal.signal(number, signal.default_int_handler if default else signal.SIG_DFL)


@contextlib.contextmanager
def sigterm_aside() -> Iterator[None]:
    """While it lasts, SIGTERM runs no handler: for the start and the end of Ray's core.

    The core sets a handler of its own when it starts, which aborts, and the system's default when
    it ends.  Here the caller's handler stays, and is called at the end if the signal came.
    Processes that Ray starts meanwhile hear it, as ever.
    """
    from ray._private import services

    start_process = services.start_ray_process

    def start_hearing(*args: object, **options: object) -> object:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGTERM)
        try:
            return start_process(*args, **options)
        finally:
            signal.pthread_sigmask(signal.SIG_BLOCK, _SIGTERM)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ear = _ear if hasattr(signal, "sigtimedwait") else None
    services.start_ray_process = start_hearing
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGTERM)
    if ear is not None:
        ear.take_sigterm()
    missed = None
    try:
        yield
    finally:
        services.start_ray_process = start_process
        handler = signal.getsignal(signal.SIGTERM)
        signal.signal(signal.SIGTERM, handler)
        if ear is not None:
            missed = ear.give_sigterm_back()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGTERM)
        if missed is not None and callable(handler):
            handler(missed, None)
