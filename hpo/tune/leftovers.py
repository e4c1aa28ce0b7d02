"""What a trial leaves behind in its worker: processes, threads, open files, memory."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import torch

from hpo.tune import pump

T = TypeVar("T")

_PATIENCE_S = 0.5
"""What ends by itself is waited for as long."""
_MANY_FILES = 64
_ON_A_CARD = 64 * 2**20
"""Bytes that may stay on a card."""
# Pools that a library keeps warm for whoever is next, and looks after itself.
_POOLS = (
    b"multiprocessing.resource_tracker",
    b"multiprocessing.forkserver",
    b"joblib.externals.loky",
    b"torch/_inductor/compile_worker",
    os.fsencode(pump.__file__),
)
_POOL_THREADS = ("TMonitor", "_ExecutorManagerThread", "_QueueManagerThread", "SubprocPool")
"""Of tqdm, loky and torch's compiler, by their classes."""


class Leftovers:
    """Compares this process with what it was before the trial.

    Args:
        allowance: bytes by which its memory may have grown since the end of its first trial, which
            loads the data.
    """

    _memory_at_first: int | None = None
    _on_card_at_first: int | None = None
    _known_children: frozenset[int] | None = None
    """Those that importing the model and its data started, and those of pools; looked for once,
    for nothing starts between two trials."""

    def __init__(self, allowance: int) -> None:
        self.allowance = allowance
        self._threads = set(threading.enumerate())
        if Leftovers._known_children is None:
            Leftovers._known_children = frozenset(_descendants())
        self._files = set(_descriptors())

    def clear(self) -> Iterator[str]:
        """Ends what the trial left; says what of it a next trial would meet.

        What is only waiting to be collected as garbage is no leftover.
        """
        if children := _after_a_while(self._new_children):
            _end(children)
            yield f"{len(children)} processes"
        if threads := _after_a_while(self._new_threads):
            yield f"thread {threads[0].name!r}"
        if files := _after_a_while(self._new_files):
            yield f"{len(files)} open files"
        yield from self._memory()
        yield from self._card()

    def _new_children(self) -> list[int]:
        known = Leftovers._known_children or ()
        return [pid for pid in _descendants() if pid not in known and not _is_pool(pid)]

    def _new_threads(self) -> list[threading.Thread]:
        return [
            thread
            for thread in threading.enumerate()
            if thread not in self._threads and type(thread).__name__ not in _POOL_THREADS
        ]

    def _new_files(self) -> list[int]:
        """Those that are written; of others there have to be many."""
        new = [fd for fd in _descriptors() if fd not in self._files]
        return new if len(new) > _MANY_FILES else [fd for fd in new if _writes(fd)]

    def _memory(self) -> Iterator[str]:
        first = Leftovers._memory_at_first
        if first is None:
            Leftovers._memory_at_first = own_memory()
        elif own_memory() - first > self.allowance:
            gc.collect()
            _give_back()
            grown = own_memory() - first
            if grown > self.allowance:
                yield f"{grown / 2**20:.0f} MiB of memory"

    def _card(self) -> Iterator[str]:
        if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            return
        try:
            torch.cuda.synchronize()
        except RuntimeError as error:  # such an error stays
            yield str(error).splitlines()[0]
            return
        first = Leftovers._on_card_at_first
        if first is None:
            Leftovers._on_card_at_first = torch.cuda.memory_allocated()
        elif torch.cuda.memory_allocated() > first + _ON_A_CARD:
            gc.collect()
            held = torch.cuda.memory_allocated()
            if held > first + _ON_A_CARD:
                yield f"{held / 2**20:.0f} MiB on the card"


def _after_a_while(look: Callable[[], list[T]]) -> list[T]:
    """What is there even after garbage was collected and a moment has passed."""
    if not look():
        return []
    gc.collect()
    deadline = time.monotonic() + _PATIENCE_S
    while (found := look()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


def adopt_orphans() -> None:
    """Processes whose parents end become children of this one, so that none is lost sight of."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def _descendants() -> list[int]:
    """Processes that run below this one; those that have ended are taken note of, and gone."""
    try:
        while os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            if not _reap():
                break
    except ChildProcessError:
        return []  # told without a look at any process
    found: list[int] = []
    waiting = [os.getpid()]
    while waiting:
        children = [pid for pid in _children(waiting.pop()) if _runs(pid)]
        found += children
        waiting += children
    return found


def _children(pid: int) -> list[int]:
    """Of all of a process's threads, without a look at the machine's other processes."""
    folder = f"/proc/{pid}/task"
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(folder):
            found += map(int, _read(f"{folder}/{thread}/children").split())
    return found


def _runs(pid: int) -> bool:
    return _read(f"/proc/{pid}/stat").rpartition(b") ")[2][:1] not in b"ZX"


def _read(path: str) -> bytes:
    """A file's content; nothing if it has gone."""
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read()
    except OSError:
        return b""


def _reap() -> bool:
    """Frees the entry of a child that has ended."""
    with contextlib.suppress(ChildProcessError):
        return os.waitpid(-1, os.WNOHANG)[0] != 0
    return False


def _is_pool(pid: int) -> bool:
    with contextlib.suppress(OSError):
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        return any(name in command for name in _POOLS)
    return False


def _end(pids: list[int]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in pids:
            with contextlib.suppress(OSError):
                os.kill(pid, number)
        deadline = time.monotonic() + 0.2
        while (pids := [p for p in _descendants() if p in pids]) and time.monotonic() < deadline:
            time.sleep(0.01)


def _descriptors() -> list[int]:
    listed: list[str] = []
    with contextlib.suppress(OSError):
        listed = os.listdir("/proc/self/fd")
    return [fd for fd in map(int, listed) if _is_open(fd)]  # the listing's own is closed again


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def _writes(fd: int) -> bool:
    """Whether it is a file on a disk that is open for writing."""
    try:
        path = os.readlink(f"/proc/self/fd/{fd}")
        flags = int(Path(f"/proc/self/fdinfo/{fd}").read_text().split()[3], 8)
    except OSError:  # it has been closed: it was that of the listing, say
        return False
    on_disk = path.startswith("/") and not path.startswith(("/dev/", "/proc/", "/memfd:"))
    return on_disk and bool(flags & (os.O_WRONLY | os.O_RDWR))


def own_memory() -> int:
    """Bytes of memory that this process alone has."""
    with contextlib.suppress(OSError):
        _, resident, shared, *_ = Path("/proc/self/statm").read_text().split()
        return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")
    return 0


def _give_back() -> None:
    """Gives the system what the C library keeps for later."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
