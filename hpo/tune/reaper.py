"""Outlives a driver that is killed, to end the Ray processes it started.  Run as a program.

    python -I -S reaper.py MARK FOLDER     with a pipe from the driver as standard input

The pipe closes when the driver ends, however it ends.  Ray's own processes then have a moment to
leave by themselves; those that have MARK in their environment and stay are killed, and the
session's folder is removed.  Standard library only, no import of `hpo`: it starts in 20 ms.
"""

import contextlib
import os
import shutil
import signal
import sys
import time

GRACE_S = 4.0
QUIET_S = 3.0
"""A process that is just being started comes to light only now."""
VARIABLE = "HPO_RUN_MARK"


def marked(mark: str) -> list[int]:
    """Processes of this user that were started with the mark; none where there is no /proc."""
    text = f"{VARIABLE}={mark}\0".encode()
    found = []
    for name in os.listdir("/proc") if os.path.isdir("/proc/self") else ():
        if not name.isdigit() or int(name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            with open(f"/proc/{name}/environ", "rb") as file:
                environment = file.read()
            with open(f"/proc/{name}/stat") as file:
                state = file.read().rpartition(")")[2].split()[0]
            if text in environment + b"\0" and state not in "ZX":
                found.append(int(name))
    return found


def main(mark: str, folder: str) -> None:
    """Waits for the driver's end, then for its processes', and clears away the rest."""
    sys.stdin.buffer.read()
    deadline = time.monotonic() + GRACE_S
    while marked(mark) and time.monotonic() < deadline:
        time.sleep(0.1)
    quiet_since = time.monotonic()
    while time.monotonic() < quiet_since + QUIET_S:
        for pid in marked(mark):
            quiet_since = time.monotonic()
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
