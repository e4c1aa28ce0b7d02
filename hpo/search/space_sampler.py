"""SpaceSampler: any Optuna sampler, made to propose complete, allowed and new points."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from hpo.search.encoding import Encoding
from hpo.search.failures import with_failures
from hpo.search.prior import FROM, Prior
from hpo.search.seen import SeenStudy
from hpo.search.tried import Past, Tried
from hpo.search.window import Window
from hpo.space import Space

N_NEIGHBOURS = 40
N_RANDOM = 1000
N_FAILED = 200
"""Failures that the inner sampler is shown, the latest."""
N_AWAY = 20
"""Random points of which the one that is farthest from all failures is taken: of many it would
be a corner of the space each time."""


def single_value(distribution: BaseDistribution) -> Any:
    """The only value of a distribution that has one."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[0]
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    return distribution.low


def exact_value(distribution: BaseDistribution, value: Any) -> Any:
    """The value as a plain Python object, and exactly on the lattice if there is a step."""
    if isinstance(distribution, FloatDistribution) and distribution.step is not None:
        low, step = Decimal(str(distribution.low)), Decimal(str(distribution.step))
        value = float(low + step * round((Decimal(str(float(value))) - low) / step))
        return min(max(value, distribution.low), distribution.high)
    return distribution.to_external_repr(distribution.to_internal_repr(value))


