"""Confirms the best configurations, and the default one, on fresh seeds.

The best of many noisy trials is partly luck.  The default is a candidate like the others: what is
retrained is never a configuration that a fresh look finds worse than what needed no search.  Where
the training seed changes nothing, nothing is trained again to find that out once more.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from hpo.errors import HpoError, SpecError
from hpo.model import FunctionModel, Metrics, Objective
from hpo.objectives import LATENCY, Constraint
from hpo.outcome.choice import (
    DECLARED,
    ranked,
    reference_of,
    seeds_change_nothing,
    undeclared_defaults,
)
from hpo.storage.ledger import Ledger
from hpo.storage.measured import is_feasible
from hpo.storage.noise import CONFIRMED
from hpo.storage.view import StudyView
from hpo.study import ResolvedStudy
from hpo.training.files import TrialFiles
from hpo.tune.driver import job_of, study_folder
from hpo.tune.observer import Observer
from hpo.tune.pool import train_phase
from hpo.tune.resources import Resources

UNTRIED = "default"
"""Stands for the number of a default configuration that no trial had."""
_ROUNDED = 1e-9
"""A half width of less than this share of the gap is what rounding left of none."""


@dataclass(frozen=True)
class Confirmed:
    """A configuration's value in the search beside its values on fresh seeds.

    Attributes:
        number: of its trial; None for a default configuration that no completed trial had.
        searched: its trial's value, or None.
        runs: metrics by fresh seed.
        is_default: whether it is the model's default configuration, as the study narrowed it.
        feasible: whether its trial kept the study's constraints.
        seedless: whether the training seed changed nothing, in any configuration of the study.
        reference: what the default configuration is called.
    """

    number: int | None
    params: dict[str, Any]
    searched: float | None
    runs: dict[int, Metrics]
    metric: str
    is_default: bool = False
    feasible: bool = True
    seedless: bool = False
    reference: str = DECLARED

    @property
    def title(self) -> str:
        """`trial 3`, `trial 0 (default)`, `the default`."""
        if self.number is None:
            return f"the {self.reference}"
        return f"trial {self.number}{f' ({self.reference})' if self.is_default else ''}"

    @property
    def reference_text(self) -> str:
        """`the default configuration`, `the middle of the ranges`."""
        return f"the {self.reference}{' configuration' if self.reference == DECLARED else ''}"

    @property
    def label(self) -> str:
        """Its number, or `default`."""
        return UNTRIED if self.number is None else str(self.number)

    @property
    def values(self) -> list[float]:
        """The objective's values, by seed."""
        return [metrics[self.metric] for metrics in self.runs.values()]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    def mean_of(self, metric: str) -> float:
        """The mean of another metric over the seeds."""
        return statistics.fmean(metrics[metric] for metrics in self.runs.values())

    def breaks(self, constraints: Iterable[Constraint]) -> list[str]:
        """The constraints that its means on fresh seeds break, each with the mean."""
        means = ((one, self.mean_of(one.metric)) for one in constraints)
        return [f"{one} (mean {mean:.5g})" for one, mean in means if one.violation(mean) > 0]

    @property
    def sd(self) -> float:
        """Sample standard deviation over seeds; nan with one seed."""
        return statistics.stdev(self.values) if len(self.values) > 1 else float("nan")


def difference(a: Confirmed, b: Confirmed, metric: str | None = None) -> tuple[float, float]:
    """The mean of a's values less b's by seed, and half the width of its 95 % interval.

    Args:
        metric: another one than the first objective's.

    Paired, by Student's t; infinitely wide with fewer than two common seeds.
    """
    from scipy.stats import t

    seeds = sorted(a.runs.keys() & b.runs.keys())
    metric = metric or a.metric
    gaps = [a.runs[seed][metric] - b.runs[seed][metric] for seed in seeds]
    if len(gaps) < 2:
        return (gaps[0] if gaps else math.nan), math.inf
    error = statistics.stdev(gaps) / math.sqrt(len(gaps))
    return statistics.fmean(gaps), float(t.ppf(0.975, len(gaps) - 1)) * error


