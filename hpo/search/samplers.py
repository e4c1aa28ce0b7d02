"""Samplers by name.  Optuna, scipy, skopt and torch are imported when one is made, not before."""

from __future__ import annotations

import secrets
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hpo.errors import SpecError
from hpo.search.choose import at_least, choose

if TYPE_CHECKING:
    from hpo.search.prior import Prior
    from hpo.search.space_sampler import SpaceSampler
    from hpo.space import Space


@dataclass(frozen=True)
class Start:
    """What every sampler starts from.

    Attributes:
        space: the space to search.
        seed: the study's seed.
        run_seed: another one for each run of the study, so that a run that goes on does not
            draw again what the first one drew.
        n_startup: random trials before a model of the objective is trusted.
        n_trials: how many are planned; None: unknown.
        n_concurrent: how many run at once.
    """

    space: Space
    seed: int
    run_seed: int
    n_startup: int
    n_trials: int | None = None
    n_concurrent: int = 1

    def startup(self, option: str, value: int | None) -> int:
        """What the user set by the option, or else what the budget suggests."""
        return self.n_startup if value is None else at_least(1, option, value)


def _auto(start: Start, *, short_s: float | None = None) -> SpaceSampler:
    """gp, or tpe for very short or very many trials; says which and why (the default)"""
    from hpo.search.auto_sampler import SHORT_S, AutoSampler

    if short_s is None:
        short_s = SHORT_S
    elif isinstance(short_s, bool) or not isinstance(short_s, int | float) or not short_s >= 0:
        raise SpecError(f"short_s: {short_s!r} must be a number of seconds, 0 or more")
    return AutoSampler(start, {"gp": _gp, "tpe": _tpe}, short_s=short_s)


def _grid(start: Start) -> SpaceSampler:
    """each cell of the grid once, in order"""
    from hpo.search.grid_sampler import GridSampler

    return GridSampler(start.space, seed=start.run_seed)


def _random(start: Start) -> SpaceSampler:
    """uniform, the baseline to beat"""
    from optuna.samplers import RandomSampler

    from hpo.search.space_sampler import SpaceSampler

    inner = RandomSampler(seed=start.run_seed)
    return SpaceSampler(start.space, inner, seed=start.run_seed)


def _tpe(
    start: Start, *, n_startup_trials: int | None = None, n_ei_candidates: int = 24
) -> SpaceSampler:
    """tree-structured Parzen estimator: for short or many trials, at home in conditional spaces"""
    from optuna.exceptions import ExperimentalWarning
    from optuna.samplers import TPESampler

    from hpo.search.space_sampler import SpaceSampler
    from hpo.search.window import Window

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # `group`
        inner = TPESampler(
            seed=start.run_seed,
            multivariate=True,
            group=start.space.has_conditions,
            constant_liar=True,
            n_startup_trials=start.startup("n_startup_trials", n_startup_trials),
            n_ei_candidates=at_least(1, "n_ei_candidates", n_ei_candidates),
        )
    return SpaceSampler(start.space, inner, seed=start.run_seed, learns=True, window=Window())


def _gp(start: Start, *, n_startup_trials: int | None = None) -> SpaceSampler:
    """our own Gaussian process: few, costly trials; conditions, running and pruned trials too"""
    from hpo.search.gp_sampler import N_STARTUP
    from hpo.search.scalar import ScalarGPSampler

    # No matter the budget: its model is of use sooner than others' are.
    start = replace(start, n_startup=N_STARTUP)
    n_startup = start.startup("n_startup_trials", n_startup_trials)
    return ScalarGPSampler(start.space, seed=start.run_seed, n_startup_trials=n_startup)


def _optuna_gp(
    start: Start, *, n_startup_trials: int | None = None, deterministic_objective: bool = False
) -> SpaceSampler:
    """Optuna's Gaussian process: few, costly trials; conditional parameters at random"""
    from optuna.exceptions import ExperimentalWarning
    from optuna.samplers import GPSampler

    from hpo.search.space_sampler import SpaceSampler

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # `deterministic_objective`
        inner = GPSampler(
            seed=start.run_seed,
            n_startup_trials=start.startup("n_startup_trials", n_startup_trials),
            deterministic_objective=deterministic_objective,
            warn_independent_sampling=False,
        )
    return SpaceSampler(start.space, inner, seed=start.run_seed, n_retries=1, learns=True)


def _skopt(
    start: Start,
    *,
    base_estimator: str = "GP",
    n_initial_points: int | None = None,
    acq_func: str = "hedge",
) -> SpaceSampler:
    """scikit-optimize's Gaussian process, extra trees or random forest (base_estimator)"""
    from hpo.search.skopt_sampler import SkoptSampler
    from hpo.search.space_sampler import SpaceSampler

    inner = SkoptSampler(
        start.space,
        start.run_seed,
        base_estimator=base_estimator,
        n_initial_points=start.startup("n_initial_points", n_initial_points),
        acq_func=acq_func,
    )
    return SpaceSampler(start.space, inner, seed=start.run_seed, n_retries=1, learns=True)


