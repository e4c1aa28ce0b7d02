"""Writes what trials print to their logs, with a bound.  Run as a program, one beside each worker.

    python -I -S pump.py DESCRIPTOR        of a Unix socket to the worker

A trial's standard output and standard error are a pipe; this process reads it, so that no print
waits for the worker's interpreter and no full disk reaches the trial.  The worker sends a line of
JSON each time: `{"log": PATH}` with the pipe's reading end when a trial begins, `{"tail": N}` to
have the end of what it printed.  The program ends when the worker and all that write to its pipes
have ended.  Standard library only, no import of `hpo`: it starts in 20 ms and takes 8 MB.
"""

import contextlib
import json
import os
import re
import selectors
import signal
import socket
import sys
import time
from pathlib import Path

HEAD_BYTES = 256 * 1024
TAIL_BYTES = 768 * 1024
"""Of each log these are kept; what is between them is left out."""
FOLDER_BYTES = 256 * 1024 * 1024
"""Of all logs in one folder; beyond, the oldest are removed."""
_LINE_BYTES = 64 * 1024
"""A line without an end is kept as it is from here on."""
_FLUSH_S = 0.5
_LEFT_OUT = b"\n[hpo: %d bytes left out]\n"
LEFT_OUT = re.compile(rb"\n\[hpo: (\d+) bytes left out\]\n")
_OVERWRITTEN = re.compile(rb"(?m)^[^\n]*\r(?!\n)")


class Log:
    """The beginning and the end of one trial's output, in memory and on disk."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self._head, self._tail, self._line = bytearray(), bytearray(), b""
        self._n_left_out = 0
        self._n_settled = 0
        """Bytes of the file that will not change any more."""
        self._dirty = False
        with contextlib.suppress(OSError):  # a trial that was paused, a job that is made again
            self._add(self.path.read_bytes())

    def feed(self, data: bytes) -> None:
        """Adds output; of a line that is written over (a progress bar) the last state counts."""
        data = self._line + data
        end = data.rfind(b"\n") + 1
        whole, line = data[:end], data[end:]
        if b"\r" in whole:
            whole = _OVERWRITTEN.sub(b"", whole)
        if len(line) > 1:
            line = line[line.rfind(b"\r", 0, -1) + 1 :]
        if len(line) > _LINE_BYTES:
            whole, line = whole + line, b""
        self._line = line
        self._add(whole)
        self._dirty = True

    def _add(self, data: bytes) -> None:
        room = HEAD_BYTES - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        if (excess := len(self._tail) - TAIL_BYTES) > 0:
            del self._tail[:excess]
            self._n_left_out += excess

    def content(self) -> bytes:
        """What the file is to hold."""
        gap = _LEFT_OUT % self._n_left_out if self._n_left_out else b""
        return bytes(self._head) + gap + bytes(self._tail) + self._line

    def flush(self) -> None:
        """Brings the file up to date; a disk that is full or gone is tried again next time."""
        if not self._dirty:
            return
        content = self.content()
        start = min(self._n_settled, HEAD_BYTES) if self._n_left_out else self._n_settled
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o600)
            try:
                if os.fstat(file).st_size < start:  # somebody has removed it
                    start = 0
                _write(file, content[start:], start)
                os.ftruncate(file, len(content))
            finally:
                os.close(file)
        except OSError:
            return
        self._n_settled = HEAD_BYTES if self._n_left_out else len(content) - len(self._line)
        self._dirty = False

    @property
    def size(self) -> int:
        return len(self._head) + len(self._tail)


def _write(file: int, data: bytes, at: int) -> None:
    while data:
        n = os.pwrite(file, data, at)
        data, at = data[n:], at + n


class Pump:
    """All pipes of one worker: of the trial that runs, and of earlier ones' children that live."""

    def __init__(self, control: socket.socket) -> None:
        self.control = control
        self.selector = selectors.DefaultSelector()
        self.selector.register(control, selectors.EVENT_READ)
        self.logs: dict[int, Log] = {}
        self.current: int | None = None
        self._text, self._descriptors = b"", []  # type: ignore[var-annotated]
        self._n_since_sweep = FOLDER_BYTES

    def run(self) -> None:
        """Until the worker is gone and its pipes are closed."""
        flushed = time.monotonic()
        dirty = False
        while self.selector.get_map():
            events = self.selector.select(_FLUSH_S / 2 if dirty else None)
            for key, _ in events:
                if key.fileobj is self.control:
                    self._hear()
                elif key.fd in self.logs:  # it may have been closed by what was just heard
                    self._read(key.fd)
                    dirty = True
            if dirty and (not events or time.monotonic() - flushed > _FLUSH_S):
                for log in self.logs.values():
                    log.flush()
                flushed, dirty = time.monotonic(), False

    def _hear(self) -> None:
        try:
            text, descriptors, _, _ = socket.recv_fds(self.control, 65536, 16)
        except ConnectionResetError:
            text, descriptors = b"", []
        if not text:
            self.selector.unregister(self.control)
            return
        self._descriptors += descriptors
        *lines, self._text = (self._text + text).split(b"\n")
        for line in lines:
            request = json.loads(line)
            if "log" in request:
                self._begin(request["log"], self._descriptors.pop(0))
            else:
                self._answer(request["tail"])

    def _begin(self, path: str, pipe: int) -> None:
        os.set_blocking(pipe, False)
        self.logs[pipe] = Log(path)
        self.current = pipe
        self.selector.register(pipe, selectors.EVENT_READ)

    def _read(self, pipe: int) -> bool:
        """Whether there was something, and may be more."""
        try:
            data = os.read(pipe, 1 << 20)
        except BlockingIOError:
            return False
        if data:
            self.logs[pipe].feed(data)
            return True
        self.selector.unregister(pipe)
        os.close(pipe)
        log = self.logs.pop(pipe)
        log.flush()
        self._sweep(log)
        return False

    def _answer(self, n_bytes: int) -> None:
        """Sends the end of the current trial's output, with all that is in the pipe by now."""
        tail = b""
        if self.current in self.logs:
            log = self.logs[self.current]
            deadline = time.monotonic() + 1
            while self._read(self.current) and time.monotonic() < deadline:
                pass
            log.flush()
            tail = log.content()[-n_bytes:]
        text = tail.decode("utf-8", "replace")
        with contextlib.suppress(OSError):
            self.control.sendall(json.dumps(text).encode() + b"\n")

    def _sweep(self, log: Log) -> None:
        """Removes the oldest logs of the folder if they have become too many."""
        self._n_since_sweep += log.size
        if self._n_since_sweep < FOLDER_BYTES // 16:
            return
        self._n_since_sweep = 0
        found = []
        with contextlib.suppress(OSError):
            for entry in os.scandir(log.path.parent):
                with contextlib.suppress(OSError):
                    if entry.name.endswith(".log"):
                        state = entry.stat()
                        found.append((state.st_mtime, state.st_size, entry.path))
        excess = sum(size for _, size, _ in found) - FOLDER_BYTES
        for _, size, path in sorted(found):
            if excess <= 0:
                break
            with contextlib.suppress(OSError):
                os.unlink(path)
            excess -= size


def main(descriptor: int) -> None:
    """Serves the worker at the other end of a socket."""
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)  # it ends when those that print have ended
    with socket.socket(fileno=descriptor) as control:
        Pump(control).run()


if __name__ == "__main__":
    main(int(sys.argv[1]))