def verdict(ranking: list[Confirmed], sign: int) -> str:
    """One sentence: whether the first of the ranking beats the default beyond noise."""
    best, default = ranking[0], next((c for c in ranking if c.is_default), None)
    if default is None:
        return "The default configuration was not confirmed."
    if best is default:
        looked = "" if best.seedless else "on fresh seeds "
        return f"No configuration of the search did better {looked}than {best.reference_text}."
    gap, half = difference(best, default)
    word, ahead = ("Better", "ahead") if sign * gap >= 0 else ("Worse", "behind")
    than = f"{word} than the {default.reference} by {abs(gap):.3g}"
    n = len(best.runs.keys() & default.runs.keys())
    if best.seedless and gap == 0:
        return f"The same as the {default.reference} on validation rows."
    if best.seedless:
        return f"{than} on validation rows."
    if math.isinf(half):
        return f"{than} on one seed: no telling from noise."
    if gap == 0 and half == 0:
        return f"The same as the {default.reference} on each of {n} fresh seeds."
    if half <= _ROUNDED * abs(gap):
        return f"{than} on validation rows, by as much on each of {n} fresh seeds: no interval."
    margin = f"{abs(gap):.3g} ± {half:.2g} on validation rows (95 %, paired over {n} fresh seeds)"
    if abs(gap) > half:
        return f"{word} than the {default.reference} by {margin}."
    return f"Within noise of the {default.reference}: {ahead} by {margin}."


def verdict_of(study: ResolvedStudy, ranking: list[Confirmed]) -> str:
    """What fresh seeds say of the first of the ranking: beside the default, and of constraints."""
    best, default = ranking[0], next((c for c in ranking if c.is_default), None)
    notes = _notes(study, best)
    if default is not None and best is not default and (why := default.breaks(study.constraints)):
        return f"{default.reference_text.capitalize()} breaks {', '.join(why)}.{notes}"
    if study.several and default is not None:
        if best is default:
            return f"The chosen configuration is {best.reference_text}.{notes}"
        parts = [_beside(best, default, one) for one in study.objectives]
        n = len(best.runs.keys() & default.runs.keys())
        on = f"{n} fresh seed{'s' if n > 1 else ''}"
        return f"Beside the {default.reference}, on {on}: {'; '.join(parts)}.{notes}"
    return verdict(ranking, study.objectives[0].sign) + notes


def _notes(study: ResolvedStudy, best: Confirmed) -> str:
    """What has to be known beside the verdict."""
    notes = ""
    if broken := best.breaks(study.constraints):
        notes += f" On fresh seeds it breaks {', '.join(broken)}."
    if best.seedless:
        notes += (
            " The training seed changes nothing: every configuration came to the same metrics "
            "again. So there is no noise of training to compare with, hpo trained nothing more, "
            "and how far other rows would agree is not known."
        )
    undeclared = undeclared_defaults(study)
    if undeclared and reference_of(study) == DECLARED:
        notes += f" No default is declared for {', '.join(undeclared)}: the middle of the range."
    return notes


def _beside(best: Confirmed, default: Confirmed, objective: Objective) -> str:
    """`accuracy better by 0.012 ± 0.004`: one objective of two configurations."""
    metric = objective.metric
    gap, half = difference(best, default, metric)
    if gap == 0:
        return f"{metric} the same"
    word = "better" if objective.sign * gap > 0 else "worse"
    by = f"{abs(gap):.3g}" if abs(gap) < 1000 else f"{abs(gap):,.0f}"
    if math.isinf(half) or half <= _ROUNDED * abs(gap):
        return f"{metric} {word} by {by}"
    noise = "" if abs(gap) > half else ", within noise"
    return f"{metric} {word} by {by} ± {half:.2g}{noise}"


def verdict_on_test(metric: str, best: Metrics, default: Metrics, sign: int) -> str:
    """A sentence if the default did better on the test rows, else nothing."""
    if metric not in best or metric not in default or sign * (default[metric] - best[metric]) <= 0:
        return ""
    return (
        f" On the test rows the default did better: {default[metric]:.4g}, not {best[metric]:.4g}."
    )


def fresh_seeds(seed: int, n: int) -> list[int]:
    """Training seeds that the search did not use."""
    return [(seed + 1000 + i) % 2**32 for i in range(1, n + 1)]


