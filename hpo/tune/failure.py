"""What is told of a trial that failed: why, where in the user's code, and the traceback."""

from __future__ import annotations

import re
import traceback
from dataclasses import dataclass

from hpo.place import place_of
from hpo.registry import ModelRef
from hpo.storage.attempts import FailKind
from hpo.tune.report import kind_of, one_line


@dataclass(frozen=True)
class Failure:
    """Why a training ended without a result.

    Attributes:
        error: one line, with file and line of the user's code where it came from there.
        alike: failures of one cause have the same: type and place, else the line itself; None:
            it came of the parameters.
    """

    error: str
    kind: FailKind
    traceback: str
    alike: str | None


def failure_of(error: BaseException, ref: ModelRef) -> Failure:
    """What is told of an error that a training with this model raised, in its launch folder."""
    place = place_of(error, root=ref.root, module=ref.module, sources=ref.sources)
    line = one_line(error)
    alike = f"{place}: {type(error).__name__}" if place else line
    return Failure(
        error=f"{place}: {line}"[:500] if place else line,
        kind=kind_of(error),
        traceback="".join(traceback.format_exception(error)),
        alike=None if line.startswith("diverged") else alike,
    )


def without_place(reason: str) -> str:
    """A failure's line without its file and line, which depend on where the study was started.

    >>> without_place("src/mine.py:11: KeyError: 'b'")
    "KeyError: 'b'"
    """
    return re.sub(r"^[^:]+\.py:\d+: ", "", reason)
