"""What a worker tells the driver.  Knows no Ray, which must not be imported before it is set up."""

from __future__ import annotations

from hpo.errors import SpecError, TrialError
from hpo.storage.attempts import FailKind

REPORT = "hpo_report"
"""Key of a Tune result that holds one report as JSON (NaN and infinity included)."""


def one_line(error: BaseException) -> str:
    """Why a trial failed, in one line."""
    text = " ".join(_text_of(error).split())
    if isinstance(error, TrialError | SpecError):
        return text[:500]
    if kind_of(error) == "oom":
        return f"out of memory: {text[:300]}" if text else "out of memory"
    return f"{type(error).__name__}: {text}".removesuffix(": ")[:500]


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # of a class of the user's
        return "its message cannot be shown"


def kind_of(error: BaseException) -> FailKind:
    """oom if memory ran out, on the GPU or by the worker's limit, else error."""
    text = _text_of(error).lower()
    known = "out of memory" in text or "can't allocate memory" in text or "bad_alloc" in text
    return "oom" if known or isinstance(error, MemoryError) else "error"


def ends_the_worker(error: BaseException) -> bool:
    """Whether Ray ends this process by it (SIGTERM, say); any other exit is the user's code's, and
    ends its trial alone."""
    return hasattr(error, "ray_terminate_msg")
