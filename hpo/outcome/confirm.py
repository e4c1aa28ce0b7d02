"""Confirms the best configurations on fresh seeds: the best of many noisy trials is partly luck."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from hpo.errors import HpoError
from hpo.storage.ledger import Ledger
from hpo.study import ResolvedStudy
from hpo.tune.driver import job_of
from hpo.tune.environment import Resources
from hpo.tune.pool import train_all

ATTRIBUTE = "hpo:confirmations"
"""Study attribute: {"<trial number>:<seed>": value}, so that nothing is trained twice."""

OnDone = Callable[[int, int, float | None], None]
"""Called with (done, total, value or None for a failed run) after each training."""


@dataclass(frozen=True)
class Confirmed:
    """A configuration's value in the search beside its values on fresh seeds."""

    number: int
    params: dict[str, Any]
    searched: float
    values: list[float]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def sd(self) -> float:
        """Sample standard deviation over seeds; nan with one seed."""
        return statistics.stdev(self.values) if len(self.values) > 1 else float("nan")


def fresh_seeds(seed: int, n: int) -> list[int]:
    """Training seeds that the search did not use."""
    return [(seed + 1000 + i) % 2**32 for i in range(1, n + 1)]


def confirm(
    study: ResolvedStudy, ledger: Ledger, resources: Resources, on_done: OnDone
) -> list[Confirmed]:
    """Trains the best `confirm_top` configurations on `confirm_seeds` fresh seeds each.

    Returns:
        Confirmed configurations, the best mean first.
    Raises:
        HpoError: no trial is COMPLETE, or every confirming run failed.
    """
    spec = study.spec
    top = ledger.top(spec.confirm_top)
    if not top:
        raise HpoError(f"study {study.name!r} has no completed trial to retrain")
    seeds = fresh_seeds(spec.seed, spec.confirm_seeds)
    known: dict[str, float] = dict(ledger.attr(ATTRIBUTE) or {})
    base = replace(job_of(study), purpose="confirm")
    todo = [(t, s) for s in seeds for t in top if f"{t.number}:{s}" not in known]
    jobs = [replace(base, params={**base.params, **t.params}, seed=s) for t, s in todo]
    errors = []
    for done, (index, result) in enumerate(train_all(jobs, resources), start=1):
        trial, seed = todo[index]
        value = result.metrics.get(study.model.objective.metric)
        if result.error is not None or value is None:
            errors.append(f"trial {trial.number}, seed {seed}: {result.error or 'no metric'}")
        else:
            known[f"{trial.number}:{seed}"] = value
            ledger.set_attr(ATTRIBUTE, known)
        on_done(done, len(jobs), value)
    confirmed = []
    for trial in top:
        values = [known[key] for s in seeds if (key := f"{trial.number}:{s}") in known]
        if values:
            confirmed.append(
                Confirmed(trial.number, dict(trial.params), trial.value or 0.0, values)
            )
    if not confirmed:
        raise HpoError(f"every confirming run failed: {errors[0]}")
    sign = study.model.objective.sign
    return sorted(confirmed, key=lambda c: -sign * c.mean)
