"""What one trial may take of its worker: time and memory.  The kernel enforces both."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import resource
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from hpo.tune.cgroup import Groups, slurm_memory


@dataclass(frozen=True)
class Limits:
    """Limits of a trial.

    Attributes:
        timeout_s: a trial that takes longer ends with its worker, be it hung inside C code.
        memory_bytes: memory a worker may take in addition to what it has at the start of its
            first trial; an allocation beyond fails inside the trial.
    """

    timeout_s: float | None = None
    memory_bytes: int | None = None

    def begin(self) -> None:
        """Called in the worker's main thread when a trial starts."""
        if self.timeout_s is not None:
            end_after(self.timeout_s)
        if self.memory_bytes is not None:
            self._limit_memory(self.memory_bytes)

    def end(self) -> None:
        """Called when the trial has ended."""
        if self.timeout_s is not None:
            end_after(0)
        if self.memory_bytes is not None:
            with contextlib.suppress(OSError, ValueError):
                _, hard = resource.getrlimit(resource.RLIMIT_DATA)
                resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))

    @staticmethod
    def _limit_memory(n_bytes: int) -> None:
        with contextlib.suppress(OSError, ValueError):
            _, hard = resource.getrlimit(resource.RLIMIT_DATA)
            resource.setrlimit(resource.RLIMIT_DATA, (_own_bytes() + n_bytes, hard))


@functools.cache
def _own_bytes() -> int:
    """Private writable memory of this worker before its first trial, as RLIMIT_DATA counts it."""
    import torch  # noqa: F401  (what it takes is not the trial's)

    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    return 0


def end_after(seconds: float) -> None:
    """The kernel kills this process then, even while Python cannot run; 0: it does not.

    Not by the timer of `signal.alarm`, which is the user's code's to set.
    """
    if (timer := _timer()) is None:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        return
    whole = int(seconds)
    when = (ctypes.c_long * 4)(0, 0, whole, int((seconds - whole) * 1e9))
    if _libc().timer_settime(timer, 0, when, None):
        raise OSError(ctypes.get_errno(), "timer_settime")


@functools.cache
def _timer() -> ctypes.c_void_p | None:
    """A POSIX timer of this process; None where there are none (macOS)."""
    timer = ctypes.c_void_p()
    # struct sigevent: a value, the signal, and SIGEV_SIGNAL, which is 0.
    event = (ctypes.c_int * 16)(0, 0, signal.SIGKILL, 0)
    try:
        failed = _libc().timer_create(time.CLOCK_MONOTONIC, event, ctypes.byref(timer))
    except AttributeError:
        return None
    return None if failed else timer


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def machine_memory() -> int:
    """Bytes of memory this process may use: the machine's, its control group's or its job's."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(total, Groups().memory() or total, slurm_memory() or total)


def fair_share(n_workers: int) -> int:
    """Bytes for each worker of this machine; to the rest a tenth is left, and 1 GiB at least where
    that is no more than half."""
    total = machine_memory()
    rest = min(max(2**30, total // 10), total // 2)
    return (total - rest) // max(1, n_workers)
