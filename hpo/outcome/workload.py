"""How much a study trains after its search: confirmation and retraining."""

from __future__ import annotations

from dataclasses import dataclass

from hpo.model import FunctionModel
from hpo.study import ResolvedStudy


@dataclass(frozen=True)
class Workload:
    """Trainings after the search.  Upper bounds: the default may be among the best.

    Attributes:
        n_best: configurations of the search that are confirmed.
        with_default: whether the default configuration is confirmed and retrained beside them.
        n_seeds: trainings of each confirmed configuration.
        n_retrained: trainings on the training and validation rows together; of a function, further
            runs of it.
        is_function: hpo does not know which rows are trained on, nor a test.
    """

    n_best: int = 0
    with_default: bool = False
    n_seeds: int = 0
    n_retrained: int = 0
    is_function: bool = False

    @property
    def n_confirming(self) -> int:
        """Trainings on new seeds."""
        return (self.n_best + self.with_default) * self.n_seeds

    @property
    def n_trainings(self) -> int:
        """All trainings after the search."""
        return self.n_confirming + self.n_retrained

    def __str__(self) -> str:
        """`at most 12 trainings to confirm the best 3 and the default on 3 new seeds, ...`"""
        best = "the best" if self.n_best == 1 else f"the best {self.n_best}"
        default = " and the default" if self.with_default else ""
        seeds = f"{self.n_seeds} new seed{'s' * (self.n_seeds != 1)}"
        most = "at most " if self.with_default else ""
        end = "to train the chosen one" if self.is_function else "to retrain and test"
        return (
            f"{most}{self.n_confirming} training{'s' * (self.n_confirming != 1)} to confirm {best}"
            f"{default} on {seeds}, and {self.n_retrained} {end}"
        )


def workload(
    study: ResolvedStudy, n_trials: int | None = None, *, chosen: int | None = None
) -> Workload:
    """The trainings that follow a study's search.

    Args:
        n_trials: completed trials that there can be; None: no limit.
        chosen: number of the trial that the user named to be retrained.
    """
    spec, space = study.spec, study.space
    if not spec.retrain:
        return Workload()
    one = study.several or chosen is not None
    n_best = 1 if one or not space.params else spec.confirm_top
    if n_trials is not None:
        n_best = max(1, min(n_best, n_trials))
    # Where nothing is searched, the default is the only configuration there is.
    with_default = bool(space.params) and not space.validate(space.default())
    is_function = isinstance(study.model, FunctionModel)
    return Workload(n_best, with_default, spec.confirm_seeds, 1 + with_default, is_function)
