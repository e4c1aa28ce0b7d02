"""Runs what a comparison lacks, study by study, and tests each study's best."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from hpo.compare.plan import COMPARISON, Plan
from hpo.errors import HpoError
from hpo.outcome.tested import retrain_bests
from hpo.storage.attempts import used_budget
from hpo.storage.known import KnownTrainings
from hpo.storage.ledger import Ledger
from hpo.storage.request import remember
from hpo.storage.view import StudyView
from hpo.study import ResolvedStudy
from hpo.tune.driver import drive, search
from hpo.tune.observer import Observer
from hpo.tune.resources import Resources
from hpo.tune.stop import Stop

if TYPE_CHECKING:
    from optuna.storages import BaseStorage


class Display(Protocol):
    """Who shows how far a comparison is."""

    def study(self, done: int, ledger: Ledger, n_left: int) -> AbstractContextManager[Observer]:
        """Shows one study while it runs, after so many others."""

    def testing(self, done: int, total: int) -> None:
        """Shows how many of the bests are retrained and tested."""


def run(
    plan: Plan,
    storage: BaseStorage,
    resources: Resources,
    display: Display,
    stop: Stop,
) -> list[str]:
    """Runs the trials that are missing, then the tests that are missing.

    A finished trial is never repeated; with the plan's cache, nor is one that another study of the
    comparison has finished.

    Raises:
        HpoError: a study's first trials all failed alike.
    Returns:
        What went wrong without ending the comparison, a line each.
    """
    for done, ((strategy, seed), study) in enumerate(plan.studies.items()):
        with drive(study, storage) as ledger:
            ledger.set_attr(COMPARISON, {"name": plan.name, "strategy": strategy, "seed": seed})
            left = plan.n_trials - sum(map(used_budget, ledger.trials()))
            if left <= 0 or _exhausted(ledger):
                continue
            remember(study, ledger, left)
            others = _others(plan, study, storage)
            known = KnownTrainings.of(storage, others, ledger.meta) if plan.spec.cache else None
            with display.study(done, ledger, left) as observer:
                missing = replace(study, n_trials=left)
                end = search(missing, ledger, resources, observer, stop, known=known)
            if end.problem:
                raise HpoError(end.problem)
        if stop.signal is not None:
            return []
    if not plan.spec.test:
        return []
    views = [(study, StudyView.open(storage, study.name)) for study in plan.studies.values()]
    return retrain_bests(views, plan.default, resources, display.testing)


def _exhausted(ledger: Ledger) -> bool:
    """Whether there is nothing left to propose: a grid that is smaller than the budget."""
    exhausted = getattr(ledger.study.sampler, "exhausted", None)
    return exhausted is not None and bool(exhausted(ledger.study))


def _others(plan: Plan, study: ResolvedStudy, storage: Any) -> list[str]:
    """Names of the comparison's other studies that exist."""
    import optuna

    there = set(optuna.get_all_study_names(storage))
    names = (other.name for other in plan.studies.values())
    return [name for name in names if name != study.name and name in there]
