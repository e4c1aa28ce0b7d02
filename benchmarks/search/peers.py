"""Peers: whoever proposes trials in the contest, by name.  Packages are imported when one is made.

This service's own samplers run as they are made for a study of the same size.  Other libraries
run at their own defaults, told no more than the space, the seed and, where they ask for it, the
number of trials.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from benchmarks.search.contest import Asker
from hpo.space import Space

Maker = Callable[[Space, int, int], Asker]  # space, seed, number of trials


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


def _own(sampler: str, space: Space, seed: int, n_trials: int) -> Asker:
    from hpo.search import make_sampler

    return StudyAsker(space, make_sampler(sampler, space, seed, n_trials=n_trials))


PEERS: dict[str, Maker] = {
    **{name: partial(_own, name) for name in ("random", "tpe", "gp", "skopt", "cmaes", "qmc")},
}
"""Name -> maker of an asker."""
