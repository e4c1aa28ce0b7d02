"""Every error this package raises on purpose.

HpoError            exit code 1
├── SpecError       exit code 2: the input is wrong; lists every problem found
│   └── InputError  one item of a request to a saved model is wrong
├── StorageError    exit code 2: the database cannot be opened or used
└── TrialError      ends one trial as FAIL with a one-line reason, never the study
"""

from __future__ import annotations

from collections.abc import Iterable


class HpoError(Exception):
    """Something the user can understand and act on; printed without a traceback."""

    exit_code = 1


class SpecError(HpoError):
    """Wrong input.  `problems` holds one line each: field, value received, rule, remedy."""

    exit_code = 2

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class InputError(SpecError):
    """A saved model cannot take an item; `index` is its place in the request."""

    def __init__(self, index: int, message: str) -> None:
        self.index = index
        super().__init__(message)


class StorageError(HpoError):
    """The storage cannot be reached, opened or written."""

    exit_code = 2


class TrialError(HpoError):
    """A trial cannot go on: it diverged, reported no metric or ran out of memory."""
