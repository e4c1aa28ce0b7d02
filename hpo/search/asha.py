"""Asynchronous successive halving that can take its word back: pause, and promote later.

Of the trials that reach a rung the best 1/eta go on.  Which these are is known only when all have
come by: a trial that falls short is paused where its checkpoint allows it, and promoted once
enough others have turned out worse.  Source: Li et al. 2020, "A system for massively parallel
hyperparameter tuning", algorithm 2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

from optuna.pruners import BasePruner

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial


class AshaPruner(BasePruner):
    """Stops a trial at a rung unless it is among the best 1/eta of those that have reached it.

    A rung compares what trials reported in that very epoch; failed trials do not count.  Whoever
    can pause trials asks `promotable` and `hopeless` about them; without that it is what Optuna's
    `SuccessiveHalvingPruner` is.

    Args:
        rungs: epochs after which it decides, ascending.
        eta: of so many trials at a rung one goes on.
    """

    def __init__(self, rungs: Sequence[int], eta: int) -> None:
        self.rungs = tuple(rungs)
        self.eta = eta

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        step = trial.last_step
        if step not in self.rungs:
            return False
        here = _values(study, study.get_trials(deepcopy=False), step)
        here[trial.number] = _goodness(study)(trial.intermediate_values[step])
        # The first ones of a rung have nobody to wait for: the best so far goes on.
        return _rank(here, trial.number) > max(1, len(here) // self.eta)

    def promotable(
        self, study: Study, trials: Sequence[FrozenTrial], paused: Collection[int]
    ) -> int | None:
        """The paused trial that is to go on: of the highest rung that has one, the best.

        Args:
            trials: all of the study.
            paused: their numbers.
        """
        for rung in reversed(self.rungs):
            here = _values(study, trials, rung)
            n_going_on = len(here) // self.eta
            waiting = [n for n in _at(trials, paused, rung) if _rank(here, n) <= n_going_on]
            if waiting:
                return min(waiting, key=lambda number: (_rank(here, number), number))
        return None

    def hopeless(
        self,
        study: Study,
        trials: Sequence[FrozenTrial],
        paused: Collection[int],
        n_to_come: int,
    ) -> list[int]:
        """Paused trials that would not be promoted even if all others turned out worse.

        Args:
            n_to_come: trials that are not opened yet.
        """
        found: list[int] = []
        for rung in self.rungs:
            here = _values(study, trials, rung)
            coming = sum(
                not trial.state.is_finished() and trial.number not in here for trial in trials
            )
            n_going_on = (len(here) + coming + n_to_come) // self.eta
            found += [n for n in _at(trials, paused, rung) if _rank(here, n) > n_going_on]
        return found


def _values(study: Study, trials: Sequence[FrozenTrial], rung: int) -> dict[int, float]:
    """By number, what the trials reported at a rung: higher is better."""
    goodness = _goodness(study)
    return {
        trial.number: goodness(trial.intermediate_values[rung])
        for trial in trials
        if rung in trial.intermediate_values and trial.state.name != "FAIL"
    }


def _goodness(study: Study) -> Callable[[float], float]:
    """Turns a value so that higher is better and NaN the worst."""
    sign = 1.0 if study.direction.name == "MAXIMIZE" else -1.0
    return lambda value: -math.inf if math.isnan(value) else sign * value


def _rank(values: dict[int, float], number: int) -> int:
    """1 for the best; equal ones share the better rank."""
    return 1 + sum(value > values[number] for value in values.values())


def _at(trials: Sequence[FrozenTrial], paused: Collection[int], rung: int) -> list[int]:
    """Numbers of those paused at this rung."""
    return [t.number for t in trials if t.number in paused and t.last_step == rung]