def _cmaes(
    start: Start, *, popsize: int | None = None, consider_pruned_trials: bool = False
) -> SpaceSampler:
    """evolution strategy for many trials of numbers; choices and conditions at random"""
    from optuna.exceptions import ExperimentalWarning
    from optuna.samplers import CmaEsSampler

    from hpo.search.space_sampler import SpaceSampler

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # `consider_pruned_trials`
        inner = CmaEsSampler(
            seed=start.run_seed,
            popsize=None if popsize is None else at_least(2, "popsize", popsize),
            consider_pruned_trials=consider_pruned_trials,
            warn_independent_sampling=False,
        )
    return SpaceSampler(start.space, inner, seed=start.run_seed, learns=True)


def _nsgaii(start: Start, *, population_size: int | None = None) -> SpaceSampler:
    """genetic algorithm for several objectives and many trials; conditions at random"""
    from optuna.samplers import NSGAIISampler

    from hpo.search.space_sampler import SpaceSampler

    # Optuna's 50 would be a whole study of random trials: five generations at least.
    size = 50 if start.n_trials is None else min(50, max(8, start.n_trials // 5))
    if population_size is not None:
        size = at_least(2, "population_size", population_size)
    inner = NSGAIISampler(seed=start.run_seed, population_size=size)
    return SpaceSampler(start.space, inner, seed=start.run_seed, learns=True)


def _qmc(start: Start, *, qmc_type: str = "sobol") -> SpaceSampler:
    """scrambled Sobol or Halton points: random, but evenly spread"""
    from optuna.exceptions import ExperimentalWarning
    from optuna.samplers import QMCSampler

    from hpo.search.space_sampler import SpaceSampler

    if qmc_type not in ("sobol", "halton"):
        raise SpecError(f"qmc_type: {qmc_type!r} is unknown: choose from sobol, halton")
    # The study's own seed: Optuna keeps the place in the sequence in the study, and a later run
    # has to go on in the same sequence.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # The sampler as a whole.
        inner = QMCSampler(
            seed=start.seed, scramble=True, qmc_type=qmc_type, warn_independent_sampling=False
        )
    return SpaceSampler(start.space, inner, seed=start.run_seed, flat=True)


SAMPLERS: dict[str, Callable[..., SpaceSampler]] = {
    "auto": _auto,
    "grid": _grid,
    "random": _random,
    "tpe": _tpe,
    "gp": _gp,
    "optuna-gp": _optuna_gp,
    "skopt": _skopt,
    "cmaes": _cmaes,
    "qmc": _qmc,
    "nsgaii": _nsgaii,
}
"""Name -> factory.  A factory's docstring describes it in one line, its keywords are options."""
_SORTED = "any number; what breaks a constraint ranks behind the rest, by how much"
_BLIND = "any number; looks at neither"
OBJECTIVES = {
    "auto": "as the sampler that it chooses",
    "grid": _BLIND,
    "random": _BLIND,
    "tpe": _SORTED,
    "gp": "any number, by random weights (ParEGO); what breaks a constraint is worse than the rest",
    "optuna-gp": "any number, by hypervolume, slowly; the chance to keep constraints is modelled",
    "skopt": "one, without constraints",
    "cmaes": "one, without constraints",
    "qmc": _BLIND,
    "nsgaii": _SORTED,
}
"""What each sampler does with objectives and constraints."""
ONE_OBJECTIVE = tuple(name for name, text in OBJECTIVES.items() if text.startswith("one"))
"""Samplers that look at one objective, and at no constraint."""


def make_sampler(
    name: str,
    space: Space,
    seed: int | None = None,
    *,
    n_trials: int | None = None,
    n_trials_done: int = 0,
    prior: Prior | None = None,
    n_concurrent: int = 1,
    **options: Any,
) -> SpaceSampler:
    """A sampler for `optuna.create_study(sampler=...)` whose proposals are points of the space.

    Args:
        name: one of SAMPLERS.
        space: the space to search; the study's trials are drawn by `space.suggest(trial)`.
        seed: the same seed and the same results give the same proposals; None: a random one.
        n_trials: how many trials are planned, if that is known: it sizes the random start, and
            auto chooses by it.
        n_trials_done: trials that the study has already; makes a later run draw other points.
        prior: earlier studies, whose best configurations are proposed at first.
        n_concurrent: how many trials run at once: auto chooses by it.
        options: the sampler's own, for example `base_estimator="ET"` for skopt.
    Raises:
        SpecError: unknown name or option, a bad value, a grid over a continuous parameter.
    """
    factory = choose("sampler", name, SAMPLERS, options)
    seed = secrets.randbits(32) if seed is None else at_least(0, "seed", seed)
    n_startup = 10 if n_trials is None else min(10, max(4, n_trials // 4))
    # What an earlier study with this seed drew is not to be drawn again.
    n_drawn = n_trials_done + (0 if prior is None else prior.n_trials)
    start = Start(
        space=space,
        seed=seed % 2**32,
        run_seed=_run_seed(seed, n_drawn),
        n_startup=n_startup,
        n_trials=n_trials,
        n_concurrent=at_least(1, "n_concurrent", n_concurrent),
    )
    sampler = factory(start, **options)
    if prior is not None:
        sampler.start_from(prior)
    return sampler


def _run_seed(seed: int, n_trials_done: int) -> int:
    import numpy as np

    return int(np.random.SeedSequence([seed, n_trials_done]).generate_state(1)[0])
