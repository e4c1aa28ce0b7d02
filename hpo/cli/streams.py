"""Standard output and standard error: never a reason to fail, and the answer's alone.

The answer of a command, above all a JSON or CSV document, stands alone on standard output, whatever
a user's code prints while it is imported or runs.  A stream that is closed, full or of another
encoding does not end a run.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import select
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from hpo.errors import HpoError


class OutputError(HpoError):
    """Standard output takes no more: the reader has gone, or the disk is full."""

    def __init__(self, reason: OSError) -> None:
        super().__init__(f"standard output: {reason.strerror}: the answer was not written")
        self.gone = reason.errno == errno.EPIPE


class _Forgiving(io.FileIO):
    """A descriptor that drops what it cannot write, and remembers why."""

    lost: OSError | None = None
    told = False

    def write(self, data: Any) -> int:
        rest = memoryview(data).cast("B")
        n_bytes = rest.nbytes
        while rest and self.lost is None:
            try:
                if (n_written := super().write(rest)) is None:
                    select.select([], [self], [])  # a pipe that does not block
                rest = rest[n_written or 0 :]
            except OSError as error:
                self.lost = error
        return n_bytes


class _Page(io.StringIO):
    """Text that is written to a stream as one piece."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(newline="")
        self.stream = stream

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self.stream.encoding

    def isatty(self) -> bool:
        return self.stream.isatty()


_answers: TextIO | None = None
"""Standard output, while everything else that is printed goes to standard error."""


def make_safe() -> None:
    """Makes this process's streams such that writing to them never raises.

    Streams that were replaced, as by a test, stay as they are.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:  # closed: the next file that is opened is not to take its place
            os.open(os.devnull, os.O_RDWR)
    if sys.stdout is sys.__stdout__ and _raw(sys.stdout) is None:
        sys.stdout = sys.__stdout__ = _opened(1, sys.stdout)  # type: ignore[misc]
    if sys.stderr is sys.__stderr__ and _raw(sys.stderr) is None:
        sys.stderr = sys.__stderr__ = _opened(2, sys.stderr)  # type: ignore[misc]


def _opened(descriptor: int, like: TextIO | None) -> io.TextIOWrapper:
    terminal = os.isatty(descriptor)
    # Without a buffer in between: should a thread hold its lock at the end, Python aborts.
    return io.TextIOWrapper(
        _Forgiving(descriptor, "w", closefd=False),
        encoding=getattr(like, "encoding", None) or "utf-8",
        errors="backslashreplace",
        line_buffering=terminal or descriptor == 2,
        write_through=bool(getattr(like, "write_through", False)),
    )


@contextlib.contextmanager
def user_code() -> Iterator[None]:
    """For commands that import a user's code: what it prints goes to standard error, and it sees
    none of the command's arguments.

    In a process of its own that stays so to the end: threads and exit handlers print late.
    """
    global _answers
    if _answers is not None:
        yield
        return
    argv, stdout = sys.argv, sys.stdout
    sys.argv = argv[:1]
    if _raw(stdout) is not None:  # a process of our own
        assert isinstance(stdout, io.TextIOWrapper)
        stdout.flush()
        _answers = _opened(os.dup(1), stdout)
        os.dup2(2, 1)
        stdout.reconfigure(line_buffering=True)
        yield
        return
    _answers, sys.stdout = stdout, sys.stderr
    try:
        yield
    finally:
        _answers, sys.stdout, sys.argv = None, stdout, argv


@contextlib.contextmanager
def answer() -> Iterator[None]:
    """What is printed while it lasts is the command's answer: it goes to standard output, in one
    piece.

    Raises:
        OutputError: standard output takes it no more.
    """
    if isinstance(sys.stdout, _Page):
        yield
        return
    before = sys.stdout
    stream = _answers or before
    sys.stdout = page = _Page(stream)
    try:
        yield
    finally:
        sys.stdout = before
    try:
        stream.write(page.getvalue())
        stream.flush()
    except OSError as error:  # a stream that is not this module's
        raise OutputError(error) from None
    check(stream)


def check(stream: TextIO | None = None) -> None:
    """Sees whether all that was printed has been written.

    Raises:
        OutputError: it was not; this is said once.
    """
    stream = stream or _answers or sys.stdout
    stream.flush()
    raw = _raw(stream)
    if raw is not None and raw.lost is not None and not raw.told:
        raw.told = True
        raise OutputError(raw.lost)


def _raw(stream: TextIO | None) -> _Forgiving | None:
    raw = getattr(stream, "buffer", None)
    return raw if isinstance(raw, _Forgiving) else None
