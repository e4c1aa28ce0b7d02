"""What became of trials, in more words than Optuna has: an interrupted trial is no failure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from hpo.storage.attempts import CUT_OFF, KIND, PAUSED, WAITING

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

OUTCOMES = (
    "complete", "pruned", "failed", "interrupted", "lost", "running", "paused", "waiting",
)  # fmt: skip
"""FAIL is failed (its own code, memory or time), interrupted (a signal ended the run) or lost (its
worker or driver died); RUNNING is running, paused (by the pruner) or waiting (for a worker)."""


def outcome_of(trial: FrozenTrial) -> str:
    """One of OUTCOMES."""
    state, attrs = trial.state.name, trial.user_attrs
    if state == "FAIL":
        kind = attrs.get(KIND)
        return str(kind) if kind in CUT_OFF else "failed"
    if state == "RUNNING":
        return next((key for key in (PAUSED, WAITING) if attrs.get(key) is not None), "running")
    return state.lower()


def outcomes(states: Mapping[str, int], refined: Mapping[str, int]) -> dict[str, int]:
    """Numbers of trials by outcome, only those that occur, in the order of OUTCOMES.

    Args:
        states: numbers by Optuna's state.
        refined: of those, how many are interrupted, lost, paused and waiting.

    >>> outcomes({"COMPLETE": 3, "FAIL": 2}, {"interrupted": 1})
    {'complete': 3, 'failed': 1, 'interrupted': 1}
    """
    found = {name: refined.get(name, 0) for name in ("interrupted", "lost", "paused", "waiting")}
    found["failed"] = states.get("FAIL", 0) - found["interrupted"] - found["lost"]
    found["running"] = states.get("RUNNING", 0) - found["paused"] - found["waiting"]
    found["waiting"] += states.get("WAITING", 0)
    found |= {"complete": states.get("COMPLETE", 0), "pruned": states.get("PRUNED", 0)}
    return {name: found[name] for name in OUTCOMES if found[name] > 0}


def outcomes_text(numbers: Mapping[str, int]) -> str:
    """`3 complete, 1 interrupted`"""
    return ", ".join(f"{numbers[name]} {name}" for name in OUTCOMES if numbers.get(name))
