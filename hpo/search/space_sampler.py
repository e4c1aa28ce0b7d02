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
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from hpo.space import Space

N_NEIGHBOURS = 40
N_RANDOM = 1000


def study_trials(study: Study) -> list[FrozenTrial]:
    """Every trial of the study, uncopied.

    Not `study.get_trials`: under a Hyperband pruner that one sees its own bracket only, and a
    point tried in another bracket is tried all the same.
    """
    return study._storage.get_all_trials(study._study_id, deepcopy=False)


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


class Tried:
    """The points a study has tried, as `Space.key`s; a finished trial is read only once.

    A trial that failed counts if it failed under this sampler: proposing it again at once would
    fail again, while a new run (after a repair, perhaps) gives it another chance.
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        self._keys: dict[tuple[str, int], str] = {}
        self._forgiven: dict[str, set[int]] = {}

    def look(self, study: Study) -> list[FrozenTrial]:
        """The study's trials; at the first look, notes which ones had failed before."""
        trials = study_trials(study)
        if study.study_name not in self._forgiven:
            failed = {trial.number for trial in trials if trial.state == TrialState.FAIL}
            self._forgiven[study.study_name] = failed
        return trials

    def keys(self, study: Study, but: int | None = None) -> set[str]:
        """Keys of all tried and pending points, without trial number `but`."""
        trials = self.look(study)
        forgiven = self._forgiven[study.study_name]
        return {
            self._key(study.study_name, trial)
            for trial in trials
            if trial.number != but
            and trial.number not in forgiven
            and trial.state != TrialState.WAITING
        }

    def _key(self, study_name: str, trial: FrozenTrial) -> str:
        name = (study_name, trial.number)
        if name not in self._keys:
            key = self._space.key(trial.params)
            if not trial.state.is_finished():
                return key
            self._keys[name] = key
        return self._keys[name]


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
    """

    def __init__(
        self,
        space: Space,
        inner: BaseSampler,
        *,
        seed: int,
        n_retries: int = 5,
        flat: bool = False,
    ) -> None:
        self.space = space
        self.inner = inner
        self._rng = np.random.default_rng(seed)
        self._uniform = RandomSampler(seed=seed)
        self._n_retries = n_retries
        self._flat = flat
        self._distributions = space.distributions()
        self._tried = Tried(space)

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
        return self.finite and self._untried(self._tried.keys(study)) is None

    @property
    def finite(self) -> bool:
        """Whether `points` lists all there is to propose; beyond a million it does not."""
        return self.space.finite

    def points(self) -> Iterator[dict[str, Any]]:
        """Every point there is to propose, if they are finitely many."""
        return self.space.points()

    def propose(self, study: Study, trial: FrozenTrial) -> dict[str, Any]:
        """A complete point for the trial; one tried before only if there is no other."""
        tried = self._tried.keys(study, but=trial.number)
        repeated: dict[str, Any] | None = None
        for point in self._candidates(study, trial):
            if self.space.is_forbidden(point):
                continue
            if self.space.key(point) not in tried:
                return point
            if repeated is None:
                repeated = point
                if self.finite and self._untried(tried) is None:
                    return repeated
        untried = self._untried(tried)
        return untried or repeated or self.space.random(self._rng)

    def _untried(self, tried: set[str]) -> dict[str, Any] | None:
        # Stops at the first hit, so it looks at no more points than were tried, plus one.
        return next((point for point in self.points() if self.space.key(point) not in tried), None)

    def _candidates(self, study: Study, trial: FrozenTrial) -> Iterator[dict[str, Any]]:
        point = self._draw(study, trial)
        yield point
        for _ in range(self._n_retries):
            yield self._draw(study, trial)
        for n_changes in itertools.chain.from_iterable(
            itertools.repeat(n, N_NEIGHBOURS // 2) for n in (1, 2)
        ):
            yield self._neighbour(study, trial, point, n_changes)
        for _ in range(N_RANDOM):
            yield self.space.random(self._rng)

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


def _contains(distribution: BaseDistribution, value: Any) -> bool:
    # A study whose space was widened or narrowed may lead the inner sampler astray.
    try:
        return distribution._contains(distribution.to_internal_repr(value))
    except ValueError:
        return False
