"""What a trial prints, by Python, by C code and by processes that it starts: into its log.

The worker's standard output and error become a pipe to a `pump` of its own, trial by trial;
between trials nothing is kept.  So Ray's own files of a worker's output do not grow.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import socket
import subprocess
import sys
from typing import TextIO

from hpo.tune import pump

TAIL = 2000
"""Characters of a failed trial's output that the ledger keeps."""
_ANSWER_S = 3.0


class _Worker:
    """This process's pump, which lives from trial to trial."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.control: socket.socket | None = None
        self.captures = False

    def connection(self) -> socket.socket:
        """To the pump, which is started if there is none that lives."""
        if self.control is None or self.process is None or self.process.poll() is not None:
            self.control, theirs = socket.socketpair()
            with theirs:
                self.process = subprocess.Popen(
                    [sys.executable, "-I", "-S", pump.__file__, str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
            self.control.settimeout(_ANSWER_S)
        return self.control


_worker = _Worker()


def begin(log: str | None) -> None:
    """Sends what is printed from here on to a log; None: leaves it where it goes."""
    if log is None:
        return
    try:
        control = _worker.connection()
        receiving, sending = os.pipe()
        try:
            socket.send_fds(control, [json.dumps({"log": log}).encode() + b"\n"], [receiving])
            _point_to(sending)
        finally:
            os.close(receiving)
            os.close(sending)
        _worker.captures = True
    except OSError:  # no process or no descriptor is left: its output is not what it fails of
        _worker.control = None
        end()


def end() -> None:
    """Sends what is printed from here on nowhere, if it went to a log."""
    if not _worker.captures:
        return
    with contextlib.suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            _point_to(nowhere)
        finally:
            os.close(nowhere)


def tail() -> str:
    """The end of what the current trial has printed; all of it is in its log then."""
    _flush()
    control = _worker.control
    if control is None:
        return ""
    answer = b""
    try:
        control.sendall(json.dumps({"tail": TAIL}).encode() + b"\n")
        while not answer.endswith(b"\n"):
            if not (part := control.recv(65536)):
                return ""
            answer += part
    except OSError:
        _worker.control = None  # a late answer would be taken for the next one's
        return ""
    return str(json.loads(answer))


def _point_to(descriptor: int) -> None:
    """Makes a descriptor this process's standard output and error."""
    _flush()
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    # A line at a time, so that a process that dies has said what it said; whatever a trial before
    # has put in their places.
    sys.stdout, sys.stderr = _stream(1), _stream(2)


def _stream(descriptor: int) -> TextIO:
    return io.TextIOWrapper(
        io.BufferedWriter(io.FileIO(descriptor, "w", closefd=False)),
        encoding="utf-8",
        errors="backslashreplace",  # what cannot be printed is no reason to fail
        line_buffering=True,
    )


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
