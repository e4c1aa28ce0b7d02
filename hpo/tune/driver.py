"""Runs the search of a study: ledger and sampler on this side, Ray Tune's workers on the other."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hpo.errors import HpoError, SpecError
from hpo.search import make_pruner, make_sampler
from hpo.search.prior import Prior
from hpo.storage.creation import ensure_study, not_left_empty
from hpo.storage.known import KnownTrainings
from hpo.storage.lease import Driver, Lease
from hpo.storage.ledger import Ledger, StudyMeta
from hpo.storage.retry import Patience
from hpo.storage.warm_start import WARM_START, warm_start
from hpo.study import ResolvedStudy, StudySpec
from hpo.training.session import Job
from hpo.tune.bridge import Bridge
from hpo.tune.cgroup import OomKills
from hpo.tune.circumstances import NAMED, PREFIX, circumstances, digest
from hpo.tune.cluster import shortage
from hpo.tune.environment import ray_problem, resources_now
from hpo.tune.limits import Limits, fair_share
from hpo.tune.observer import Observer
from hpo.tune.resources import Resources, local_cpus, local_gpus, plan_resources
from hpo.tune.scratch import scratch_folder
from hpo.tune.stop import Stop

_log = logging.getLogger("hpo.tune")


@dataclass(frozen=True)
class SearchEnd:
    """How a search ended.

    Attributes:
        signal: the signal that ended it, or None.
        duration_s: from the first ask to the last tell.
        problem: why it gave up, in one line, or None.
    """

    signal: int | None
    duration_s: float
    problem: str | None = None

    @property
    def whole(self) -> bool:
        """Whether it came to its own end."""
        return self.signal is None and self.problem is None


@contextlib.contextmanager
def drive(
    study: ResolvedStudy, storage: Any, on_wait: Callable[[Driver], None] = lambda driver: None
) -> Iterator[Ledger]:
    """Creates the study in the storage or opens it again, as its driver while the context lasts.

    Args:
        on_wait: called with the driver whose death is being waited for.
    Raises:
        SpecError: the study exists and differs in a way that would mix what cannot be mixed,
            another driver holds it, or it cannot start from the studies that it is to.
    """
    spec = study.spec
    meta = meta_for(study)
    start = Patience()(lambda: warm_start(storage, study.name, meta, spec.warm_start))
    for notice in start.notices:
        _log.warning("%s: %s", study.name, notice)
    prior = Prior(study.space, start.sources) if start.sources else None
    budget = spec.total_trials or study.n_trials

    def sampler(n_done: int) -> Any:
        # Drivers that begin at the same moment are not to draw the same points.
        offset = int(lease.run, 16) % 2**31 if spec.join else 0
        return make_sampler(
            spec.sampler,
            study.space,
            spec.seed,
            n_trials=budget,
            n_trials_done=n_done + offset,
            prior=prior,
            n_concurrent=_n_concurrent(spec),
        )

    pruner = make_pruner(spec.pruner, epochs=study.epochs, n_trials=budget)
    with contextlib.ExitStack() as stack:
        stack.enter_context(not_left_empty(storage, study.name))
        study_id = ensure_study(storage, study.name, meta)
        lease = Lease(storage, study_id, study.name, shared=spec.join, on_wait=on_wait)
        stack.enter_context(lease)
        ledger = Ledger.create_or_open(storage, study.name, meta, sampler, pruner, lease=lease)
        ledger.reconcile()
        if start.record:
            ledger.set_attr(WARM_START, start.record)
        yield ledger


def meta_for(study: ResolvedStudy) -> StudyMeta:
    """What the study is begun as."""
    objective = study.objectives[0]
    return StudyMeta(
        model=study.ref.name,
        metric=objective.metric,
        direction=objective.direction,
        space=study.space,
        data=study.data,
        epochs=study.epochs,
        seed=study.spec.seed,
        settings={**study.settings(), "sampler": study.spec.sampler, "fixed": dict(study.fixed)},
        more=study.objectives[1:],
        constraints=study.constraints,
        own=None if study.guide in study.objectives else study.guide,
        code=study.ref.code,
    )


def _n_concurrent(spec: StudySpec) -> int:
    """Trials at once, as far as that is known before Ray runs."""
    if spec.ray_address is not None:
        return spec.max_concurrent or 1
    return plan_resources(spec, local_cpus(), local_gpus()).max_concurrent


def n_trials_left(study: ResolvedStudy, ledger: Ledger) -> int | None:
    """Trials to run now: this many more, or what is missing to the total; None: no limit."""
    if study.spec.total_trials is None:
        return study.n_trials
    counts = ledger.counts()
    ended = sum(counts.get(state, 0) for state in ("COMPLETE", "PRUNED"))
    return max(0, study.spec.total_trials - ended)


def search(
    study: ResolvedStudy,
    ledger: Ledger,
    resources: Resources,
    observer: Observer,
    stop: Stop | None = None,
    known: KnownTrainings | None = None,
) -> SearchEnd:
    """Runs trials until the budget, the space or the time is used up, or `stop` says so.

    What runs when it is stopped is told FAIL("interrupted"), and tried again by the next run.

    Args:
        known: trainings of other studies; a trial that would repeat one is told its outcome.
    """
    from hpo.search.auto_sampler import AutoSampler

    started = time.monotonic()
    spec = study.spec
    stop = stop or Stop()
    bridge = Bridge(
        ledger,
        job_of(study),
        limits=limits_of(spec, resources),
        n_trials=None if spec.join and spec.total_trials else n_trials_left(study, ledger),
        total_trials=spec.total_trials if spec.join else None,
        max_concurrent=resources.max_concurrent,
        deadline=None if study.timeout is None else started + study.timeout,
        first=_first(study, ledger),
        origin=_origin(study, ledger, resources),
        folder=os.getcwd(),
        observer=observer,
        max_retries=spec.max_retries,
        retry_failed=spec.retry_failed,
        checkpoints=study_folder(study) / ".checkpoints",
        output=study_folder(study),
        max_failures=spec.max_failures,
    )

    def give_up(reason: str) -> None:
        _log.error("%s: `hpo resume %s` goes on", reason, study.name)
        stop.force(1, reason)

    bridge.broken, bridge.give_up = ray_problem, give_up
    if spec.ray_address is None:  # elsewhere the kernel's count is not this machine's
        bridge.killed_for_memory = OomKills().explain
    if isinstance(sampler := ledger.study.sampler, AutoSampler):
        sampler.n_concurrent = resources.max_concurrent
    if known is not None:
        bridge.known = known.find
    if spec.ray_address is not None:  # nodes come and go
        bridge.slots = lambda: _slots(spec, bridge.max_concurrent)
        bridge.waiting_room.shortage = lambda: shortage(resources)
    with stop.calls(bridge.interrupt, ledger.abandon), _whole(ledger):
        if not bridge.finished():
            _fit(bridge, resources, local=spec.ray_address is None)
        bridge.settle()
    if ledger.lease is not None and ledger.lease.lost:
        raise HpoError(f"study {study.name!r}: this driver stopped: {ledger.lease.lost}")
    problem = bridge.failures.problem(study.name)
    return SearchEnd(stop.signal, time.monotonic() - started, problem)


def _slots(spec: StudySpec, before: int) -> int:
    try:
        return resources_now(spec).max_concurrent
    except SpecError:  # no node is left, for now
        return before


@contextlib.contextmanager
def _whole(ledger: Ledger) -> Iterator[None]:
    """Leaves no trial under way, whatever happens inside."""
    try:
        yield
    finally:
        ledger.release("interrupted", "interrupted")


def study_folder(study: ResolvedStudy) -> Path:
    """Where a study's files are: its models, its page, its trials' logs, folders, checkpoints."""
    return Path(study.spec.output).expanduser().absolute() / study.name


def limits_of(spec: StudySpec, resources: Resources) -> Limits:
    """What one trial may take; on this machine's cores, by default its share of the memory."""
    memory = None if spec.memory_per_trial is None else int(spec.memory_per_trial)
    if memory is None and spec.ray_address is None and not resources.gpus_per_trial:
        memory = fair_share(resources.max_concurrent * resources.workers_per_trial)
    return Limits(spec.trial_timeout, memory)


