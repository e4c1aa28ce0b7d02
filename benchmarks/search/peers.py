"""Peers: whoever proposes trials in the contest, by name.  Packages are imported when one is made.

This service's own samplers run as they are made for a study of the same size.  Other libraries
run at their own defaults, told no more than the space, the seed and, where they ask for it, the
number of trials and of workers.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from benchmarks.search.contest import Asker
from benchmarks.search.libraries import LIBRARIES
from hpo.space import Choice, Space

Maker = Callable[[Space, int, int, int], Asker]  # space, seed, number of trials, of workers


class StudyAsker:
    """An Optuna study in memory and the sampler under test."""

    def __init__(self, space: Space, sampler: Any) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        self._space = space
        self._study = optuna.create_study(direction="minimize", sampler=sampler)

    def ask(self) -> tuple[Any, Mapping[str, Any]]:
        trial = self._study.ask()
        return trial, self._space.suggest(trial)

    def tell(self, token: Any, params: Mapping[str, Any], loss: float) -> None:
        self._study.tell(token, loss)

    def fail(self, token: Any, params: Mapping[str, Any]) -> None:
        from optuna.trial import TrialState

        self._study.tell(token, state=TrialState.FAIL)


def _own(
    name: str, space: Space, seed: int, n_trials: int, n_parallel: int, **options: Any
) -> Asker:
    from hpo.search import make_sampler

    sampler = make_sampler(name, space, seed, n_trials=n_trials, n_concurrent=n_parallel, **options)
    return StudyAsker(space, sampler)


def _optuna(sampler: str, space: Space, seed: int, n_trials: int, n_parallel: int) -> Asker:
    import optuna

    quiet = {"warn_independent_sampling": False}
    if sampler == "cmaes":
        return StudyAsker(space, optuna.samplers.CmaEsSampler(seed=seed, **quiet))
    if sampler == "gp":
        return StudyAsker(space, optuna.samplers.GPSampler(seed=seed, **quiet))
    return StudyAsker(space, optuna.samplers.TPESampler(seed=seed, **quiet))


def _optuna_auto(space: Space, seed: int, n_trials: int, n_parallel: int) -> Asker:
    """OptunaHub's AutoSampler by its rule, since it is no package of PyPI's.

    TPE where a parameter is categorical or conditional; else a Gaussian process for the first 250
    trials, more than any run here has, and CMA-ES after them.
    """
    tree = space.has_conditions or any(isinstance(space[name], Choice) for name in space)
    return _optuna("tpe" if tree else "gp", space, seed, n_trials, n_parallel)


PEERS: dict[str, Maker] = {
    **{name: partial(_own, name) for name in ("random", "tpe", "gp", "skopt", "cmaes", "qmc")},
    **{f"optuna-{name}": partial(_optuna, name) for name in ("tpe", "gp", "cmaes")},
    "auto": partial(_own, "auto", short_s=0),  # a look-up stands for a training that takes long
    "optuna-auto": _optuna_auto,
    **LIBRARIES,
}
"""Name -> maker of an asker."""
