"""Failed trials: which of them teach a sampler, and what they teach it.

A configuration that raised, diverged, ran out of memory or of time would do so again: every sampler
that learns is told that it is as bad as the worst one.  A trial that was lost or interrupted says
nothing of its configuration.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

KIND = "fail_kind"
"""Trial attribute: why it failed; trials that this service did not run have none."""
CUT_OFF = ("lost", "interrupted")
"""Kinds of failure that say nothing of the configuration and use up no budget."""
_CONSTRAINT = "constraints:"
"""Optuna's system attributes of a trial: by how much it breaks a constraint, by its name."""


def teaches(trial: FrozenTrial) -> bool:
    """Whether a trial failed by its configuration; a value that is not finite is a failure."""
    if trial.state.name == "FAIL":
        return trial.user_attrs.get(KIND) not in CUT_OFF
    if trial.state.name != "COMPLETE":
        return False
    return not all(map(math.isfinite, trial.values))


def with_failures(
    study: Study, trials: Sequence[FrozenTrial], failed: Sequence[FrozenTrial]
) -> list[FrozenTrial]:
    """The trials as a sampler is to see them that would ignore a FAIL, by number.

    A failure is shown COMPLETE, with the worst value of each objective and as breaking each
    constraint by as much as any other.  Of more than nine for each COMPLETE trial the latest are
    shown: TPE takes a tenth of all trials for good ones, which no failure may be.

    Args:
        failed: the failures that teach, by number.
    """
    others = [trial for trial in trials if not teaches(trial)]
    complete = [trial for trial in others if trial.state.name == "COMPLETE"]
    n_pruned = sum(trial.state.name == "PRUNED" for trial in others)
    n_shown = max(0, 9 * len(complete) - n_pruned)
    if not n_shown:
        return others
    worst = [
        (min if direction.name == "MAXIMIZE" else max)(values)
        for direction, values in zip(
            study.directions, zip(*(trial.values for trial in complete), strict=True), strict=True
        )
    ]
    broken: dict[str, float] = {}
    for trial in complete:
        for name, by in trial.constraints.items():
            broken[name] = max(by, broken.get(name, by))
    shown = [*others, *(_complete(trial, worst, broken) for trial in failed[-n_shown:])]
    return sorted(shown, key=lambda trial: trial.number)


def _complete(trial: FrozenTrial, values: Sequence[float], broken: dict[str, float]) -> FrozenTrial:
    from optuna.trial import TrialState

    shown = copy.copy(trial)
    shown.state, shown.values = TrialState.COMPLETE, list(values)
    shown.system_attrs = {
        key: value for key, value in trial.system_attrs.items() if not key.startswith("constraints")
    } | {_CONSTRAINT + name: by for name, by in broken.items()}
    return shown
