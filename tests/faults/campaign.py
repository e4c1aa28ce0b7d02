"""A study under attack: starts drivers, breaks something at a random instant, looks, goes on."""

from __future__ import annotations

import os
import random
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.invariants import broken, tagged_processes
from tests.postgres import PostgresServer

WORKLOAD = Path(__file__).with_name("workload.py")
STUDY = "faulty"
_MORE = 25


@dataclass
class Campaign:
    """One study, its drivers one after the other, and everything they printed.

    Attributes:
        expected: exit codes that a driver may have after this kind of fault.
    """

    folder: Path
    storage: str
    seed: int
    server: PostgresServer | None = None
    flags: tuple[str, ...] = ()
    total: int = _MORE
    tag: str = field(default_factory=lambda: secrets.token_hex(8))
    driver: subprocess.Popen[str] | None = None
    started: float = 0.0
    problems: list[str] = field(default_factory=list)
    n_drivers: int = 0

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.log = self.folder / "drivers.log"
        self.log.touch()

    def command(self) -> list[str]:
        """The same `hpo run` each time."""
        flags = ["--model", f"{WORKLOAD}:train", "--name", STUDY, "--no-retrain", "--no-report"]
        flags += ["--epochs", "3", "--total-trials", str(self.total), *self.flags]
        return [sys.executable, "-m", "hpo.cli", "run", *flags]

    def ensure_driver(self) -> None:
        """Starts a driver unless one runs; one that finished gets more to do."""
        if self.driver is not None and self.driver.poll() is None:
            return
        if self.driver is not None and self.driver.returncode == 0:
            self.total += _MORE
        environment = {k: v for k, v in os.environ.items() if k != "OPTUNA_STORAGE"}
        environment |= {"HPO_STORAGE": self.storage, "HPO_FAULT_TAG": self.tag, "COLUMNS": "200"}
        self.n_drivers += 1
        with self.log.open("a") as log:
            log.write(f"--- driver {self.n_drivers}\n")
            log.flush()
            self.driver = subprocess.Popen(
                self.command(),
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        self.started = time.monotonic()

    def wait_for_trials(self, n: int = 1, timeout_s: float = 90) -> None:
        """Returns when the running driver has told so many trials, or has ended."""
        assert self.driver is not None
        deadline = time.monotonic() + timeout_s
        while self.driver.poll() is None and time.monotonic() < deadline:
            latest = self.log.read_text().rpartition("--- driver")[2]
            if sum(line.startswith("Trial ") for line in latest.splitlines()) >= n:
                return
            time.sleep(0.1)

    def end_of_driver(self, allowed: tuple[int, ...], timeout_s: float = 120) -> None:
        """Waits for the driver's end; its exit code must be one of `allowed`, and nothing stay."""
        assert self.driver is not None
        try:
            code = self.driver.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            self.problems.append(f"driver {self.n_drivers} did not end within {timeout_s:.0f} s")
            os.killpg(self.driver.pid, signal.SIGKILL)
            self.driver.wait()
            return
        if code not in allowed:
            said = self.log.read_text().rpartition("--- driver")[2][-1500:]
            self.problems.append(
                f"driver {self.n_drivers} ended with {code}, not {allowed}, and said: {said}"
            )
        self.nothing_stays()

    def nothing_stays(self, within_s: float = 20) -> None:
        """No process that a driver started outlives it."""
        deadline = time.monotonic() + within_s
        while (left := tagged_processes(self.tag)) and time.monotonic() < deadline:
            time.sleep(0.25)
        if left:
            self.problems.append(f"stayed behind: {left}")
            for pid in left:
                os.kill(pid, signal.SIGKILL)

    def look(self) -> None:
        """Checks what must hold at any time."""
        self.problems += broken(self.storage, STUDY, self.log.read_text())

    def finish(self) -> None:
        """Lets the study reach its end, and checks everything."""
        for _ in range(5):
            if self.driver is None or self.driver.poll() is not None:
                if self.driver is not None and self.driver.returncode == 0:
                    break
                self.driver = None
                self.ensure_driver()
            self.end_of_driver((0, 1), timeout_s=300)
        self.problems += broken(self.storage, STUDY, self.log.read_text(), n_wanted=self.total)


Fault = Callable[[Campaign], None]


def kill_driver(campaign: Campaign) -> None:
    """SIGKILL to the driver, from its start on."""
    assert campaign.driver is not None
    time.sleep(campaign.rng.uniform(0, 14))
    campaign.driver.kill()
    campaign.end_of_driver((-signal.SIGKILL, 0))


def kill_process(title: str, ends: tuple[int, ...] = ()) -> Fault:
    """SIGKILL to one of the driver's processes whose title holds this text.

    Args:
        ends: exit codes of a driver that ends by it; none if it has to go on.
    """

    def fault(campaign: Campaign) -> None:
        campaign.wait_for_trials()
        time.sleep(campaign.rng.uniform(0, 3))
        found = [p for p, name in tagged_processes(campaign.tag).items() if title in name]
        if found:
            os.kill(campaign.rng.choice(sorted(found)), signal.SIGKILL)
        if ends:
            campaign.end_of_driver(ends, timeout_s=60)

    fault.__doc__ = f"SIGKILL to a process named {title}"
    return fault


def send(number: signal.Signals) -> Fault:
    """A signal to the driver, from its start on; it ends within 30 s by the right code."""

    def fault(campaign: Campaign) -> None:
        assert campaign.driver is not None
        time.sleep(campaign.rng.uniform(1.5, 14))
        # Python itself may still be starting: then nothing was begun, and the system ends it.
        early = not campaign.log.read_text().rpartition("--- driver")[2].partition("\n")[2]
        campaign.driver.send_signal(number)
        campaign.end_of_driver((128 + number, 0, *([-number] if early else [])), timeout_s=30)

    fault.__doc__ = f"{number.name} to the driver"
    return fault


def stop_database(mode: str, outage_s: float) -> Fault:
    """PostgreSQL stops in this mode, and is back after the outage."""

    def fault(campaign: Campaign) -> None:
        assert campaign.server is not None
        campaign.wait_for_trials()
        time.sleep(campaign.rng.uniform(0, 4))
        campaign.server.stop(mode)
        time.sleep(outage_s)
        campaign.server.start()
        campaign.wait_for_trials(3)

    fault.__doc__ = f"PostgreSQL stopped ({mode}) for {outage_s:g} s"
    return fault


FAULTS: dict[str, Fault] = {
    "driver -9": kill_driver,
    "worker -9": kill_process("ray::TrialWorker"),
    "raylet -9": kill_process("raylet/raylet", ends=(1, 0)),
    "SIGINT": send(signal.SIGINT),
    "SIGTERM": send(signal.SIGTERM),
    **{
        f"postgres {mode}, {outage} s": stop_database(mode, outage)
        for mode in ("fast", "immediate")
        for outage in (0, 20, 60)
    },
}


def run(name: str, times: int, folder: Path, seed: int) -> Campaign:
    """One study with this fault so many times; `problems` of what is returned says the rest."""
    server = PostgresServer() if name.startswith("postgres") else None
    try:
        storage = server.create("study") if server else f"sqlite:///{folder}/hpo.db"
        flags = ("--max-retries", "30") if "-9" in name else ()
        campaign = Campaign(folder, storage, seed, server, flags)
        for _ in range(times):
            campaign.ensure_driver()
            FAULTS[name](campaign)
            if (folder / "hpo.db").exists() or server:
                campaign.look()
        campaign.finish()
        return campaign
    finally:
        if server:
            server.close()
