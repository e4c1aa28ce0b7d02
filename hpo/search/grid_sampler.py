"""GridSampler: each cell of a space's grid once, in order, and then no more.

Unlike Optuna's sampler of this name it follows steps and conditions, knows no duplicates, and
leaves nothing in the study: the next cell is the first one that no trial has tried.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from optuna.samplers import RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from hpo.search.space_sampler import SpaceSampler
from hpo.space import Space


class GridSampler(SpaceSampler):
    """Proposes `space.grid()` cell by cell.

    Raises:
        SpecError: the space has a continuous parameter without grid values.
    """

    def __init__(self, space: Space, *, seed: int = 0) -> None:
        super().__init__(space, RandomSampler(seed=seed), seed=seed)
        self._cells = space.grid()

    def __str__(self) -> str:
        return type(self).__name__

    @property
    def finite(self) -> bool:
        return True

    def points(self) -> Iterator[dict[str, Any]]:
        return iter(self._cells)

    def propose(self, study: Study, trial: FrozenTrial) -> dict[str, Any]:
        untried = self._untried(study, self._tried.look(study, but=trial.number))
        # Whoever goes on after the end gets the grid again, one cell after the other.
        return untried or dict(self._cells[trial.number % len(self._cells)])
