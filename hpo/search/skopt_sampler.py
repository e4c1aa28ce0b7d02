"""SkoptSampler: scikit-optimize's Bayesian optimization as an Optuna sampler.

Every proposal is made by a fresh `skopt.Optimizer` that is told the study's trials, so a run
that goes on later, or elsewhere, needs no state.  A proposal costs one fit of the surrogate,
as it would in a long-lived optimizer, which fits at every `tell`.
"""

from __future__ import annotations

import math
import warnings
from statistics import fmean
from typing import Any

import numpy as np
import skopt
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from hpo.errors import SpecError
from hpo.search.warp import clipped
from hpo.space import Space

BASE_ESTIMATORS = ("GP", "ET", "RF")
ACQ_FUNCS = ("EI", "LCB", "PI")
N_CANDIDATES = 2000
"""Random points at which the acquisition function is first evaluated: skopt's 10,000 cost
twice the time and gain nothing in spaces of a few dimensions."""


class SkoptSampler(BaseSampler):
    """Gaussian process, extra trees or random forest, and an acquisition function.

    A finished trial counts with its value, a pruned one with its last intermediate value, and one
    without a finite value not at all.  A running trial is taken to end at the mean of the
    finished ones (constant liar), which keeps parallel proposals apart.

    Args:
        space: the space to search; inactive parameters are told at their defaults.
        seed: of the surrogate and of the candidates.
        base_estimator: GP, ET or RF.
        n_initial_points: random proposals until this many trials have a value.
        acq_func: EI, LCB, PI, or hedge: each time one of them at random.  That is what skopt's
            own `gp_hedge` does as long as it has no past, at three times the cost.
    """

    def __init__(
        self,
        space: Space,
        seed: int,
        *,
        base_estimator: str = "GP",
        n_initial_points: int = 10,
        acq_func: str = "hedge",
    ) -> None:
        problems = []
        if base_estimator not in BASE_ESTIMATORS:
            known = ", ".join(BASE_ESTIMATORS)
            problems.append(f"base_estimator: {base_estimator!r} is unknown: choose from {known}")
        if n_initial_points < 1:
            problems.append(f"n_initial_points: {n_initial_points} must be 1 or more")
        if acq_func not in ("hedge", *ACQ_FUNCS):
            known = ", ".join(("hedge", *ACQ_FUNCS))
            problems.append(f"acq_func: {acq_func!r} is unknown: choose from {known}")
        if problems:
            raise SpecError(problems)
        self._space = space
        self._rng = np.random.RandomState(seed)
        self._random = RandomSampler(seed=seed)
        self._base_estimator = base_estimator
        self._n_initial_points = n_initial_points
        self._acq_func = acq_func

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self._space.distributions()

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        points, losses = self._observations(study, trial)
        if len(losses) < self._n_initial_points:
            return {}
        acq_func = self._acq_func
        if acq_func == "hedge":
            acq_func = ACQ_FUNCS[self._rng.randint(len(ACQ_FUNCS))]
        optimizer = skopt.Optimizer(
            self._space.skopt_dimensions(),
            base_estimator=self._base_estimator,
            n_initial_points=1,  # Ours are counted above.
            acq_func=acq_func,
            acq_optimizer_kwargs={"n_points": N_CANDIDATES},
            random_state=self._rng.randint(2**31 - 1),
        )
        pending = points[len(losses) :]
        with warnings.catch_warnings():
            # skopt warns when it replaces a proposal that it was told by a random one.
            warnings.filterwarnings("ignore", "The objective has been evaluated", UserWarning)
            seen = clipped(np.array(losses)).tolist()
            optimizer.tell(points, seen + [fmean(seen)] * len(pending))
            return self._space.from_skopt(optimizer.ask())

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        return self._random.sample_independent(study, trial, param_name, param_distribution)

    def reseed_rng(self) -> None:
        self._rng.seed()
        self._random.reseed_rng()

    def _observations(
        self, study: Study, current: FrozenTrial
    ) -> tuple[list[list[Any]], list[float]]:
        """Points with a loss (smaller is better) first, then the pending ones, without."""
        sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0
        points, losses, pending = [], [], []
        for trial in study.get_trials(deepcopy=False):
            # A point of an earlier, different space would be refused by skopt.
            if trial.number == current.number or self._space.validate(trial.params):
                continue
            if trial.state == TrialState.RUNNING:
                pending.append(self._space.to_skopt(trial.params))
                continue
            value = observed_value(trial)
            if value is not None and math.isfinite(value):
                points.append(self._space.to_skopt(trial.params))
                losses.append(sign * float(value))
        return points + pending, losses


def observed_value(trial: FrozenTrial) -> float | None:
    """What a trial is worth to a surrogate: its value, or how far it got before it was pruned."""
    if trial.state == TrialState.COMPLETE:
        return trial.value
    if trial.state == TrialState.PRUNED and trial.last_step is not None:
        return trial.intermediate_values[trial.last_step]
    return None
