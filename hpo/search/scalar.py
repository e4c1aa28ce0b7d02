"""Several objectives and constraints for a sampler that knows one objective and no constraint.

It is shown the study with one value a trial, smaller is better, which it may as well minimise:

- several objectives: their augmented Chebyshev distance from the ideal point, under weights that
  are drawn anew for each proposal, so that proposals spread along the front (ParEGO, Knowles 2006);
- constraints: a trial that breaks one counts worse than every trial that breaks none, and the more
  so the more it breaks.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from hpo.pareto import front_of
from hpo.search.failures import teaches
from hpo.search.gp_sampler import GPSampler
from hpo.search.seen import SeenStorage, SeenStudy
from hpo.search.tried import study_trials

Array = NDArray[np.float64]
DECADES = 30.0
"""Largest through smallest value of an amount that spans decades, at least."""
SQUEEZED = 0.2
"""Share of the range that holds half of the values of such an amount."""
AUGMENTATION = 0.05
"""Weight of the sum beside the maximum, as in Knowles 2006: of points that are equally far, the one
that dominates is nearer."""


class ScalarStudy(SeenStudy):
    """A study with one objective, which is minimised, and given trials."""

    def __init__(self, study: Study, trials: list[FrozenTrial]) -> None:
        super().__init__(study, _OneObjective(study._storage))
        self.show(trials)


class _OneObjective(SeenStorage):
    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        return [StudyDirection.MINIMIZE]


class ScalarGPSampler(GPSampler):
    """`GPSampler` for any number of objectives and constraints; for one objective without
    constraints it is the same."""

    def propose(self, study: Study, trial: FrozenTrial) -> dict[str, Any]:
        trials = study_trials(study)
        if len(study.directions) == 1 and not any(t.constraints for t in trials):
            return super().propose(study, trial)
        return super().propose(scalar_study(study, trials, self._rng), trial)


def scalar_study(
    study: Study, trials: Sequence[FrozenTrial], rng: np.random.Generator
) -> ScalarStudy:
    """The study with one value a trial that has any.

    Args:
        rng: draws the weights of several objectives.
    """
    signs = np.array([-1.0 if d == StudyDirection.MAXIMIZE else 1.0 for d in study.directions])
    done = [t for t in trials if t.state == TrialState.COMPLETE and not teaches(t)]
    scales = _scales(trials)
    kept = [t for t in done if _broken(t, scales) == 0]
    values: dict[int, float] = {}
    if kept:
        losses = np.array([t.values for t in kept]) * signs
        weights = rng.dirichlet(np.ones(len(signs)))
        scores = losses[:, 0] if len(signs) == 1 else chebyshev(losses, weights)
        values = {t.number: float(v) for t, v in zip(kept, scores, strict=True)}
    worst = max(values.values(), default=0.0)
    reach = worst - min(values.values(), default=0.0) or 1.0
    shown = []
    for trial in trials:
        if teaches(trial) or trial.state not in (TrialState.COMPLETE, TrialState.PRUNED):
            shown.append(trial)
            continue
        one = copy.copy(trial)
        by = _broken(trial, scales)
        if by > 0 or trial.state == TrialState.COMPLETE:
            one.state = TrialState.COMPLETE
            one.intermediate_values = {} if by > 0 else _signed(trial, float(signs[0]))
            one.values = [worst + reach * (0.1 + by) if by > 0 else values[trial.number]]
        else:
            one.intermediate_values = _signed(trial, float(signs[0]))
        shown.append(one)
    return ScalarStudy(study, shown)


def _signed(trial: FrozenTrial, sign: float) -> dict[int, float]:
    return {step: sign * value for step, value in trial.intermediate_values.items()}


def chebyshev(losses: Array, weights: Array) -> Array:
    """[N] augmented Chebyshev distance of losses [N, K] from the best of each, by weights [K].

    In shares of the front's range, not of all losses': the largest of a network's sizes would push
    all others together.  An amount that spans decades, with most values at its low end, counts by
    its logarithm.
    """
    low, high = losses.min(axis=0), losses.max(axis=0)
    low_end = np.quantile(losses, 0.5, axis=0) - low < SQUEEZED * (high - low)
    wide = low_end & (low > 0) & (high > DECADES * np.abs(low))
    losses = np.where(wide, np.log(np.where(wide, losses, 1.0)), losses)
    front = losses[front_of(losses, [-1] * losses.shape[1])]
    low, high = front.min(axis=0), front.max(axis=0)
    shares = (losses - low) / np.where(high > low, high - low, 1.0)
    weighted = weights * shares
    return np.asarray(weighted.max(axis=1) + AUGMENTATION * weighted.sum(axis=1))


def _scales(trials: Sequence[FrozenTrial]) -> dict[str, float]:
    """The most that each constraint is broken by."""
    found: dict[str, float] = {}
    for trial in trials:
        for name, by in trial.constraints.items():
            found[name] = max(found.get(name, 0.0), by)
    return found


def _broken(trial: FrozenTrial, scales: dict[str, float]) -> float:
    """How much a trial breaks constraints, each in shares of the most; 0 if it breaks none."""
    return sum(by / scales[name] for name, by in trial.constraints.items() if by > 0)
