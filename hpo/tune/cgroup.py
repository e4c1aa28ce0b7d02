"""Limits of the control groups that this process is in: of a container, systemd or Slurm.

A group's own limit may be none while one above it has one: all are looked at, from this process's
own group upwards, in both versions of the kernel's interface.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_MIB = 2**20


@dataclass(frozen=True)
class Groups:
    """The control groups of this process.

    Attributes:
        proc: folder with `self/cgroup`, `self/mountinfo` and `vmstat`.
    """

    proc: Path = Path("/proc")

    def folders(self, controller: str) -> Iterator[Path]:
        """Folders of this process's group and of all above it, from the innermost."""
        for controllers, path in self._memberships():
            if controllers and controller not in controllers:
                continue
            for root, mounted in self._mounts(controller if controllers else ""):
                inside = path.removeprefix(root.rstrip("/")).strip("/")
                own = mounted / inside if path.startswith(root) and ".." not in inside else mounted
                own = own if own.is_dir() else mounted
                yield own
                yield from (above for above in own.parents if above.is_relative_to(mounted))

    def _memberships(self) -> Iterator[tuple[list[str], str]]:
        """Controllers (none in version 2) and the group's path, as `self/cgroup` has them."""
        for line in _lines(self.proc / "self/cgroup"):
            _, controllers, path = line.split(":", 2)
            yield controllers.split(",") if controllers else [], path

    def _mounts(self, controller: str) -> Iterator[tuple[str, Path]]:
        """The group that is mounted, and where; of version 2 if no controller is named."""
        for line in _lines(self.proc / "self/mountinfo"):
            mount, _, source = line.partition(" - ")
            root, place = (part.encode().decode("unicode_escape") for part in mount.split()[3:5])
            kind, _, options = source.split(maxsplit=2)
            if kind == ("cgroup" if controller else "cgroup2") and (
                not controller or controller in options.split(",")
            ):
                yield root, Path(place)

    def memory(self) -> int | None:
        """Bytes of memory that the narrowest group may use; None: no limit."""
        names = ("memory.max", "memory.high", "memory.limit_in_bytes")
        limits = [_number(f / name) for f in self.folders("memory") for name in names]
        return min((limit for limit in limits if limit is not None), default=None)

    def cpus(self) -> float | None:
        """Cores that the narrowest group may use, as a share of time; None: no limit."""
        shares = []
        for folder in self.folders("cpu"):
            quota, period = _number(folder / "cpu.max"), _number(folder / "cpu.max", 1)
            if quota is None:
                quota = _number(folder / "cpu.cfs_quota_us")
                period = _number(folder / "cpu.cfs_period_us")
            if quota is not None and quota > 0 and period:
                shares.append(quota / period)
        return min(shares, default=None)

    def oom_kills(self) -> int | None:
        """Processes of this group that the kernel has killed for memory; without groups, of the
        machine.  None: not known."""
        for folder in self.folders("memory"):
            for name in ("memory.events", "memory.oom_control"):
                if (n := _entry(folder / name, "oom_kill")) is not None:
                    return n
        return _entry(self.proc / "vmstat", "oom_kill")


class OomKills:
    """Tells which deaths were the kernel's doing, for lack of memory: each of its kills is one."""

    def __init__(self, count: Callable[[], int | None] = Groups().oom_kills) -> None:
        self._count = count
        self._known = count()

    def explain(self) -> bool:
        """Whether a process that has just died was killed for memory."""
        now = self._count()
        if now is None or self._known is None or now <= self._known:
            return False
        self._known += 1
        return True


def slurm_memory(environment: Mapping[str, str] = os.environ) -> int | None:
    """Bytes on this node that a Slurm job asked for; Slurm may end it without a control group."""
    if "SLURM_JOB_ID" not in environment:
        return None
    with contextlib.suppress(ValueError):
        if per_node := int(environment.get("SLURM_MEM_PER_NODE", "0")):
            return per_node * _MIB
        per_cpu = int(environment.get("SLURM_MEM_PER_CPU", "0"))
        return per_cpu * int(environment.get("SLURM_CPUS_ON_NODE", "1")) * _MIB or None
    return None


def slurm_cpus(environment: Mapping[str, str] = os.environ) -> int | None:
    """Cores of this node that a Slurm job has."""
    if "SLURM_JOB_ID" not in environment:
        return None
    with contextlib.suppress(ValueError):
        return int(environment.get("SLURM_CPUS_ON_NODE", "0")) or None
    return None


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []


def _number(file: Path, column: int = 0) -> int | None:
    """A number in a file of one line; None for `max`, or if there is no such file."""
    try:
        return int(_lines(file)[0].split()[column])
    except (IndexError, ValueError):
        return None


def _entry(file: Path, key: str) -> int | None:
    """The number behind a key, in a file of a key and a number each line."""
    for line in _lines(file):
        name, _, value = line.partition(" ")
        if name == key and value.strip().isdigit():
            return int(value)
    return None
