"""Temporary folders of a run, which the next run removes if this one could not.

A folder holds a lock as long as its process lives, or the reaper that clears it; the kernel gives
the lock back however these end.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from hpo.tune import reaper

PREFIX = "hpo-run-"
RAY_PREFIX = "hpo-ray-"
_LOCK, _MARK = "lock", "mark"
_YOUNG_S = 60
"""A folder that was just made may not hold its lock yet."""
_OLD_S = 7 * 24 * 3600
"""A folder without a lock is of an earlier version: nothing can be in use for so long."""


@contextlib.contextmanager
def scratch_folder(prefix: str = PREFIX) -> Iterator[Path]:
    """A folder that is removed in the end, if need be by a later run."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    lock = hold(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def hold(folder: Path, mark: str = "") -> int:
    """Marks a folder as in use; returns the descriptor that has to stay open for that.

    Args:
        mark: what the reaper finds the processes by that use the folder.
    """
    (folder / _MARK).write_text(mark)
    lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return lock


def clear_leftovers(places: Iterable[Path] | None = None) -> None:
    """Removes this user's folders of runs that were killed, and ends what still uses them.

    A process of its own does that: nobody waits for it.

    Args:
        places: where to look; by default the folders for temporary files.
    """
    for place in places or {Path(tempfile.gettempdir()), Path("/tmp")}:
        for folder in (*place.glob(f"{RAY_PREFIX}*"), *place.glob(f"{PREFIX}*")):
            with contextlib.suppress(OSError):
                if (lock := _take_over(folder)) is not None:
                    try:
                        start_reaper(_mark_of(folder), folder, lock, stdin=subprocess.DEVNULL)
                    finally:
                        os.close(lock)


def start_reaper(
    mark: str, folder: Path, lock: int, stdin: int, environment: dict[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Starts the process that clears a folder when its standard input ends, and holds its lock."""
    return subprocess.Popen(
        [sys.executable, "-I", "-S", reaper.__file__, mark, str(folder)],
        stdin=stdin,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # a ctrl-C is not for it
        pass_fds=[lock],
        env=environment,
    )


def _take_over(folder: Path) -> int | None:
    """The lock of a folder that nobody uses any more; None: it is another user's, or in use."""
    state = folder.lstat()
    if state.st_uid != os.getuid() or not folder.is_dir() or folder.is_symlink():
        return None
    path = folder / _LOCK
    known = path.exists()
    age = time.time() - (path.lstat().st_mtime if known else state.st_mtime)
    if age < (_YOUNG_S if known else _OLD_S):
        return None
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    return lock


def _mark_of(folder: Path) -> str:
    """What the processes that use a folder carry; of none if it is not known."""
    with contextlib.suppress(OSError):
        if mark := (folder / _MARK).read_text():
            return mark
    return "none"
