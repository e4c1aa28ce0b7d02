"""Limits of control groups are found wherever they are set, from a process's own group upwards."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpo.tune.cgroup import Groups, OomKills, slurm_cpus, slurm_memory

GIB = 2**30
UNLIMITED = "9223372036854771712"


class Tree:
    """A machine's /proc and /sys/fs/cgroup, as far as they are read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.groups = Groups(folder / "proc")

    def mount(self, group: str, *mounts: str) -> None:
        """`group`: lines of /proc/self/cgroup; `mounts`: root, place, kind, options."""
        proc = self.folder / "proc/self"
        proc.mkdir(parents=True)
        (proc / "cgroup").write_text(group)
        lines = []
        for number, text in enumerate(mounts):
            root, place, kind, options = text.split()
            at = str(self.folder / place).replace(" ", "\\040")
            lines.append(f"3{number} 23 0:28 {root} {at} rw shared:9 - {kind} {kind} {options}")
        (proc / "mountinfo").write_text("\n".join(lines))

    def put(self, path: str, text: str) -> None:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "a machine")


def test_the_limit_of_a_unit_above_is_found_in_version_2(tree: Tree) -> None:
    tree.mount("0::/user.slice/run.scope/job\n", "/ cg cgroup2 rw")
    tree.put("cg/user.slice/run.scope/job/memory.max", "max")
    tree.put("cg/user.slice/run.scope/memory.max", str(3 * GIB))  # systemd-run -p MemoryMax=3G
    tree.put("cg/user.slice/memory.max", str(9 * GIB))
    tree.put("cg/user.slice/run.scope/job/cpu.max", "max 100000")
    tree.put("cg/user.slice/cpu.max", "150000 100000")
    assert tree.groups.memory() == 3 * GIB
    assert tree.groups.cpus() == 1.5


def test_memory_that_is_throttled_is_no_more_than_that(tree: Tree) -> None:
    tree.mount("0::/job\n", "/ cg cgroup2 rw")
    tree.put("cg/job/memory.max", str(3 * GIB))
    tree.put("cg/job/memory.high", str(2 * GIB))
    assert tree.groups.memory() == 2 * GIB


def test_slurms_groups_are_found_in_version_1(tree: Tree) -> None:
    job = "slurm/uid_1000/job_7/step_0/task_0"
    tree.mount(
        f"9:memory:/{job}\n5:cpu,cpuacct:/{job}\n1:name=systemd:/\n0::/\n",
        "/ cg/memory cgroup rw,memory",
        "/ cg/cpu,cpuacct cgroup rw,cpu,cpuacct",
        "/ cg/unified cgroup2 rw",
    )
    tree.put(f"cg/memory/{job}/memory.limit_in_bytes", UNLIMITED)
    tree.put("cg/memory/slurm/uid_1000/job_7/memory.limit_in_bytes", str(4 * GIB))
    tree.put("cg/memory/memory.limit_in_bytes", UNLIMITED)
    tree.put(f"cg/cpu,cpuacct/{job}/cpu.cfs_quota_us", "-1")
    tree.put("cg/cpu,cpuacct/slurm/uid_1000/job_7/cpu.cfs_quota_us", "400000")
    tree.put("cg/cpu,cpuacct/slurm/uid_1000/job_7/cpu.cfs_period_us", "100000")
    assert tree.groups.memory() == 4 * GIB
    assert tree.groups.cpus() == 4


def test_a_containers_mount_begins_at_its_own_group(tree: Tree) -> None:
    tree.mount("9:memory:/docker/abc\n", "/docker/abc cg/memory cgroup rw,memory")
    tree.put("cg/memory/memory.limit_in_bytes", str(GIB))
    tree.put("cg/memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3")
    assert (tree.groups.memory(), tree.groups.oom_kills()) == (GIB, 3)


def test_a_group_outside_of_the_namespace_is_looked_at_from_its_root(tree: Tree) -> None:
    tree.mount("0::/../../elsewhere\n", "/ cg cgroup2 rw")
    tree.put("cg/memory.max", str(GIB))
    assert tree.groups.memory() == GIB


def test_a_machine_without_groups_has_no_limit(tree: Tree) -> None:
    assert (tree.groups.memory(), tree.groups.cpus(), tree.groups.oom_kills()) == (None, None, None)
    tree.put("proc/vmstat", "pgfault 7\noom_kill 2")
    assert tree.groups.oom_kills() == 2


def test_each_of_the_kernels_kills_explains_one_death() -> None:
    count = 5
    kills = OomKills(lambda: count)
    assert not kills.explain()
    count = 7
    assert [kills.explain() for _ in range(3)] == [True, True, False]


def test_what_a_slurm_job_asked_for_is_a_limit() -> None:
    job = {"SLURM_JOB_ID": "7", "SLURM_CPUS_ON_NODE": "4"}
    assert slurm_memory({**job, "SLURM_MEM_PER_NODE": "2048"}) == 2 * GIB
    assert slurm_memory({**job, "SLURM_MEM_PER_CPU": "512"}) == 2 * GIB
    assert slurm_cpus(job) == 4
    assert slurm_memory({"SLURM_MEM_PER_NODE": "2048"}) is None  # left over from a login
    assert slurm_memory(job) is None and slurm_cpus({**job, "SLURM_CPUS_ON_NODE": "?"}) is None


EATS = """
from hpo import Float, Space, tunable
@tunable(Space(x=Float(-1.0, 1.0)), "score")
def eat(trial):
    import mmap
    held = []
    for _ in range(60):  # shared memory is no data: the limit of a trial does not count it
        held.append(mmap.mmap(-1, 50 * 2**20))
        held[-1].write(b"1" * (50 * 2**20))
    trial.report(score=1.0)
"""


@pytest.fixture
def group() -> Iterator[Path]:
    """A real control group that may use 1.5 GiB."""
    own = next(iter(Groups().folders("memory")), None)
    if own is None:
        pytest.skip("no memory control group here")
    folder = own / f"hpo-test-{os.getpid()}"
    limit = "memory.max" if (own / "cgroup.controllers").exists() else "memory.limit_in_bytes"
    try:
        folder.mkdir()
        (folder / limit).write_text(str(3 * GIB // 2))
    except OSError as error:
        if folder.is_dir():
            folder.rmdir()
        pytest.skip(f"no control group of our own here: {error}")
    yield folder
    for _ in range(100):
        try:
            folder.rmdir()
            return
        except OSError:
            time.sleep(0.2)


@pytest.mark.ray
@pytest.mark.slow
def test_a_worker_that_the_kernel_ends_for_memory_is_tried_once_alone(
    group: Path, tmp_path: Path
) -> None:
    (tmp_path / "m.py").write_text(EATS)
    enter = f'echo $$ > {group}/cgroup.procs && exec "$@"'
    command = ("run", "--model", "./m.py:eat", "--epochs", "1", "--n-trials", "1", "--name", "eats")
    more = ("--sampler", "random", "--max-concurrent", "1", "--no-retrain", "--no-report", "-q")
    done = subprocess.run(
        ["sh", "-c", enter, "sh", sys.executable, "-m", "hpo.cli", *command, *more],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 1, done.stderr
    listed = subprocess.run(
        [sys.executable, "-m", "hpo.cli", "trials", "eats", "-f", "json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert listed.stdout.count("out of memory: the kernel ended its worker") == 2, listed.stdout
