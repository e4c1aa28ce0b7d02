"""What a trial prints, by Python, by C code and by processes that it starts: into its log.

The worker's standard output and error become a pipe to a `pump` of its own, trial by trial;
between trials nothing is kept.  So Ray's own files of a worker's output do not grow.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
from typing import TextIO

from hpo.tune import pump

TAIL = 2000
"""Characters of a failed trial's output that the ledger keeps."""
_ANSWER_S = 3.0
_LEAST_LIFE_S = 1.0
"""A pump that dies sooner is not replaced until the next trial."""


class _Worker:
    """This process's pump, which lives from trial to trial.

    The pipe's reading end stays open here too.  So a pump that dies in the middle of a trial breaks
    no pipe, and another one reads on; a thread waits for that.
    """

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.control: socket.socket | None = None
        self.captures = False
        self._log = ""
        self._receiving: int | None = None
        self._started = 0.0
        self._lock = threading.Lock()
        self._watcher: threading.Thread | None = None

    def begin(self, log: str) -> None:
        """Raises OSError: no process or no descriptor is left."""
        _flush()
        receiving, sending = os.pipe()
        try:
            with self._lock:
                self._close_pipe()
                self._log, self._receiving = log, receiving
                self._hand_over()
                _point_to(sending)
                self.captures = True
        finally:
            os.close(sending)
        if self._watcher is None or not self._watcher.is_alive():
            self._watcher = threading.Thread(target=self._watch, name="hpo-output", daemon=True)
            self._watcher.start()

    def end(self) -> None:
        _flush()  # without the lock: it may have to wait for another pump
        with self._lock:
            if not self.captures:
                return
            with contextlib.suppress(OSError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                try:
                    _point_to(nowhere)
                finally:
                    os.close(nowhere)
            self._close_pipe()

    def hang_up(self) -> None:
        """Does without the pump, which reads on by itself."""
        with self._lock:
            self._close_pipe()
            if self.control is not None:
                with contextlib.suppress(OSError):
                    self.control.shutdown(socket.SHUT_RDWR)  # the thread notices that
                self.control.close()
                self.control = self._watcher = None

    def _hand_over(self) -> None:
        """Has the pump read the pipe; it is started if there is none that lives."""
        if self.control is None or self.process is None or self.process.poll() is not None:
            self._start()
        assert self.control is not None and self._receiving is not None
        request = json.dumps({"log": self._log}).encode() + b"\n"
        socket.send_fds(self.control, [request], [self._receiving])

    def _start(self) -> None:
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
        self._started = time.monotonic()

    def _watch(self) -> None:
        """Replaces a pump that has died while a trial may print; takes its place if none starts."""
        unread: int | None = None
        while unread is None and (control := self.control) is not None:
            poll = select.poll()
            with contextlib.suppress(ValueError):  # it has been closed
                poll.register(control, 0)  # the end of the connection alone
                poll.poll()
            with self._lock:
                if control is self.control:
                    control.close()
                    self.control = None
                    unread = self._replace()
        if unread is not None:
            with open(unread, "rb", buffering=0) as pipe:
                while pipe.read(1 << 16):  # whoever prints must not wait
                    pass

    def _replace(self) -> int | None:
        """The pipe, if no other pump reads it."""
        if self._receiving is None:
            self._watcher = None
            return None
        with contextlib.suppress(OSError):
            if time.monotonic() - self._started > _LEAST_LIFE_S:
                self._hand_over()
                return None
        self.control = self._watcher = None
        return os.dup(self._receiving)

    def _close_pipe(self) -> None:
        if self._receiving is not None:
            os.close(self._receiving)
            self._receiving = None


_worker = _Worker()


def begin(log: str | None) -> None:
    """Sends what is printed from here on to a log; None: leaves it where it goes."""
    if log is None:
        return
    try:
        _worker.begin(log)
    except OSError:  # its output is not what a trial fails of
        _worker.hang_up()
        _worker.end()


def end() -> None:
    """Sends what is printed from here on nowhere, if it went to a log."""
    _worker.end()


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
    except TimeoutError:
        _worker.hang_up()  # a late answer would be taken for the next one's
        return ""
    except OSError:  # the pump has died
        return ""
    return str(json.loads(answer))


def _point_to(descriptor: int) -> None:
    """Makes a descriptor this process's standard output and error."""
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
