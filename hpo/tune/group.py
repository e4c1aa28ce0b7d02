"""Several workers that train one trial together: a session that leads others.

The worker that has the trial is rank 0; the others are actors beside it, in the resources that the
trial reserved.  They stay warm from trial to trial, as it does.  (Ray Train would start its own
controller and workers for each trial, which takes seconds.)
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import ray

from hpo.errors import SpecError, TrialError
from hpo.model import Metrics, Model
from hpo.training.session import Job, ModelSession, Session, Step, pick_device, start
from hpo.tune import output
from hpo.tune.report import ends_the_worker, one_line
from hpo.tune.scratch import scratch_folder

_PATIENCE = timedelta(minutes=5)
"""How long a rank waits for the others in one step; a death is noticed at once."""
_group: list[Any] = []
"""This process's other ranks: actors, in the order of their ranks."""


class Rank:
    """A worker beside the one that has the trial."""

    def join(self, rank: int, size: int, meeting: str, folder: str) -> None:
        """Meets the others; returns when all are there."""
        self.rank = rank
        if os.path.isdir(folder):
            os.chdir(folder)
        _meet(rank, size, meeting)

    def begin(self, job: Job) -> None:
        """Starts the same training as all ranks."""
        from hpo.tune.upkeep import Upkeep

        if job.files is not None:
            output.begin(f"{job.files.log.removesuffix('.log')}-rank{self.rank}.log")
        with _no_exit():
            self.upkeep = Upkeep(job)
            self.session = start(job, model=self.upkeep.model)

    def step(self) -> None:
        """One epoch, together."""
        with _no_exit():
            self.session.step()

    def end(self) -> str | None:
        """Forgets the training; None, or why this worker is not to have another."""
        del self.session
        return self.upkeep.end()


def begin(job: Job, model: Model) -> Session:
    """Starts a training here, or one that leads `job.workers - 1` others."""
    return start(job, model=model) if job.workers == 1 else GroupSession(job, model)


class GroupSession:
    """A `ModelSession` whose epochs are done by several workers together."""

    def __init__(self, job: Job, model: Model) -> None:
        with _or_disband():
            gather(job.workers)
            begun = [rank.begin.remote(job) for rank in _group]
            session = start(job, model=model)
            if not isinstance(session, ModelSession):
                raise SpecError("workers_per_trial: a function trains by itself: leave it out")
            self.session = session
            self.history: list[Metrics] = session.history
            self.data_digest = session.data_digest
            ray.get(begun)

    def step(self) -> Step:
        with _or_disband():
            others = [rank.step.remote() for rank in _group]
            outcome = self.session.step()
            ray.get(others)
        return outcome

    @property
    def best_epoch(self) -> int:
        return self.session.best_epoch

    def stop(self) -> bool:
        with contextlib.suppress(Exception), _or_disband():
            if any(ray.get([rank.end.remote() for rank in _group])):
                _disband()
        return self.session.stop()

    def best(self) -> Metrics:
        return self.session.best()

    def figures(self) -> Metrics:
        return self.session.figures()

    def test(self) -> Metrics:
        return self.session.test()

    def network(self) -> Any:
        return self.session.network()

    def product(self) -> Any:
        return self.session.product()

    def files(self) -> dict[str, bytes]:
        return self.session.files()

    def data_info(self) -> dict[str, Any]:
        return self.session.data_info()


def gather(size: int) -> None:
    """Starts the other ranks of a trial of so many, unless they are there from the one before."""
    if len(_group) == size - 1:
        return
    _disband()
    mine = ray.get_runtime_context().get_assigned_resources()
    remote = ray.remote(num_cpus=mine.get("CPU", 0), num_gpus=mine.get("GPU", 0))(Rank)
    _group.extend(remote.remote() for _ in range(size - 1))
    with scratch_folder() as folder:
        meeting = _meeting(folder)
        joined = [
            actor.join.remote(rank, size, meeting, os.getcwd())
            for rank, actor in enumerate(_group, start=1)
        ]
        _meet(0, size, meeting)
        ray.get(joined)


def _meeting(folder: Path) -> str:
    """Where the ranks meet: a file if all are on this machine's loopback, else a port."""
    address = ray.util.get_node_ip_address()
    if address == "127.0.0.1":
        return f"file://{folder}/ranks"
    with socket.socket() as probe:
        probe.bind((address, 0))
        return f"tcp://{address}:{probe.getsockname()[1]}"


def _meet(rank: int, size: int, meeting: str) -> None:
    from torch import distributed

    if meeting.startswith("file:"):
        os.environ["GLOO_SOCKET_IFNAME"] = os.environ["NCCL_SOCKET_IFNAME"] = "lo"
    backend = "nccl" if pick_device() == "cuda" else "gloo"
    distributed.init_process_group(
        backend, init_method=meeting, rank=rank, world_size=size, timeout=_PATIENCE
    )


@contextlib.contextmanager
def _or_disband() -> Iterator[None]:
    """After an error the ranks no longer know what the others do: the next trial gathers anew."""
    try:
        yield
    except ray.exceptions.RayTaskError as error:  # a rank's: as it would be here
        _disband()
        raise error.cause from None
    except BaseException:
        _disband()
        raise


@contextlib.contextmanager
def _no_exit() -> Iterator[None]:
    """A rank whose code exits has failed, and stays."""
    try:
        yield
    except Exception:
        raise
    except BaseException as error:
        if ends_the_worker(error):
            raise
        raise TrialError(one_line(error)) from error


def _disband() -> None:
    from torch import distributed

    for actor in _group:
        ray.kill(actor)
    _group.clear()
    if distributed.is_initialized():
        distributed.destroy_process_group()
