"""GPSampler: Bayesian optimization with a Gaussian process, for few and costly trials.

Beside Optuna's: a short start that is spread evenly and begins at the default, values on a
logarithmic scale above the best, conditional parameters seen together with the others, running
trials as fantasies, pruned ones with what they had reached, and a bounded time to propose.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from statistics import median
from typing import Any

import numpy as np
from optuna.samplers import RandomSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState
from scipy.stats import qmc
from threadpoolctl import ThreadpoolController

from hpo.search.acquisition import N_START, log_expected_improvement, maximize
from hpo.search.encoding import Encoding, Rows
from hpo.search.gaussian_process import GaussianProcess
from hpo.search.space_sampler import SpaceSampler
from hpo.search.tried import Past, study_trials
from hpo.search.warp import warped
from hpo.space import Space

N_STARTUP = 4
"""Trials of the start: where a model is fitted sooner, less is spent at random."""
MAX_POINTS = 250
"""Observations that a fit sees; the time it takes grows with their cube."""
N_FANTASIES = 16
EAGER = 20
"""Observations from which on only every other fit starts from the prior as well."""
LEAST_VALUES = 4
"""Values without which nothing is fitted."""
CAUTION = 2.0
"""Power of the chance that a trial does not fail, by which its expected improvement is weighed."""


class GPSampler(SpaceSampler):
    """Proposes where the expected improvement is largest.

    Args:
        space: the space to search.
        seed: of the start and of the candidates.
        n_startup_trials: trials of the evenly spread start.
    """

    def __init__(self, space: Space, *, seed: int, n_startup_trials: int = N_STARTUP) -> None:
        super().__init__(space, RandomSampler(seed=seed), seed=seed, learns=True)
        self.encoding = Encoding(space)
        self.n_startup = n_startup_trials
        self._start = self._design(seed)
        self._gp: GaussianProcess | None = None
        self._rows: dict[tuple[str, int], Rows | None] = {}  # of finished trials

    def __str__(self) -> str:
        return type(self).__name__

    def _design(self, seed: int) -> Rows:
        if not self.encoding.columns:  # one point
            return np.empty((0, 0))
        n = 2 ** math.ceil(math.log2(max(2, self.n_startup)))
        sobol = qmc.Sobol(len(self.encoding.columns), scramble=True, seed=seed)
        start = self.encoding.of_shares(sobol.random(n))
        middle = np.where(np.isnan(self.encoding.default), start[0], self.encoding.default)
        return np.concatenate([middle[None, :], start])

    def _drawn(self, study: Study, trial: FrozenTrial) -> Iterator[dict[str, Any]]:
        if not self.encoding.columns:
            yield self.space.default()
            return
        with _threads().limit(limits=1):
            proposals = self._proposals(study, trial)
        yield from map(self.encoding.decode, proposals)

    def _shown(self, study: Study, tried: Past) -> Study:
        return study  # failures are looked at here, see `_observations`

    def _proposals(self, study: Study, trial: FrozenTrial) -> Rows:
        """[C, P] the best candidates, the first one first."""
        x, y, pending = self._observations(study, trial)
        n_asked = len(x) + len(pending)
        failed = np.isinf(y)
        few = len(y) if failed.any() and not failed.all() else len(np.unique(y))
        if n_asked < self.n_startup or few < LEAST_VALUES:
            rest = self._start[n_asked:]  # what is beyond the start is as good at random
            return rest if len(rest) else self._anywhere(1)
        return self._maximum(x, y, pending)

    def _anywhere(self, n: int) -> Rows:
        """[n, P] random points."""
        return self.encoding.of_shares(self._rng.random((n, len(self.encoding.columns))))

    def _observations(self, study: Study, current: FrozenTrial) -> tuple[Rows, Rows, Rows]:
        """[N, P], [N] (smaller is better), [M, P]: what is known, and what is under way.

        A failure that teaches has the value inf.  A pruned trial counts as what it had reached, and
        what others gained from there on.
        """
        sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0
        trials = [
            trial
            for trial in study_trials(study)
            if trial.number != current.number and trial.state != TrialState.WAITING
        ]
        failed = {trial.number for trial in self._tried.look(study).failed}
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
            if trial.number in failed:
                rows.append(row)
                values.append(math.inf)
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
            self._gp = GaussianProcess(self.encoding.groups)
        gp = self._gp
        gp.fit(z, values, afresh=len(x) < EAGER or (len(x) + len(pending)) % 2 == 0)
        fitted = gp.predict(z)[0]
        best: Any = fitted.min()
        order = np.argsort(fitted)
        # What failed is a second function, seen at the same points under the same model.
        failed = np.isinf(y).astype(float)
        share = float(failed.mean())
        seen = np.column_stack([failed - share, values])
        if len(pending):
            zp = self.encoding.features(pending)
            draws = gp.sample(zp, N_FANTASIES, self._rng)
            gp.condition(z, seen[:, :1])
            expected = gp.predict(zp)[0]
            fantasies = np.repeat(values[:, None], N_FANTASIES, axis=1)
            seen = np.block([[seen[:, :1], fantasies], [expected, draws]])
            z = np.concatenate([z, zp])
        gp.condition(z, seen)
        if len(pending):
            best = np.minimum(best, gp.predict(zp)[0][:, 1:].min(axis=0))

        def value(candidates: Rows) -> Rows:
            mean, sd = gp.predict(self.encoding.features(candidates))
            gain = log_expected_improvement(mean[:, 1:], sd, np.atleast_1d(best))
            return gain + CAUTION * np.log1p(-np.clip(share + mean[:, 0], 0.0, 0.99))

        return maximize(value, self.encoding, self._anywhere(N_START), x[order[:4]], self._rng)


@cache
def _threads() -> ThreadpoolController:
    """Looks through the process's libraries, which takes as long as a small fit: once."""
    return ThreadpoolController()


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
