"""Cores and GPUs that there are, and how trials share them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from hpo.errors import SpecError
from hpo.study import StudySpec
from hpo.tune.cgroup import Groups, slurm_cpus


@dataclass(frozen=True)
class Resources:
    """What one trial takes, each of its workers, and how many run at once."""

    cpus_per_trial: float
    gpus_per_trial: float
    workers_per_trial: int
    max_concurrent: int
    cpus: float
    gpus: float

    def __str__(self) -> str:
        workers = f"{self.workers_per_trial} workers with " if self.workers_per_trial > 1 else ""
        gpu = f" + {self.gpus_per_trial:g} GPU" if self.gpus_per_trial else ""
        return (
            f"{self.max_concurrent} at once, {workers}{self.cpus_per_trial:g} core{gpu} each, "
            f"of {self.cpus:g} cores and {self.gpus:g} GPUs"
        )


def local_gpus() -> int:
    """GPUs of this machine, without importing torch: what CUDA would show."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([one for one in visible.split(",") if one.strip() not in ("", "-1")])
    devices = Path("/proc/driver/nvidia/gpus")
    return len(list(devices.iterdir())) if devices.is_dir() else 0


def local_cpus() -> int:
    """Cores this process may use: those it is bound to, and those of its control group or job."""
    bound = hasattr(os, "sched_getaffinity")
    n = len(os.sched_getaffinity(0)) if bound else os.cpu_count() or 1
    return max(1, min(n, int(Groups().cpus() or n), slurm_cpus() or n))


def plan_resources(spec: StudySpec, cpus: float, gpus: float) -> Resources:
    """Divides what there is among trials.

    Args:
        cpus: cores there are, on this machine or in the cluster.
        gpus: GPUs there are.
    Raises:
        SpecError: a trial asks for more than there is.
    """
    gpus_per_trial = spec.gpus_per_trial
    if gpus_per_trial is None:
        gpus_per_trial = 1.0 if gpus >= 1 else 0.0
    problems = []
    if gpus_per_trial > gpus:
        problems.append(
            f"gpus_per_trial: {gpus_per_trial:g} asked for, {gpus:g} found here: "
            "leave it out or give --gpus-per-trial 0 to train on cores"
        )
    if gpus_per_trial > 1 and gpus_per_trial != int(gpus_per_trial):
        problems.append(
            f"gpus_per_trial: {gpus_per_trial:g} must be a fraction up to 1 or a whole number"
        )
    if spec.cpus_per_trial > cpus:
        problems.append(
            f"cpus_per_trial: {spec.cpus_per_trial:g} asked for, {cpus:g} found here: ask for less"
        )
    if problems:
        raise SpecError(problems)
    slots = int(cpus / spec.cpus_per_trial)
    if gpus_per_trial:
        slots = min(slots, int(gpus / gpus_per_trial))
    n_workers = spec.workers_per_trial
    if slots < n_workers:
        raise SpecError(
            f"workers_per_trial: {n_workers} asked for, there is room for {slots} here: ask for "
            "fewer, or for less each with --cpus-per-trial or --gpus-per-trial"
        )
    slots //= n_workers
    concurrent = min(slots, spec.max_concurrent or slots)
    return Resources(spec.cpus_per_trial, gpus_per_trial, n_workers, concurrent, cpus, gpus)
