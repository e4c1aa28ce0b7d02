"""Each way to break a study, once: what it is afterwards, by the one function of invariants.

`python -m tests.faults` does the random ones 20 times each.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from hpo.storage.ledger import Ledger
from hpo.storage.sql import open_storage
from tests.faults.campaign import FAULTS, STUDY, WORKLOAD, Campaign, run
from tests.postgres import PostgresServer

pytestmark = [pytest.mark.ray, pytest.mark.slow]
QUICK = ("driver -9", "worker -9", "raylet -9", "SIGINT", "SIGTERM", "postgres immediate, 20 s")


@pytest.mark.parametrize("name", QUICK)
def test_the_invariants_hold(name: str, tmp_path: Path) -> None:
    assert name in FAULTS
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    assert run(name, 1, tmp_path, seed).problems == []


def campaign(folder: Path, *flags: str) -> Campaign:
    return Campaign(folder, f"sqlite:///{folder}/hpo.db", seed=0, flags=flags, total=8)


def test_a_second_driver_is_refused_and_named_the_first(tmp_path: Path) -> None:
    first = campaign(tmp_path)
    first.total = 120  # it is to be at work still when the second one has started
    first.ensure_driver()
    first.wait_for_trials()
    assert first.driver is not None
    second = subprocess.run(
        first.command(), cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert second.returncode == 2
    assert f"driven by pid {first.driver.pid} on " in second.stderr
    assert "--join" in second.stderr
    first.finish()
    assert first.problems == []


@pytest.mark.alone
def test_a_second_interrupt_ends_at_once(tmp_path: Path) -> None:
    study = campaign(tmp_path)
    study.ensure_driver()
    study.wait_for_trials()
    assert study.driver is not None
    study.driver.send_signal(signal.SIGINT)
    time.sleep(0.05)
    study.driver.send_signal(signal.SIGINT)
    study.end_of_driver((130,), timeout_s=15)
    study.look()
    study.finish()
    assert study.problems == []


def test_a_database_locked_for_half_a_minute_is_waited_for(tmp_path: Path) -> None:
    study = campaign(tmp_path)
    study.ensure_driver()
    study.wait_for_trials()
    locker = sqlite3.connect(tmp_path / "hpo.db", isolation_level=None)
    locker.execute("begin immediate")
    time.sleep(30)
    locker.execute("rollback")
    locker.close()
    study.finish()
    assert study.problems == []
    assert study.n_drivers == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", folder], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_is_waited_for(small_disk: Path, tmp_path: Path) -> None:
    study = Campaign(tmp_path, f"sqlite:///{small_disk}/hpo.db", seed=0, total=12)
    study.ensure_driver()
    study.wait_for_trials()
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            pass
    deadline = time.monotonic() + 60
    while "database: " not in study.log.read_text() and time.monotonic() < deadline:
        time.sleep(0.5)
    assert "full: waiting" in study.log.read_text()
    filler.unlink()
    study.finish()
    assert study.problems == []
    assert study.n_drivers == 1


@pytest.mark.postgres
def test_a_database_that_turns_read_only_is_waited_for(
    postgres_server: PostgresServer, postgres_url: str, tmp_path: Path
) -> None:
    study = Campaign(tmp_path, postgres_url, seed=0, total=12)
    study.ensure_driver()
    study.wait_for_trials()
    name = postgres_url.rpartition("/")[2]
    cut_off = f"select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'"
    postgres_server.execute(f"alter database {name} set default_transaction_read_only = on")
    postgres_server.execute(cut_off)
    deadline = time.monotonic() + 60
    while "read-only transaction: waiting" not in study.log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.5)
    postgres_server.execute(f"alter database {name} set default_transaction_read_only = off")
    postgres_server.execute(cut_off)
    study.finish()
    assert study.problems == []
    assert study.n_drivers == 1


HPO = [sys.executable, "-m", "hpo.cli"]
ODD = """
import os, time
from hpo import Choice, Float, Space, tunable