class SpaceSampler(BaseSampler):
    """Draws whole points of a `Space` from another sampler, the inner one.

    A proposal holds a value for every active parameter and for no other, matches no forbidden
    combination, and differs from every point that the study has tried or is trying.  The inner
    sampler is asked first; what it proposes in vain is repaired by changing as few values as
    will do; random points come last.

    Args:
        space: the space to search.
        inner: where proposals come from.
        seed: of the repairs.
        n_retries: how often the inner sampler is asked again; few for one whose answer is the
            costly maximum of an acquisition function, and so nearly the same every time.
        flat: ask the inner sampler for all parameters at once, active or not, instead of for
            those that it infers from the study.
        learns: whether the inner sampler looks at values, and so is to learn from failures.
        window: which trials the inner sampler is shown; None: all.
    """

    def __init__(
        self,
        space: Space,
        inner: BaseSampler,
        *,
        seed: int,
        n_retries: int = 5,
        flat: bool = False,
        learns: bool = False,
        window: Window | None = None,
    ) -> None:
        self.space = space
        self.inner = inner
        self._rng = np.random.default_rng(seed)
        self._uniform = RandomSampler(seed=seed)
        self._n_retries = n_retries
        self._flat = flat
        self._learns = learns
        self._distributions = space.distributions()
        self._tried = Tried(space)
        self._window = window
        self._prior: Prior | None = None
        self._untried_points: dict[str, _Ahead] = {}
        self._views: dict[str, SeenStudy] = {}
        self._encoding: Encoding | None = None

    def start_from(self, prior: Prior) -> None:
        """Has the best of earlier studies proposed in turns with the sampler's own, at first."""
        self._prior = prior

    def __getstate__(self) -> dict[str, Any]:
        # Iterations are no data, and begin again; views are made anew.
        return {**vars(self), "_untried_points": {}, "_views": {}}

    def __str__(self) -> str:
        return str(self.inner)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self._distributions

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self.propose(study, trial)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        # Only for a trial enqueued with some of its parameters: a proposal is complete.
        return self.inner.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._tried.look(study)
        self.inner.before_trial(study, trial)

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        self.inner.after_trial(study, trial, state, values)
        if self.exhausted(study):
            # Ends `study.optimize`; outside of it there is no loop to stop and Optuna raises.
            with contextlib.suppress(RuntimeError):
                study.stop()

    def reseed_rng(self) -> None:
        self._rng = np.random.default_rng()
        self._uniform.reseed_rng()
        self.inner.reseed_rng()

    def exhausted(self, study: Study) -> bool:
        """Whether the space is finite and every point of it is tried or pending."""
        return self.finite and self._untried(study, self._tried.look(study)) is None

    @property
    def finite(self) -> bool:
        """Whether `points` lists all there is to propose; beyond a million it does not."""
        return self.space.finite

    def points(self) -> Iterator[dict[str, Any]]:
        """Every point there is to propose, if they are finitely many."""
        return self.space.points()

    def propose(self, study: Study, trial: FrozenTrial) -> dict[str, Any]:
        """A complete point for the trial; one tried before only if there is no other."""
        tried = self._tried.look(study, but=trial.number)
        if self._prior is not None and (point := self._earlier(study, trial, tried)):
            return point
        if self._learns and (away := self._away(tried)):
            return away
        shown = self._shown(study, tried)
        repeated: dict[str, Any] | None = None
        for point in self._candidates(shown, trial):
            if self.space.is_forbidden(point):
                continue
            if self.space.key(point) not in tried:
                return point
            if repeated is None:
                repeated = point
                if self.finite and self._untried(study, tried) is None:
                    return repeated
        untried = self._untried(study, tried)
        return untried or repeated or self.space.random(self._rng)

    def _shown(self, study: Study, tried: Past) -> Study:
        """The study as the inner sampler is to see it."""
        shown = study if self._window is None else self._window.of(study, tried.trials)
        if not self._learns or not tried.failed:
            return shown
        view = self._views.setdefault(study.study_name, SeenStudy(study))
        trials = shown.get_trials(deepcopy=False)  # under Hyperband, those of the bracket
        view.show(with_failures(study, trials, tried.failed[-N_FAILED:]))
        return view

    def _away(self, tried: Past) -> dict[str, Any] | None:
        """As long as everything has failed: of some random points the one that is farthest from
        what failed, and from what runs and may fail as well."""
        if not tried.failed or tried.some_ended:
            return None
        if self._encoding is None:
            self._encoding = Encoding(self.space)
        points = [self.space.random(self._rng) for _ in range(N_AWAY)]
        points = [point for point in points if self.space.key(point) not in tried]
        if not points or not self._encoding.columns:
            return None
        running = [t.params for t in tried.trials if not t.state.is_finished()]
        avoided = [p for p in running if p and not self.space.validate(p)]
        avoided += [trial.params for trial in tried.failed[-N_FAILED:]]
        gaps = (
            self._encoding.features_of(points)[:, None] - self._encoding.features_of(avoided)[None]
        )
        return points[int((gaps**2).sum(axis=2).min(axis=1).argmax())]

    def _earlier(self, study: Study, trial: FrozenTrial, tried: Past) -> dict[str, Any] | None:
        """A configuration of an earlier study, if it is the prior's turn."""
        assert self._prior is not None
        others = [t for t in tried.trials if t.number != trial.number]
        begun = [t for t in others if t.state != TrialState.WAITING]
        sign = 1 if study.direction == StudyDirection.MINIMIZE else -1
        found = self._prior.next(begun, tried.__contains__, sign)
        if found is None:
            return None
        study._storage.set_trial_system_attr(trial._trial_id, FROM, found.origin)
        return dict(found.params)

    def _untried(self, study: Study, tried: Past) -> dict[str, Any] | None:
        """The first point of all that is neither tried nor pending."""
        ahead = self._untried_points.get(study.study_name)
        if ahead is None:
            ahead = self._untried_points[study.study_name] = _Ahead(self.points())
        # What is tried stays tried, so nothing that was passed is looked at again.
        while ahead.point is not None and self.space.key(ahead.point) in tried:
            ahead.step()
        return None if ahead.point is None else dict(ahead.point)

    def _candidates(self, study: Study, trial: FrozenTrial) -> Iterator[dict[str, Any]]:
        first: dict[str, Any] | None = None
        for point in self._drawn(study, trial):
            yield point
            first = point if first is None else first
        assert first is not None
        for n_changes in itertools.chain.from_iterable(
            itertools.repeat(n, N_NEIGHBOURS // 2) for n in (1, 2)
        ):
            yield self._neighbour(study, trial, first, n_changes)
        for _ in range(N_RANDOM):
            yield self.space.random(self._rng)

    def _drawn(self, study: Study, trial: FrozenTrial) -> Iterator[dict[str, Any]]:
        """Proposals of the inner sampler, one at least."""
        for _ in range(1 + self._n_retries):
            yield self._draw(study, trial)

    def _draw(self, study: Study, trial: FrozenTrial) -> dict[str, Any]:
        """What the inner sampler would have a trial of this study suggest."""
        if self._flat:
            space = {name: d for name, d in self._distributions.items() if not d.single()}
        else:
            space = self.inner.infer_relative_search_space(study, trial)
        drawn = self.inner.sample_relative(study, trial, space)
        return self._complete(study, trial, drawn, self.inner)

    def _neighbour(
        self, study: Study, trial: FrozenTrial, point: dict[str, Any], n_changes: int
    ) -> dict[str, Any]:
        """The point with n values drawn anew, and whatever becomes active by that."""
        names = list(point)
        n_kept = max(len(names) - n_changes, 0)
        kept = self._rng.choice(len(names), size=n_kept, replace=False)
        values = {names[i]: point[names[i]] for i in kept}
        return self._complete(study, trial, values, self._uniform)

    def _complete(
        self, study: Study, trial: FrozenTrial, values: dict[str, Any], rest: BaseSampler
    ) -> dict[str, Any]:
        """An active point from `values`, with what they lack or have out of range from `rest`."""
        params: dict[str, Any] = {}
        for name in self.space.order:
            if not self.space.is_active(name, params):
                continue
            distribution = self._distributions[name]
            if distribution.single():
                params[name] = single_value(distribution)
                continue
            value = values.get(name)
            if name not in values or not _contains(distribution, value):
                value = rest.sample_independent(study, trial, name, distribution)
            params[name] = exact_value(distribution, value)
        return params


class _Ahead:
    """The point that an iteration has come to; None at its end."""

    def __init__(self, points: Iterator[dict[str, Any]]) -> None:
        self._points = points
        self.step()

    def step(self) -> None:
        self.point = next(self._points, None)


def _contains(distribution: BaseDistribution, value: Any) -> bool:
    # A study whose space was widened or narrowed may lead the inner sampler astray.
    try:
        return distribution._contains(distribution.to_internal_repr(value))
    except ValueError:
        return False