def job_of(study: ResolvedStudy) -> Job:
    """The job all trials share; each adds its own parameters."""
    return Job(
        ref=study.ref,
        params=study.fixed,
        data=study.data,
        seed=study.spec.seed,
        epochs=study.epochs,
        settings=study.settings(),
        checkpoint_s=study.spec.checkpoint_every,
        workers=study.spec.workers_per_trial,
        guide=study.guide,
        wanted=study.wanted,
    )


def _first(study: ResolvedStudy, ledger: Ledger) -> dict[str, Any] | None:
    """The model's default configuration, unless switched off, tried already or off the grid."""
    if not study.spec.default_first or ledger.counts():
        return None
    default = study.space.default()
    if study.spec.sampler == "grid":
        cells = {study.space.key(cell) for cell in study.space.grid()}
        return default if study.space.key(default) in cells else None
    return default


def _origin(study: ResolvedStudy, ledger: Ledger, resources: Resources) -> dict[str, Any]:
    """What each trial says of where it comes from."""
    packages = ("torch", "optuna", "ray", "hpo-torch")
    facts = circumstances(study, resources.gpus_per_trial)
    named = digest(facts)
    if ledger.attr(f"{PREFIX}{named}") is None:
        ledger.set_attr(f"{PREFIX}{named}", facts)
    return {
        "seed": study.spec.seed,
        NAMED: named,
        "space": study.space.fingerprint(),
        "output": str(study_folder(study)),
        "versions": {name: version(name) for name in packages},
    }


def _fit(bridge: Bridge, resources: Resources, *, local: bool) -> None:
    from ray import tune
    from ray.tune import CheckpointConfig, RunConfig, TuneConfig

    from hpo.tune.searcher import (
        Forgetter,
        LedgerScheduler,
        LedgerSearcher,
        LedgerStopper,
        Placements,
        replace_worn_workers,
        use_no_state_files,
        use_waiting_workers,
    )
    from hpo.tune.trainable import TrialWorker

    # The bridge says how many run at once; Tune is not to hold back more than that.
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = "1000000"
    use_no_state_files()
    replace_worn_workers()
    if local:
        use_waiting_workers()
    # A bundle a worker; the first one's is the trial's own.
    per_worker = {"CPU": resources.cpus_per_trial, "GPU": resources.gpus_per_trial}
    per_trial = tune.PlacementGroupFactory([per_worker] * resources.workers_per_trial)
    with scratch_folder() as scratch:
        tune.Tuner(
            tune.with_resources(TrialWorker, per_trial),
            tune_config=TuneConfig(
                search_alg=LedgerSearcher(bridge),
                scheduler=LedgerScheduler(bridge),
                num_samples=-1,
                reuse_actors=True,
            ),
            run_config=RunConfig(
                name="search",
                storage_path=str(scratch),
                verbose=0,
                callbacks=[Forgetter(), Placements(bridge)],
                stop=LedgerStopper(bridge),
                checkpoint_config=CheckpointConfig(checkpoint_at_end=False),
            ),
        ).fit()
