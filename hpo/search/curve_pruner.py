"""Stops a trial when its curve so far leaves it hardly a chance to end among the best.

From the trials that ran to their end it learns, anew for each epoch, how level and recent rise go
with the final value, and asks how probable it is that this trial reaches the k-th best of them.
What rises is given its rise, so a slow start is not held against a trial as it is by a comparison
of levels alone.

Values become u = -log(1 + (best - value) / scale), the scale being the median distance to the
best: near the best, small differences count; far away, and after a divergence, hardly any do.
A ridge regression of the final u on three features predicts it; its leave-one-out errors and a
t distribution with n - 2 degrees of freedom say how far it can be trusted, little while few
trials have ended.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from optuna.pruners import BasePruner

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

Floats = npt.NDArray[np.float64]
_RIDGE = 1.0
_LEAST_ERROR = 0.1
"""No prediction of u is trusted further: epochs and seeds are noisy."""
_FARTHEST = 20.0
"""Scales behind the best, beyond which one bad value is as bad as another."""


class CurvePruner(BasePruner):
    """Stops a trial whose chance to end among the best is small.

    Args:
        epochs: of a full trial; none is stopped in its last one.
        n_warmup: the first epoch after which it decides.
        n_startup: trials that must have ended before it decides at all.
        top: a trial is worth going on if it may reach the value of the best so many.
        chance: it is stopped if the probability of that is smaller.
    """

    def __init__(
        self, epochs: int, *, n_warmup: int, n_startup: int, top: int = 3, chance: float = 0.05
    ) -> None:
        self.epochs = epochs
        self.n_warmup = n_warmup
        self.n_startup = n_startup
        self.top = top
        self.chance = chance
        self._known: dict[tuple[str, int, object], Floats] = {}

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        from optuna.trial import TrialState

        epoch = trial.last_step
        if epoch is None or not self.n_warmup <= epoch < self.epochs:
            return False
        ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        ended = [t for t in ended if t.value is not None and math.isfinite(t.value)]
        if len(ended) < self.n_startup:
            return False
        sign = 1.0 if study.direction.name == "MAXIMIZE" else -1.0
        rows, finals = [], []
        for one in ended:
            curve = self._curve(study, one, sign)
            if math.isfinite(curve[min(epoch, self.epochs) - 1]):
                rows.append(curve[:epoch])
                finals.append(sign * float(one.value or 0.0))
        mine = _best_so_far(trial, sign, self.epochs)[:epoch]
        if len(finals) < self.n_startup or not math.isfinite(mine[-1]):
            return False
        return chance(mine, np.array(rows), np.array(finals), self.top) < self.chance

    def _curve(self, study: Study, trial: FrozenTrial, sign: float) -> Floats:
        key = (study.study_name, trial._trial_id, trial.datetime_complete)
        if key not in self._known:
            self._known[key] = _best_so_far(trial, sign, self.epochs)
        return self._known[key]


def chance(mine: Floats, curves: Floats, finals: Floats, top: int) -> float:
    """How probable it is that a trial ends with at least the value of the `top`-th best.

    Args:
        mine: best value so far after each epoch, [t]; higher is better.
        curves: the same of the trials that have ended, [n, t].
        finals: their values, [n].
    """
    from scipy.special import stdtr

    ranked = np.sort(finals)[::-1]
    best, goal = ranked[0], ranked[min(top, len(ranked)) - 1]
    scale = float(np.median(best - finals))
    if scale <= 0 or mine[-1] >= goal:
        return 1.0

    def u(values: Floats) -> Floats:
        return np.asarray(-np.log1p(np.clip((best - values) / scale, 0.0, _FARTHEST)))

    features, target = _features(u(curves)), u(finals)
    mean, spread = features.mean(axis=0), features.std(axis=0) + 1e-6
    x = (features - mean) / spread  # [n, 3]
    here = (_features(u(mine[None])) - mean)[0] / spread
    inverse = np.linalg.inv(x.T @ x + _RIDGE * np.eye(x.shape[1]))
    weights = inverse @ x.T @ (target - target.mean())
    n = len(finals)
    leverage = np.einsum("ij,jk,ik->i", x, inverse, x) + 1 / n
    errors = (target - target.mean() - x @ weights) / (1 - np.minimum(leverage, 0.9))
    error = math.sqrt(float(np.mean(errors**2)) + _LEAST_ERROR**2)
    error *= math.sqrt(1 + 1 / n + float(here @ inverse @ here))
    predicted = target.mean() + here @ weights
    return float(stdtr(max(n - 2, 2), (predicted - u(np.array([goal]))[0]) / error))


def _features(u: Floats) -> Floats:
    """Level, rise since half of the epochs, rise in the last quarter: [n, t] -> [n, 3]."""
    t = u.shape[1]
    level = u[:, -1]
    half, quarter = u[:, max(t // 2 - 1, 0)], u[:, max(t - 1 - max(1, t // 4), 0)]
    return np.stack([level, level - half, level - quarter], axis=1)


def _best_so_far(trial: FrozenTrial, sign: float, epochs: int) -> Floats:
    """After each epoch, [epochs]; what was not reported changes nothing, NaN before the first."""
    values = np.full(epochs, np.nan)
    for step, value in trial.intermediate_values.items():
        if 1 <= step <= epochs and math.isfinite(value):
            values[step - 1] = sign * value
    best = np.fmax.accumulate(values)
    reported = np.flatnonzero(np.isfinite(best))
    if len(reported):  # a first epoch without a value counts as the one after it
        best[: reported[0]] = best[reported[0]]
    return best