@tunable(Space(how=Choice(%s), x=Float(0.5, 0.5)), "score")
def train(trial):
    how = trial.params["how"]
    if how == "hang":
        time.sleep(10**6)
    if how == "memory":
        keep = [bytearray(2**24) for _ in range(10**6)]
    if how == "big":  # too much for a share, not for the whole machine
        keep = bytearray(600 * 2**20)
    if how == "slow":
        time.sleep(3)
    trial.report(score=1.0)
"""


def odd(folder: Path, *how: str, flags: tuple[str, ...] = ()) -> Ledger:
    (folder / "odd.py").write_text(ODD % ", ".join(map(repr, how)))
    fixed = ("--sampler", "grid", "--set", "x=0.5", "--epochs", "1", "--no-retrain", "--no-report")
    done = subprocess.run(
        [*HPO, "run", "--model", "./odd.py:train", *fixed, *flags],
        cwd=folder,
        env={k: v for k, v in os.environ.items() if k != "HPO_STORAGE"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return Ledger.open(open_storage(f"sqlite:///{folder}/hpo.db", create=False), "odd-train-grid")


def test_a_hung_trial_is_ended(tmp_path: Path) -> None:
    ledger = odd(tmp_path, "fine", "hang", "slow", flags=("--trial-timeout", "20"))
    found = {
        t.params["how"]: (t.state.name, t.user_attrs.get("fail_kind")) for t in ledger.trials()
    }
    assert found == {
        "fine": ("COMPLETE", None),
        "slow": ("COMPLETE", None),
        "hang": ("FAIL", "timeout"),
    }
    (hung,) = (t for t in ledger.trials() if t.state.name == "FAIL")
    assert "--trial-timeout" in hung.user_attrs["fail_reason"]


def test_memory_that_runs_out_is_one_failed_trial(tmp_path: Path) -> None:
    flags = ("--memory-per-trial", "400MB", "--max-concurrent", "2")
    ledger = odd(tmp_path, "fine", "memory", "big", "slow", flags=flags)
    states: dict[str, list[str]] = {}
    for trial in ledger.trials():
        kind = trial.user_attrs.get("fail_kind")
        states.setdefault(trial.params["how"], []).append(kind or trial.state.name)
    assert states == {
        "fine": ["COMPLETE"],
        "slow": ["COMPLETE"],
        "memory": ["oom", "oom"],  # once more, alone
        "big": ["oom", "COMPLETE"],  # alone, it may take what two would
    }
    ran = sorted(ledger.trials(), key=lambda t: t.datetime_start or datetime.max)
    for n, trial in enumerate(ran):
        if trial.user_attrs.get("fail_kind") == "oom":  # its worker is replaced
            later = [t.user_attrs["run"]["worker"] for t in ran[n + 1 :]]
            assert trial.user_attrs["run"]["worker"] not in later


def test_a_file_that_is_taken_away_ends_the_run_with_a_reason(tmp_path: Path) -> None:
    study = campaign(tmp_path)
    study.total = 400
    study.ensure_driver()
    study.wait_for_trials()
    for path in tmp_path.glob("hpo.db*"):
        path.unlink()
    study.end_of_driver((1,), timeout_s=60)
    assert "was removed or replaced" in study.log.read_text()
    assert STUDY in study.log.read_text()
    assert study.problems == []


def test_a_disk_that_is_nearly_full_is_refused_before_anything_is_made(
    small_disk: Path, tmp_path: Path
) -> None:
    done = subprocess.run(
        [*HPO, "run", "--model", f"{WORKLOAD}:train", "--output", str(small_disk / "runs")],
        cwd=tmp_path,
        env={k: v for k, v in os.environ.items() if k != "HPO_STORAGE"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert "MB left" in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["disk"]
    assert list(small_disk.iterdir()) == []
