"""Looks at every node of a Ray cluster before a study starts there."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

from hpo.errors import SpecError
from hpo.reading import reading_of
from hpo.tune.resources import Resources

_PATIENCE_S = 60


def check_nodes(data: str) -> None:
    """Asks each living node for this service's version and the data's path.

    Args:
        data: resolved reference, `digits` or `imagefolder:/absolute/path`.
    Raises:
        SpecError: with every node that lacks one of them, a line each.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    path = reading_of(data.partition(":")[2])[0]
    if not Path(path).exists():  # an id of the hub
        path = ""

    def probe(path: str) -> tuple[str | None, bool]:  # by value: the node may lack this package
        import os
        from importlib.metadata import PackageNotFoundError, version

        try:
            found = version("hpo-torch")
        except PackageNotFoundError:
            return None, False
        return found, not path or os.path.exists(path)

    remote = ray.remote(num_cpus=0, max_retries=0)(probe)
    asked: dict[Any, str] = {}
    for node in ray.nodes():
        if node["Alive"]:
            here = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            name = f"node {node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
            asked[remote.options(scheduling_strategy=here).remote(path)] = name
    answered, silent = ray.wait(list(asked), num_returns=len(asked), timeout=_PATIENCE_S)
    problems = [f"ray_address: {asked[one]}: no answer in {_PATIENCE_S} s" for one in silent]
    for one in answered:
        try:
            found, there = ray.get(one)
        except ray.exceptions.RayError as error:
            reason = str(error).strip().splitlines()[-1]
            problems.append(f"ray_address: {asked[one]}: cannot run a task: {reason[:200]}")
            continue
        if found != version("hpo-torch"):
            problems.append(
                f"ray_address: {asked[one]} has hpo-torch {found or 'not at all'}, here it is "
                f"{version('hpo-torch')}: install the same everywhere"
            )
        elif not there:
            problems.append(
                f"data: {asked[one]} has nothing at {path!r}: put it on a disk all nodes share"
            )
    if problems:
        raise SpecError(problems)


def shortage(resources: Resources) -> tuple[int, str]:
    """How many trials of this driver the cluster has no room for now, and what they lack.

    Returns:
        The number, and `2 CPUs and 1 GPU: 0 of 8 CPUs and 1 of 2 GPUs are free`.
    """
    import ray
    from ray.util import placement_group_table

    # A placement group's id ends with the id of the job that asked for it.
    job = ray.get_runtime_context().get_job_id()
    groups = placement_group_table()
    n_lacking = sum(
        group["state"] in ("PENDING", "RESCHEDULING") and key.endswith(job)
        for key, group in groups.items()
    )
    if not n_lacking:
        return 0, ""
    n = resources.workers_per_trial
    total, free = ray.cluster_resources(), ray.available_resources()
    wanted, there = [], []
    for kind, each in (("CPU", resources.cpus_per_trial), ("GPU", resources.gpus_per_trial)):
        if each:
            wanted.append(f"{n * each:g} {kind}{'s' * (n * each != 1)}")
            there.append(f"{free.get(kind, 0):g} of {total.get(kind, 0):g} {kind}s")
    return n_lacking, f"{' and '.join(wanted)}: {' and '.join(there)} are free"
