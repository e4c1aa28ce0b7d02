"""From the command to the first trial that trains: how long, and where the time goes.

    python benchmarks/startup.py [--rounds 5]

Runs `hpo run --model THIS_FILE:Timed --n-trials 1` in a fresh process each round, `Timed` being
the zoo's CNN that writes down when it is built; the first round warms the disk and is not
counted.  Seconds since the command's start, medians.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

LOG, DRIVER = "HPO_STARTUP_LOG", "HPO_STARTUP_DRIVER"
STAGES = {
    "imported": "the command's module is imported",
    "resolved": "the model is found and checked; imports torch",
    "driving": "the database is open, the study created, the lease held",
    "ray": "Ray runs on this machine",
    "tune": "Ray Tune is imported and starts the search",
    "asked": "the first trial has its row",
    "worker": "the process of its worker starts",
    "session": "the worker has imported what it needs and the model",
    "data": "the data are loaded, the network is about to be built",
    "trains": "the first batch",
}


def note(stage: str, moment: float | None = None) -> None:
    """Appends when a stage was reached."""
    with open(os.environ[LOG], "a") as file:
        file.write(json.dumps([stage, moment or time.time()]) + "\n")


def born() -> float:
    """When this process started."""
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    up = float(Path("/proc/uptime").read_text().split()[0])
    return time.time() - up + ticks / os.sysconf("SC_CLK_TCK")


if os.environ.get(LOG) and __name__ != "__main__":
    if os.environ[DRIVER] != str(os.getpid()):
        note("worker", born())
    from hpo_models.cnn import CNN

    if os.environ[DRIVER] != str(os.getpid()):
        note("session")

    class Timed(CNN):
        """The zoo's CNN, which notes when it is built and when it trains first."""

        def build(self, params: Any, data: Any) -> Any:
            note("data")
            return super().build(params, data)

        def loss(self, *arguments: Any) -> Any:
            note("trains")
            return super().loss(*arguments)


def _noted(owner: Any, name: str, before: str = "", after: str = "") -> None:
    """Notes a stage before or after a function of the service."""
    known: Callable[..., Any] = getattr(owner, name)

    @functools.wraps(known)
    def wrapper(*args: Any, **options: Any) -> Any:
        if before:
            note(before)
        result = known(*args, **options)
        if after:
            note(after)
        return result

    setattr(owner, name, wrapper)


def command(arguments: list[str]) -> None:
    """`hpo` with its stages noted."""
    os.environ[DRIVER] = str(os.getpid())
    from hpo import cli

    note("imported")
    from hpo.cli import execute, run
    from hpo.storage.ledger import Ledger
    from hpo.tune import driver
    from hpo.tune.bridge import Bridge

    _noted(run, "execute", before="resolved")
    _noted(execute, "announce", before="driving")
    _noted(driver, "_fit", before="ray")
    _noted(Bridge, "ask", before="tune")
    _noted(Ledger, "ask", after="asked")
    sys.argv = ["hpo", *arguments]
    cli.main()


def measure() -> dict[str, float]:
    """Seconds from the command to each stage."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        flags = ["--n-trials", "1", "--epochs", "1", "--no-retrain", "--no-report", "-q"]
        arguments = ["run", "--model", f"{Path(__file__).resolve()}:Timed", *flags]
        started = time.time()
        done = subprocess.run(
            [sys.executable, __file__, "--command", *arguments],
            cwd=folder,
            env={**os.environ, LOG: str(log), "PYTHONWARNINGS": "ignore"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(done.stderr[-3000:])
        first: dict[str, float] = {}
        for line in log.read_text().splitlines():
            stage, moment = json.loads(line)
            first.setdefault(stage, moment - started)
    return first


def main() -> None:
    if sys.argv[1:2] == ["--command"]:
        command(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    found = [measure() for _ in range(rounds + 1)][1:]
    print(f"{len(os.sched_getaffinity(0))} cores, medians of {rounds} rounds\n")
    print("| seconds | until |\n|---|---|")
    times = {stage: statistics.median(one[stage] for one in found) for stage in STAGES}
    for stage, second in sorted(times.items(), key=lambda item: item[1]):
        print(f"| {second:.2f} | {STAGES[stage]} |")


if __name__ == "__main__":
    main()
