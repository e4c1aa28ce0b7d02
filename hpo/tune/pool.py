"""Trains a list of configurations to their end on the same Ray workers: confirming, retraining."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from hpo.model import Metrics
from hpo.objectives import LATENCY
from hpo.training.product import Product, product_of
from hpo.training.quiet import Quiet
from hpo.training.session import Job, Session, machine, pick_device
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
    """

    metrics: Metrics = field(default_factory=dict)
    test: Metrics = field(default_factory=dict)
    product: Product = field(default_factory=Product)
    files: dict[str, bytes] = field(default_factory=dict, repr=False)
    info: dict[str, Any] = field(default_factory=dict)
    error: str | None = None
    history: list[Metrics] = field(default_factory=list, repr=False)


def train(job: Job, folder: str) -> Trained:
    """Runs one job to its end in this process."""
    if os.path.isdir(folder):
        os.chdir(folder)
    history: list[Metrics] = []
    facts: dict[str, Any] = {}
    try:
        from hpo.tune import group  # brings Ray, which is to be imported after its settings

        turns = Quiet(LATENCY in job.wanted)
        begun = time.monotonic()
        with turns.working():
            session = group.begin(job)
        history = session.history
        facts = {"device": pick_device(), "data": session.data_digest}
        facts["machine"] = machine(pick_device())
        finished = False
        while not finished:
            with turns.working():
                finished = session.step().finished
            if len(history) == job.stop_after and not finished:
                session.stop()
                break
        # A fifth of what the training took is no long wait for one that nothing disturbs.
        with turns.alone((time.monotonic() - begun) / 5):
            figures = session.figures()
        if job.purpose != "retrain":
            return Trained(metrics=session.best(), history=history, info=facts)
        return Trained(
            test={**session.test(), **figures},
            product=product_of(session.product()),
            files=_files(session),
            info=session.data_info(),
        )
    except BaseException as error:
        if ends_the_worker(error):
            raise
        return Trained(error=one_line(error), history=history, info=facts)


def _files(session: Session) -> dict[str, bytes]:
    """What the network makes of test rows; a model whose `show` fails is not lost by that."""
    try:
        return session.files()
    except BaseException as error:
        if ends_the_worker(error):
            raise
        return {"show-failed.txt": traceback.format_exc().encode()}


def train_all(jobs: Sequence[Job], resources: Resources) -> Iterator[tuple[int, Trained]]:
    """Runs jobs side by side; yields (index, result) as they end.

    A worker that dies costs only its job, which is run once more by Ray.
    """
    import ray

    remote = ray.remote(
        num_cpus=resources.cpus_per_trial, num_gpus=resources.gpus_per_trial, max_retries=1
    )(train)
    folder = os.getcwd()
    waiting = list(enumerate(jobs))
    running: dict[Any, int] = {}
    try:
        while waiting or running:
            while waiting and len(running) < resources.max_concurrent:
                index, job = waiting.pop(0)
                running[remote.remote(job, folder)] = index
            done, _ = ray.wait(list(running), num_returns=1)
            index = running.pop(done[0])
            try:
                yield index, ray.get(done[0])
            except ray.exceptions.RayError as error:
                yield index, Trained(error=one_line(error))
    finally:
        for reference in running:  # an interrupt: leave no training behind
            ray.cancel(reference, force=True)
