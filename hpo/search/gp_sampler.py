"""GPSampler: Bayesian optimization with a Gaussian process, for few and costly trials.

Beside Optuna's: a start that is spread evenly and begins at the middle, values and inputs warped
until a Gaussian process fits them, conditional parameters seen together with the others, running
trials as fantasies, pruned ones with what they had reached, and a bounded time to propose.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from statistics import median
from typing import Any

import numpy as np
from optuna.samplers import RandomSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState
from scipy.stats import qmc, yeojohnson
from threadpoolctl import threadpool_limits

from hpo.search.acquisition import N_START, log_expected_improvement, maximize
from hpo.search.encoding import Encoding, Rows
from hpo.search.gaussian_process import GaussianProcess
from hpo.search.space_sampler import SpaceSampler, study_trials
from hpo.space import Space

MAX_POINTS = 250
"""Observations that a fit sees; the time it takes grows with their cube."""
N_FANTASIES = 16
LEAST_VALUES = 4
"""Values without which nothing is fitted."""


class GPSampler(SpaceSampler):
    """Proposes where the expected improvement is largest.

    Args:
        space: the space to search.
        seed: of the start and of the candidates.
        n_startup_trials: trials of the evenly spread start.
    """

    def __init__(self, space: Space, *, seed: int, n_startup_trials: int = 10) -> None:
        super().__init__(space, RandomSampler(seed=seed), seed=seed)
        self.encoding = Encoding(space)
        self.n_startup = n_startup_trials
        self._start = self._design(seed)
        self._gp: GaussianProcess | None = None
        self._rows: dict[tuple[str, int], Rows | None] = {}  # of finished trials

    def __str__(self) -> str:
        return type(self).__name__

    def _design(self, seed: int) -> Rows:
        n = 2 ** math.ceil(math.log2(max(2, self.n_startup)))
        sobol = qmc.Sobol(len(self.encoding.columns), scramble=True, seed=seed)
        start = self.encoding.of_shares(sobol.random(n))
        middle = np.where(np.isnan(self.encoding.default), start[0], self.encoding.default)
        return np.concatenate([middle[None, :], start])

    def _drawn(self, study: Study, trial: FrozenTrial) -> Iterator[dict[str, Any]]:
        if not self.encoding.columns:
            yield self.space.default()
            return
        with threadpool_limits(1):
            proposals = self._proposals(study, trial)
        yield from map(self.encoding.decode, proposals)

    def _proposals(self, study: Study, trial: FrozenTrial) -> Rows:
        """[C, P] the best candidates, the first one first."""
        x, y, pending = self._observations(study, trial)
        n_asked = len(x) + len(pending)
        if n_asked < self.n_startup or len(np.unique(y)) < LEAST_VALUES:
            rest = self._start[n_asked:]  # what is beyond the start is as good at random
            return rest if len(rest) else self._anywhere(1)
        return self._maximum(x, y, pending)

    def _anywhere(self, n: int) -> Rows:
        """[n, P] random points."""
        return self.encoding.of_shares(self._rng.random((n, len(self.encoding.columns))))

    def _observations(self, study: Study, current: FrozenTrial) -> tuple[Rows, Rows, Rows]:
        """[N, P], [N] (smaller is better), [M, P]: what is known, and what is under way.

        A pruned trial counts as what it had reached, and what others gained from there on.
        """
        sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0
        trials = [
            trial
            for trial in study_trials(study)
            if trial.number != current.number and trial.state != TrialState.WAITING
        ]
        complete = [t for t in trials if t.state == TrialState.COMPLETE]
        rows: list[Rows] = []
        values: list[float] = []
        pending: list[Rows] = []
        for trial in trials:
            row = self._row(study, trial)
            if row is None:
                continue
            if trial.state == TrialState.RUNNING:
                pending.append(row)
                continue
            value = (
                trial.value if trial.state == TrialState.COMPLETE else _expected(trial, complete)
            )
            if value is not None and math.isfinite(value):
                rows.append(row)
                values.append(sign * value)
        p = len(self.encoding.columns)
        x, y = np.array(rows).reshape(-1, p), np.array(values)
        kept = _kept(y)
        return x[kept], y[kept], np.array(pending).reshape(-1, p)

    def _row(self, study: Study, trial: FrozenTrial) -> Rows | None:
        """[P] positions of a trial, anything where it has none; None if it is of another space."""
        name = (study.study_name, trial.number)
        if name not in self._rows:
            row = None
            if not self.space.validate(trial.params):
                row = np.nan_to_num(self.encoding.encode(trial.params))
            if not trial.state.is_finished():
                return row
            self._rows[name] = row
        return self._rows[name]

    def _maximum(self, x: Rows, y: Rows, pending: Rows) -> Rows:
        values = warped(y)
        z = self.encoding.features(x)
        if self._gp is None:
            self._gp = GaussianProcess(self.encoding.groups, self.encoding.is_number)
        gp = self._gp
        gp.fit(z, values)
        fitted = gp.predict(z)[0]
        best: Any = fitted.min()
        order = np.argsort(fitted)
        if len(pending):
            zp = self.encoding.features(pending)
            draws = gp.sample(zp, N_FANTASIES, self._rng)
            all_values = np.concatenate(
                [np.repeat(values[:, None], N_FANTASIES, axis=1), draws], axis=0
            )
            gp.condition(np.concatenate([z, zp]), all_values)
            best = np.minimum(best, gp.predict(zp)[0].min(axis=0))

        def value(candidates: Rows) -> Rows:
            mean, sd = gp.predict(self.encoding.features(candidates))
            return log_expected_improvement(mean, sd, best)

        return maximize(value, self.encoding, self._anywhere(N_START), x[order[:4]], self._rng)


def _expected(trial: FrozenTrial, complete: list[FrozenTrial]) -> float | None:
    """Where a pruned trial would have ended: its last value, and the median of what the others
    gained from that step to their end."""
    if trial.state != TrialState.PRUNED or trial.last_step is None:
        return None
    step = trial.last_step
    gains = [
        other.value - other.intermediate_values[step]
        for other in complete
        if other.value is not None and step in other.intermediate_values
    ]
    return trial.intermediate_values[step] + (median(gains) if gains else 0.0)


def _kept(y: Rows) -> Any:
    """Indices of what a fit sees: everything, or the best half and the latest of the others."""
    if len(y) <= MAX_POINTS:
        return np.arange(len(y))
    best = np.argsort(y, kind="stable")[: MAX_POINTS // 2]
    others = np.setdiff1d(np.arange(len(y)), best)[-(MAX_POINTS - len(best)) :]
    return np.sort(np.concatenate([best, others]))


def warped(y: Rows) -> Rows:
    """[N] values of zero mean and unit variance, as nearly normal as Yeo and Johnson's power
    transform makes them (2000)."""
    y = y / max(float(np.abs(y).max()), 1e-300)  # squares of huge values have no float
    scale = y.std()
    if not scale > 0:
        return np.zeros_like(y)
    standard = (y - y.mean()) / scale
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found, _ = yeojohnson(standard)
        except (ValueError, RuntimeError):
            found = standard
    if not np.isfinite(found).all() or not 1e-9 < found.std() < 1e9:
        found = standard
    return np.asarray((found - found.mean()) / found.std())