def confirm(
    study: ResolvedStudy,
    ledger: Ledger,
    resources: Resources,
    observer: Observer,
    chosen: int | None = None,
) -> list[Confirmed]:
    """Trains the best `confirm_top` configurations and the default on `confirm_seeds` seeds each.

    Stops as soon as every configuration has been trained on a fresh seed and none differs from what
    it came to before: then seeds change nothing.

    Args:
        chosen: number of the trial to take instead.
    Returns:
        Confirmed configurations: the best mean first; of several objectives the nearest to the
        best of each; the chosen one, if there is one.
    Raises:
        HpoError: no trial is COMPLETE, or every confirming run failed.
    """
    spec = study.spec
    tried = candidates(study, ledger, chosen)
    seeds = fresh_seeds(spec.seed, spec.confirm_seeds)
    known: dict[str, Metrics] = dict(ledger.attr(CONFIRMED) or {})
    base = replace(job_of(study), purpose="confirm")
    todo = [(c, s) for s in seeds for c in tried if _key(c, s) not in known]

    def by_configuration() -> list[tuple[int | None, list[Metrics]]]:
        return [(c.number, [known[k] for s in seeds if (k := _key(c, s)) in known]) for c in tried]

    if seedless := seeds_change_nothing(by_configuration(), ledger):
        todo = []
    jobs = [
        replace(
            base,
            params={**base.params, **c.params},
            seed=s,
            number=c.number,
            files=TrialFiles.new(study_folder(study), f"confirm-{c.label}-{s}"),
        )
        for c, s in todo
    ]
    errors = []
    titles = [f"{c.title}, seed {s}" for c, s in todo]
    workers = _alone(study, resources)
    for index, result in train_phase("confirming", titles, jobs, workers, observer):
        candidate, seed = todo[index]
        # JSON, and so the dashboard's page, has no NaN.
        finite = {name: v for name, v in result.metrics.items() if math.isfinite(v)}
        lacking = [name for name in study.wanted if name not in finite]
        if result.error is not None or lacking:
            why = result.error or f"no {lacking[0]}"
            errors.append(f"{candidate.title}, seed {seed}: {why}")
        else:
            known[_key(candidate, seed)] = finite
            ledger.set_attr(CONFIRMED, known)
        if seedless := seeds_change_nothing(by_configuration(), ledger):
            break
    confirmed = []
    for candidate in tried:
        runs = {s: known[key] for s in seeds if (key := _key(candidate, s)) in known}
        if runs:
            confirmed.append(replace(candidate, runs=runs, seedless=seedless))
    if not any(c.number is not None for c in confirmed):
        raise HpoError(f"every confirming run failed: {errors[0]}")
    return confirmed if chosen is not None else ranked(study, ledger, confirmed)


def _alone(study: ResolvedStudy, resources: Resources) -> Resources:
    """One after another, if a function takes its own time: nobody else knows when it does."""
    takes_time = LATENCY in study.wanted and isinstance(study.model, FunctionModel)
    return replace(resources, max_concurrent=1) if takes_time else resources


def check_chosen(view: StudyView, number: int) -> None:
    """Refuses a trial that cannot be retrained.

    Raises:
        SpecError: there is no such trial, it is not COMPLETE, or it breaks a constraint.
    """
    trial = next((t for t in view.trials() if t.number == number), None)
    if trial is None:
        raise SpecError(f"trial: {number}: study {view.name!r} has none: see `hpo trials`")
    if trial.state.name != "COMPLETE":
        raise SpecError(f"trial: {number} is {trial.state.name}: choose a complete one")
    if not is_feasible(trial):
        kept = ", ".join(map(str, view.meta.constraints))
        raise SpecError(f"trial: {number} breaks {kept}: choose one of `hpo best`")


def candidates(study: ResolvedStudy, ledger: Ledger, number: int | None = None) -> list[Confirmed]:
    """The best trials, or those of the front that are nearest to the best of each objective, and
    the default configuration; without runs.

    Args:
        number: of the trial to take instead of the best.
    Raises:
        HpoError: no trial is COMPLETE.
    """
    metric, space = study.objectives[0].metric, study.space
    chosen = ledger.top(study.spec.confirm_top)
    if number is not None:
        chosen = [ledger.trial(number)]
    if not chosen:
        raise HpoError(f"study {study.name!r} has no completed trial to retrain")
    default = space.default()
    key = space.key(default)
    complete = (t for t in ledger.trials() if t.state.name == "COMPLETE")
    tried = next((t for t in complete if space.key(t.params) == key), None)
    if tried is not None and tried.number not in [t.number for t in chosen]:
        chosen.append(tried)
    reference = reference_of(study)
    found = [
        Confirmed(
            t.number,
            dict(t.params),
            (t.values or [None])[0],
            {},
            metric,
            is_default=space.key(t.params) == key,
            feasible=is_feasible(t),
            reference=reference,
        )
        for t in chosen
    ]
    if tried is None and not space.validate(default):  # a rule may forbid it
        found.append(
            Confirmed(None, default, None, {}, metric, is_default=True, reference=reference)
        )
    return found


def _key(candidate: Confirmed, seed: int) -> str:
    return f"{candidate.label}:{seed}"
