"""Which configurations are to be tried again, and how: worked out from a study's trials.

Nothing is remembered elsewhere, so that whoever goes on with a study comes to the same answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from hpo.search.failures import CUT_OFF as CUT_OFF
from hpo.search.failures import KIND as KIND

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

FailKind = Literal["error", "oom", "timeout", "lost", "interrupted"]
"""Why a trial failed: its own code raised or gave no number (error), it ran out of memory, took
longer than --trial-timeout, its worker, node or driver died, a signal ended the run."""
_AGAIN = ("oom", "lost", "interrupted")
ORIGIN, REASON = "origin", "fail_reason"
"""Trial attributes: where a trial comes from; why it failed, in one line."""
OUTPUT = "output"
"""Trial attribute: the end of what a failed trial printed, wherever its log is."""
PAUSED = "paused"
"""Trial attribute: the epoch after which a RUNNING trial waits to be promoted; None: it goes on."""
WAITING = "waiting"
"""Trial attribute: what a RUNNING trial without a worker waits for; None: it has one."""


@dataclass(frozen=True)
class Attempt:
    """A configuration to be tried again.

    Attributes:
        number: which attempt this will be, from 2.
        of: trial number of the attempt before.
        alone: with no other trial beside it: it ran out of memory.
    """

    params: Mapping[str, Any]
    number: int
    of: int
    alone: bool


def origin_of(trial: FrozenTrial) -> Mapping[str, Any]:
    """Seed, versions, driver, attempt ... as written when the trial was opened."""
    found = trial.user_attrs.get(ORIGIN)
    return found if isinstance(found, Mapping) else {}


def used_budget(trial: FrozenTrial) -> bool:
    """Whether a trial counts: it has ended, and is not to be tried again for being cut off."""
    return trial.state.is_finished() and trial.user_attrs.get(KIND) not in CUT_OFF


def due(
    trials: Iterable[FrozenTrial],
    key: Callable[[Mapping[str, Any]], str],
    max_retries: int,
    *,
    all_failed: bool = False,
) -> list[Attempt]:
    """Configurations whose last attempt was cut off, and which no other attempt has finished.

    An attempt that a signal ended is not held against its configuration; of the others
    `max_retries` more are made, after running out of memory one, alone.

    Args:
        all_failed: once more each that has only failed, whatever it failed of, however often.
    """
    by_key: dict[str, list[FrozenTrial]] = {}
    for trial in trials:
        if trial.params:
            by_key.setdefault(key(trial.params), []).append(trial)
    attempts = (_next(of_one, max_retries, all_failed) for of_one in by_key.values())
    return sorted((a for a in attempts if a is not None), key=lambda attempt: attempt.of)


def _next(attempts: list[FrozenTrial], max_retries: int, all_failed: bool) -> Attempt | None:
    kinds = [t.user_attrs.get(KIND) if t.state.name == "FAIL" else None for t in attempts]
    n_failed = sum(kind != "interrupted" for kind in kinds)
    n_oom = kinds.count("oom")
    used_up = n_failed > max_retries or n_oom > min(1, max_retries)
    if None in kinds or (not all_failed and (used_up or kinds[-1] not in _AGAIN)):
        return None
    last = attempts[-1]
    return Attempt(dict(last.params), len(attempts) + 1, last.number, alone=n_oom > 0)
