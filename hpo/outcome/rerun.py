"""Trains a trial again from what the storage holds, and says whether it came to the same."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo.errors import SpecError
from hpo.model import Metrics
from hpo.objectives import LATENCY, LATENCY_SD
from hpo.registry import find_data, find_model, load_model
from hpo.storage.attempts import CUT_OFF, KIND, REASON, origin_of
from hpo.storage.known import CACHED_FROM
from hpo.storage.ledger import Ledger
from hpo.storage.measured import end_problem, value_problem, values_of
from hpo.storage.meta import StudyMeta
from hpo.study import StudySpec
from hpo.training.files import TrialFiles
from hpo.training.session import Job
from hpo.tune.circumstances import NAMED, Difference, differences, recorded, surroundings
from hpo.tune.failure import without_place
from hpo.tune.resources import Resources, local_cpus, local_gpus, plan_resources

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from hpo.tune.pool import Trained

_SETTINGS = ("precision", "checkpoint_gradients", "accumulate", "grad_clip", "patience", "ema")
Value = float | list[float] | None
"""Of one objective, or of several in their order."""
_CUT = (*CUT_OFF, "oom", "timeout")
"""Kinds of failure that come from outside a training: what it had reached is compared."""


@dataclass(frozen=True)
class Plan:
    """How a trial is to be trained again.

    Attributes:
        job: as the trial was trained.
        spec: what a worker is given.
        then: what was recorded of its run; {} if it is of an earlier version.
    """

    trial: FrozenTrial
    job: Job
    spec: StudySpec
    then: Mapping[str, Any]


@dataclass(frozen=True)
class Rerun:
    """A trial beside its repetition.

    Attributes:
        same: value, error and every step bit for bit; None: there is nothing to compare.
        value: of the trial, then and now; None: none was reached.
        steps: how many epochs' values, then and now.
        part: the first step whose values differ, or None.
        error: why it failed, then and now.
        metrics: other metrics that differ.
        differences: what is not as it was.
        notes: what else is to be known.
    """

    trial: int
    state: str
    same: bool | None
    value: Difference
    steps: Difference
    part: Difference | None
    error: Difference
    metrics: list[Difference] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        """One sentence."""
        if self.same is None:
            return f"Nothing of trial {self.trial} was recorded to compare with."
        if self.same:
            n = self.steps.then
            of = f", all {n} steps bit for bit" if n > 1 else ", bit for bit"
            what = self.error.then if self.value.then is None and self.error.then else None
            return f"The same{of}: {what or self._shown(self.value.then)}."
        found = (
            f"Not the same: {self._shown(self.value.then)} then, {self._shown(self.value.now)} now"
        )
        if self.error.then != self.error.now:
            found += f" ({self.error.now or 'no error now'})"
        if self.part is not None:
            found += f"; they part at {self.part.what}"
        names = ", ".join(d.what for d in self.differences)
        why = (
            f"What differs: {names}"
            if names
            else ("Nothing that was recorded differs: the training itself is not repeatable")
        )
        return f"{found}. {why}."

    @staticmethod
    def _shown(value: Value) -> str:
        return "no value" if value is None else repr(value)


def plan(ledger: Ledger, number: int) -> Plan:
    """Looks up how a trial was trained.

    Raises:
        SpecError: there is no such trial, it has not ended, or its model, data or packages are
            not here.
    """
    trial = _ended_trial(ledger, number)
    meta, origin = ledger.meta, origin_of(trial)
    ref = find_model(meta.model)
    model = load_model(ref)
    fixed = dict(meta.settings.get("fixed") or {})
    model.check(meta.space, fixed)
    then = recorded(ledger, origin.get(NAMED)) or {}
    settings = then.get("settings") or {k: meta.settings.get(k) for k in _SETTINGS}
    n_workers = int(then.get("workers", 1))
    state = trial.state.name
    job = Job(
        ref=ref,
        params={**fixed, **trial.params},
        data=find_data(model, meta.data),
        seed=int(origin.get("seed", meta.seed)),
        epochs=meta.epochs,
        purpose="confirm",
        settings={k: v for k, v in settings.items() if v is not None},
        workers=n_workers,
        stop_after=trial.last_step if state == "PRUNED" else None,
        guide=meta.guide,
        wanted=meta.measured,
        number=number,
        files=TrialFiles.new(Path("hpo-runs").absolute() / ledger.name, f"rerun-{number}"),
    )
    on_cores = trial.user_attrs.get("run", {}).get("device") == "cpu"
    room = local_cpus() / n_workers
    spec = StudySpec(
        model=meta.model,
        cpus_per_trial=min(float(then.get("cpus", 1)), max(room, 0.01)),
        gpus_per_trial=0 if on_cores or not local_gpus() else then.get("gpus"),
        workers_per_trial=n_workers,
        max_concurrent=1,
    )
    plan_resources(spec, local_cpus(), local_gpus())
    return Plan(trial, job, spec, then)


def _ended_trial(ledger: Ledger, number: int) -> FrozenTrial:
    trial = ledger.existing(number)
    if not trial.state.is_finished():
        raise SpecError(
            f"trial: {number} is {trial.state.name}: choose one that has ended (see `hpo trials`)"
        )
    if not trial.params and len(ledger.meta.space):
        raise SpecError(f"trial: {number} has no parameters: choose another (see `hpo trials`)")
    return trial


def rerun(ledger: Ledger, planned: Plan, resources: Resources) -> Rerun:
    """Trains the trial again and compares; changes nothing in the study."""
    from hpo.tune.pool import train_all  # it imports Ray, which must be set up before

    trained = next(trained for _, trained in train_all([planned.job], resources))
    return compare(ledger, planned, trained)


def compare(ledger: Ledger, planned: Plan, trained: Trained) -> Rerun:
    """A trial and what its repetition came to."""
    trial, meta = planned.trial, ledger.meta
    metric = meta.guide.metric
    state, kind = trial.state.name, trial.user_attrs.get(KIND)
    curve, problem = _curve(trained.history, metric)
    error = trained.error or problem
    if error is None and trial.state.name != "PRUNED":
        error = end_problem(meta, trained.metrics)
    cut = state == "FAIL" and kind in _CUT
    then = dict(sorted(trial.intermediate_values.items()))
    last = max(then, default=0)
    compared = {s: v for s, v in curve.items() if s <= last} if cut else curve
    value = _value(trial, trained.metrics, curve, meta, error)
    before = _of_bits(meta, trial.values)
    part = _part(then, compared)
    reason = trial.user_attrs.get(REASON) if state == "FAIL" else None
    same: bool | None = part is None
    if not cut:
        same = same and (before, _cause(reason)) == (value, _cause(error))
    elif not then:
        same = None
    return Rerun(
        trial=trial.number,
        state=state,
        same=same,
        value=Difference(", ".join(_named(meta)) or "value", before, value),
        steps=Difference("steps", len(then), len(curve)),
        part=part,
        error=Difference("error", reason, error),
        metrics=list(_other_metrics(trial, trained, metric)) if error is None else [],
        differences=list(_differences(planned, trained)),
        notes=list(_notes(trial, planned, meta, cut)),
    )


def _curve(history: list[Metrics], metric: str) -> tuple[dict[int, float], str | None]:
    """Values by step, up to the first that a ledger refuses, and why it does."""
    curve: dict[int, float] = {}
    for step, metrics in enumerate(history, start=1):
        if problem := value_problem(metric, metrics.get(metric)):
            return curve, f"{problem} in epoch {step}"
        curve[step] = metrics[metric]
    return curve, None


def _value(
    trial: FrozenTrial,
    metrics: Metrics,
    curve: Mapping[int, float],
    meta: StudyMeta,
    error: str | None,
) -> Value:
    if error is not None:
        return None
    if trial.state.name == "PRUNED":
        return curve.get(trial.last_step or 0)
    return _of_bits(meta, values_of(meta, metrics))


def _named(meta: StudyMeta) -> list[str]:
    """Objectives that can repeat bit by bit: all but the one that a clock measures."""
    return [one.metric for one in meta.objectives if one.metric != LATENCY]


def _of_bits(meta: StudyMeta, values: list[float] | None) -> Value:
    """Values of `_named`; the bare one if there is one objective, None if none can repeat."""
    if values is None or not _named(meta):
        return None
    if not meta.several:
        return values[0]
    names = [one.metric for one in meta.objectives]
    return [values[names.index(name)] for name in _named(meta)]


def _cause(error: str | None) -> str | None:
    """As the ledger keeps it, but without the line of code: its path depends on the folder."""
    return None if error is None else without_place(" ".join(error.split())[:500])


def _part(then: Mapping[int, float], now: Mapping[int, float]) -> Difference | None:
    for step in sorted(then.keys() | now.keys()):
        if then.get(step) != now.get(step):
            return Difference(f"step {step}", then.get(step), now.get(step))
    return None


def _other_metrics(trial: FrozenTrial, trained: Trained, metric: str) -> Iterator[Difference]:
    """Metrics that were stored with the trial; they may say how long something took, too."""
    stored = trial.user_attrs.get("metrics", {})
    of_end = trial.state.name == "PRUNED" and trained.history
    now = trained.history[-1] if of_end else trained.metrics
    for name, then in stored.items():
        found: Any = now.get(name)
        if found is not None and not math.isfinite(found):
            found = str(found)  # as the ledger keeps it
        if found != then and name not in (metric, LATENCY_SD):  # the latter: how a clock repeated
            yield Difference(name, then, found)


def _differences(planned: Plan, trained: Trained) -> Iterator[Difference]:
    trial, then = planned.trial, planned.then
    now = surroundings(planned.job.ref, planned.spec.cpus_per_trial)
    now["cpus"] = planned.spec.cpus_per_trial
    if then:
        yield from differences(then, now)
    else:
        versions = origin_of(trial).get("versions", {})
        for name, before in versions.items():
            if now["packages"].get(name) != before:
                yield Difference(f"package {name}", before, now["packages"].get(name))
    run = trial.user_attrs.get("run", {})
    for key, title in (("device", "device"), ("machine", "machine"), ("data", "data")):
        before, found = run.get(key), trained.info.get(key)
        if before is not None and found is not None and before != found:
            yield Difference(title, before, found)


def _notes(trial: FrozenTrial, planned: Plan, meta: StudyMeta, cut: bool) -> Iterator[str]:
    origin, run = origin_of(trial), trial.user_attrs.get("run", {})
    if "retry_of" in origin:
        yield f"it was attempt {origin['attempt']}, after trial {origin['retry_of']}"
    if run.get(CACHED_FROM):
        yield f"it had not been trained itself: its values are those of {run[CACHED_FROM]}"
    if cut:
        yield f"it was cut off ({trial.user_attrs.get(REASON)}): the steps it reached are compared"
    if not planned.then:
        yield "recorded by an earlier version: its packages and files are not known in full"
    if LATENCY in meta.measured:
        yield f"{LATENCY} is a clock's word, never the same twice: it does not count"
    if run.get("device") == "cuda":
        yield "on a GPU the same seed need not give the same bits"
