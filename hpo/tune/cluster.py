"""Looks at every node of a Ray cluster before a study starts there."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from hpo.errors import SpecError

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

    path = data.partition(":")[2]

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
