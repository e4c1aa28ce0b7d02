"""Trains a list of configurations to their end on the same Ray workers: confirming, retraining."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hpo.model import Metrics, Model
from hpo.objectives import LATENCY
from hpo.registry import load_model
from hpo.training.product import Product, product_of
from hpo.training.quiet import Quiet
from hpo.training.session import Job, Session, machine, pick_device
from hpo.tune import output
from hpo.tune.failure import failure_of
from hpo.tune.observer import Observer
from hpo.tune.report import ends_the_worker, one_line
from hpo.tune.resources import Resources


@dataclass(frozen=True)
class Trained:
    """What one job came to.

    Attributes:
        metrics: validation metrics of the best epoch (`confirm`), of the last one (`retrain`).
        test: test metrics, and what was wanted of the network itself; empty unless the job's
            purpose is `retrain`.
        product: what is to be saved, for `retrain`.
        files: pictures and texts of what it makes of test rows, for `retrain`.
        info: what `Model.build` was told of the data, for `retrain`; else device, machine and the
            data's digest.
        error: why it failed, or None.
        history: metrics of each epoch, unless the purpose is `retrain`.
        worn: why the worker is not to have another job, or None.
    """

    metrics: Metrics = field(default_factory=dict)
    test: Metrics = field(default_factory=dict)
    product: Product = field(default_factory=Product)
    files: dict[str, bytes] = field(default_factory=dict, repr=False)
    info: dict[str, Any] = field(default_factory=dict)
    error: str | None = None
    history: list[Metrics] = field(default_factory=list, repr=False)
    worn: str | None = None


def train(job: Job, folder: str, model: Model | None = None) -> Trained:
    """Runs one job to its end in this process, with a model that was loaded for it."""
    if os.path.isdir(folder):
        os.chdir(folder)
    history: list[Metrics] = []
    facts: dict[str, Any] = {}
    session: Session | None = None
    try:
        from hpo.tune import group  # brings Ray, which is to be imported after its settings

        turns = Quiet(LATENCY in job.wanted)
        begun = time.monotonic()
        with turns.working():
            session = group.begin(job, model or load_model(job.ref))
        history = session.history
        facts = {"device": pick_device(), "data": session.data_digest}
        facts["machine"] = machine(pick_device())
        finished = False
        while not finished and len(history) != job.stop_after:
            with turns.working():
                finished = session.step().finished
        # A fifth of what the training took is no long wait for one that nothing disturbs.
        with turns.alone((time.monotonic() - begun) / 5):
            figures = session.figures()
        trained = _outcome(job, session, facts, figures)
    except BaseException as error:
        if ends_the_worker(error):
            raise
        failure = failure_of(error, job.ref)
        worn = "it ran out of memory" if failure.kind == "oom" else None
        trained = Trained(error=failure.error, history=history, info=facts, worn=worn)
    if session is not None and not session.stop():
        trained = replace(trained, worn="its function goes on after the stop")
    return trained


def _outcome(job: Job, session: Session, facts: dict[str, Any], figures: Metrics) -> Trained:
    if job.purpose != "retrain":
        return Trained(metrics=session.best(), history=session.history, info=facts)
    return Trained(
        test={**session.test(), **figures},
        product=product_of(session.product()),
        files=_files(session),
        info=session.data_info(),
    )


def _files(session: Session) -> dict[str, bytes]:
    """What the network makes of test rows; a model whose `show` fails is not lost by that."""
    try:
        return session.files()
    except BaseException as error:
        if ends_the_worker(error):
            raise
        return {"show-failed.txt": traceback.format_exc().encode()}


class Seat:
    """A warm worker that does one job after another."""

    def train(self, job: Job, folder: str) -> Trained:
        """Runs one job to its end, and clears away what it leaves."""
        from hpo.tune import group
        from hpo.tune.upkeep import Upkeep

        output.begin(job.files.log if job.files else None)
        try:
            group.gather(job.workers)
            upkeep = Upkeep(job)
        except BaseException as error:
            if ends_the_worker(error):
                raise
            return Trained(error=failure_of(error, job.ref).error)
        trained = train(job, folder, upkeep.model)
        left = upkeep.end()
        output.end()
        return replace(trained, worn=trained.worn or left)


def train_phase(
    name: str,
    titles: Sequence[str],
    jobs: Sequence[Job],
    resources: Resources,
    observer: Observer,
) -> Iterator[tuple[int, Trained]]:
    """Does as `train_all`, and tells the observer.

    Args:
        titles: of the jobs, all different.
    """

    def started(index: int) -> None:
        observer.training_started(titles[index], jobs[index].params)

    observer.phase(name, 0, len(jobs))
    for done, (index, trained) in enumerate(train_all(jobs, resources, started), start=1):
        observer.training_ended(titles[index])
        observer.phase(name, done, len(jobs))
        yield index, trained


def train_all(
    jobs: Sequence[Job],
    resources: Resources,
    on_start: Callable[[int], None] = lambda index: None,
) -> Iterator[tuple[int, Trained]]:
    """Runs jobs side by side; yields (index, result) as they end.

    A worker that dies costs only its job, which is run once more.

    Args:
        on_start: called with the index of a job when a worker is given it.
    """
    import ray

    remote = ray.remote(num_cpus=resources.cpus_per_trial, num_gpus=resources.gpus_per_trial)(Seat)
    folder = os.getcwd()
    waiting = list(enumerate(jobs))
    died: set[int] = set()
    free: list[Any] = []
    running: dict[Any, tuple[int, Any]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < resources.max_concurrent:
                index, job = waiting.pop(0)
                seat = free.pop() if free else remote.remote()
                running[seat.train.remote(job, folder)] = index, seat
                on_start(index)
            done, _ = ray.wait(list(running), num_returns=1)
            index, seat = running.pop(done[0])
            try:
                trained = ray.get(done[0])
            except ray.exceptions.RayError as error:
                ray.kill(seat)
                if isinstance(error, ray.exceptions.RayActorError) and index not in died:
                    died.add(index)
                    waiting.insert(0, (index, jobs[index]))
                    continue
                trained = Trained(error=one_line(error))
            else:
                free.append(seat) if trained.worn is None else ray.kill(seat)
            yield index, trained
    finally:
        for seat in (*free, *(seat for _, seat in running.values())):
            ray.kill(seat)  # after an interrupt, too: leave no training behind
