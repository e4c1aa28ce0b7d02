"""asha with pauses: what is promoted, that no epoch is trained twice, what a crash leaves."""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import SQLAlchemyError

from hpo import Float, Space
from hpo.errors import HpoError
from hpo.search import make_pruner, make_sampler
from hpo.storage.ledger import Ledger, StudyMeta
from hpo.storage.sql import open_storage
from hpo.training.session import Job
from hpo.tune.bridge import FINISHED, Bridge
from hpo.tune.limits import Limits
from hpo.tune.observer import Observer
from hpo.tune.report import REPORT
from tests.faults.invariants import broken, tagged_processes

EPOCHS = 9
SPACE = Space(x=Float(0.0, 1.0))


def opened(url: str, direction: str = "maximize", pruner: str = "asha") -> Ledger:
    meta = StudyMeta("m", "score", direction, SPACE, "d", EPOCHS, 0)
    return Ledger.create_or_open(
        open_storage(url, create=True),
        "s",
        meta,
        lambda n: make_sampler("random", SPACE, 0, n_trials_done=n),
        make_pruner(pruner, epochs=EPOCHS),
    )


@dataclass
class Executor:
    """Runs a bridge's trials as Tune does, with as many slots, epoch by epoch at random.

    Attributes:
        checkpoints: whether its workers leave any.
        trained: how often each epoch of each configuration was trained.
    """

    bridge: Bridge
    sign: int = 1
    checkpoints: bool = True
    trained: Counter[tuple[float, int]] = field(default_factory=Counter)
    running: dict[str, Job] = field(default_factory=dict)
    n_tune_trials: int = 0
    rng: random.Random = field(default_factory=lambda: random.Random(0))

    def run(self, n_steps: int = 10**6) -> bool:
        """Whether it has come to the end."""
        for _ in range(n_steps):
            over = self._fill()
            if not self.running:
                return over
            self._step(self.rng.choice(sorted(self.running)))
        return False

    def _fill(self) -> bool:
        while len(self.running) < 3:
            config = self.bridge.ask(trial_id := f"t{self.n_tune_trials}")
            if not isinstance(config, dict):
                return config == FINISHED
            self.n_tune_trials += 1
            self.running[trial_id] = config["job"]
        return False

    def _step(self, trial_id: str) -> None:
        job = self.running[trial_id]
        x, folder = job.params["x"], Path(str(job.checkpoint))
        done = max((int(p.stem[6:]) for p in folder.glob("epoch-*.pt")), default=0)
        fresh = (x, trial_id) not in self._begun
        if fresh:
            self._begun[x, trial_id] = done
        epoch = self._begun[x, trial_id] + 1
        self._begun[x, trial_id] = epoch
        self.trained[x, epoch] += 1
        if self.checkpoints and epoch in job.checkpoint_at:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"epoch-{epoch:06d}.pt").touch()
        finished = epoch == EPOCHS
        report: dict[str, Any] = {
            "epoch": epoch,
            "metrics": {"score": self.score(x, epoch)},
            "finished": finished,
            "duration_s": 1.0,
            "worker": "w",
            "device": "cpu",
        }
        if fresh and done:
            report["restored"] = [{"score": self.score(x, e + 1)} for e in range(done)]
        if finished:
            report |= {"best": report["metrics"], "best_epoch": epoch - 1}
        result = {REPORT: json.dumps(report)}
        if finished or self.bridge.report(trial_id, result):  # Tune does not report the last one
            del self.running[trial_id]
            self.bridge.end(trial_id, result, False)

    def score(self, x: float, epoch: int) -> float:
        return self.sign * x * (1 - 0.5**epoch)

    def __post_init__(self) -> None:
        self._begun: dict[tuple[float, str], int] = {}


class Nobody(Observer):
    """An observer that counts."""

    def __init__(self) -> None:
        self.ended: list[int] = []

    def trial_ended(self, number: int) -> None:
        self.ended.append(number)


def bridge_of(ledger: Ledger, folder: Path, n_trials: int = 30) -> Bridge:
    return Bridge(
        ledger,
        Job(None, {}, "d", 0, EPOCHS),  # type: ignore[arg-type]
        limits=Limits(None, None),
        n_trials=n_trials,
        max_concurrent=3,
        deadline=None,
        first=None,
        origin={},
        folder=str(folder),
        observer=Nobody(),
        max_retries=3,
        checkpoints=folder / "checkpoints",
    )


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_the_best_third_of_each_rung_goes_on_and_no_epoch_is_trained_twice(
    storage_url: str, tmp_path: Path, direction: str
) -> None:
    ledger = opened(storage_url, direction)
    bridge = bridge_of(ledger, tmp_path)
    executor = Executor(bridge, sign=1 if direction == "maximize" else -1)
    assert executor.run()
    assert set(executor.trained.values()) == {1}
    trials = ledger.trials()
    assert ledger.counts() == {
        "COMPLETE": sum(t.state.name == "COMPLETE" for t in trials),
        "PRUNED": sum(t.state.name == "PRUNED" for t in trials),
    }
    assert len(trials) == 30
    assert sorted(bridge.observer.ended) == list(range(30))  # type: ignore[attr-defined]
    assert executor.n_tune_trials > 30  # some were promoted
    best_first = sorted(trials, key=lambda t: -t.params["x"])
    for rung, n in ((2, 30), (6, sum(t.last_step >= 6 for t in trials))):
        passed = {t.number for t in trials if t.last_step > rung}
        here = [t for t in best_first if t.last_step >= rung]
        assert len(here) == n
        assert {t.number for t in here[: n // 3]} <= passed  # whenever they came by
    assert best_first[0].state.name == "COMPLETE"
    for trial in trials:
        assert list(trial.intermediate_values) == list(range(1, trial.last_step + 1))
        assert trial.user_attrs["run"]["epochs"] == trial.last_step
    assert not list((tmp_path / "checkpoints").iterdir())


def test_without_checkpoints_it_stops_for_good(storage_url: str, tmp_path: Path) -> None:
    executor = Executor(bridge_of(opened(storage_url), tmp_path), checkpoints=False)
    assert executor.run()
    assert executor.n_tune_trials == 30
    assert set(executor.trained.values()) == {1}


def test_paused_trials_show_and_end_as_pruned_when_their_driver_dies(
    storage_url: str, tmp_path: Path
) -> None:
    ledger = opened(storage_url)
    executor = Executor(bridge_of(ledger, tmp_path))
    assert not executor.run(n_steps=40)
    paused, running = len(executor.bridge.paused), len(executor.running)
    assert paused and running
    assert ledger.outcomes()["paused"] == paused
    assert ledger.counts()["RUNNING"] == paused + running
    again = opened(storage_url)  # the first one is no more
    assert again.reconcile() == paused + running
    counts = again.counts()
    assert (counts["PRUNED"], counts["FAIL"]) == (paused, running)
    for trial in again.trials():
        if trial.state.name == "PRUNED":
            assert trial.value == trial.intermediate_values[trial.last_step]
            assert trial.user_attrs["run"]["epochs"] == trial.last_step in (2, 6)
    ended = counts["PRUNED"] + counts.get("COMPLETE", 0)
    rest = Executor(bridge_of(again, tmp_path, n_trials=30 - ended))
    assert rest.run()
    counts = again.counts()
    assert counts["PRUNED"] + counts["COMPLETE"] == 30
    assert not list((tmp_path / "checkpoints").iterdir())


def test_a_signal_ends_paused_trials_as_pruned(storage_url: str, tmp_path: Path) -> None:
    ledger = opened(storage_url)
    executor = Executor(bridge_of(ledger, tmp_path))
    executor.run(n_steps=40)
    paused = len(executor.bridge.paused)
    executor.bridge.interrupt()
    assert executor.bridge.ask("last") == FINISHED
    executor.bridge.settle()
    ledger.release("interrupted", "interrupted")
    assert ledger.counts()["PRUNED"] == paused
    assert "RUNNING" not in ledger.counts()


def test_a_lost_checkpoint_is_trained_again_and_told_once(tmp_path: Path) -> None:
    ledger = opened(f"sqlite:///{tmp_path}/trials.db")
    executor = Executor(bridge_of(ledger, tmp_path))
    while not executor.bridge.paused:
        executor.run(n_steps=1)
    (number,) = executor.bridge.paused
    trial = executor.bridge.paused[number]
    for path in trial.checkpoint.iterdir():  # type: ignore[union-attr]
        path.unlink()
    assert executor.run()
    after = ledger.trial(number)
    assert list(after.intermediate_values) == list(range(1, (after.last_step or 0) + 1))


NET = """
import os, time
import torch
from torch import nn
from hpo import Classifier, Data, Float, Space

class Net(Classifier):
    space = Space(lr=Float(1e-5, 1.0, log=True))
    epochs = 9

    def data(self, seed):
        y = torch.arange(300) % 3
        x = torch.randn(300, 4, generator=torch.Generator().manual_seed(0)) + y[:, None]
        return Data("blobs", (x[:200], y[:200]), (x[200:], y[200:]), None, {"n_classes": 3})

    def build(self, params, data):
        return nn.Linear(4, 3)

    def begin_epoch(self, net, progress, params):
        time.sleep(0.02)
        with open("FOLDER/trained.txt", "a") as file:
            file.write(f"{params['lr']!r} {round(progress * 9) + 1}\\n")
"""


def command(folder: Path, *flags: str) -> list[str]:
    (folder / "net.py").write_text(NET.replace("FOLDER", str(folder)))
    fixed = ("--pruner", "asha", "--sampler", "random", "--name", "s", "--no-retrain")
    return [
        *(sys.executable, "-m", "hpo.cli", "run", "--model", "./net.py:Net"),
        *(*fixed, "--no-report", "--max-concurrent", "2", *flags),
    ]


def trained(folder: Path) -> Counter[tuple[float, int]]:
    lines = (folder / "trained.txt").read_text().split("\n")[:-1]
    return Counter((float(lr), int(epoch)) for lr, epoch in map(str.split, lines))


def environment(tag: str) -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if k not in ("HPO_STORAGE", "OPTUNA_STORAGE")}
    return {**clean, "HPO_FAULT_TAG": tag, "COLUMNS": "200"}


@pytest.mark.ray
@pytest.mark.slow
def test_a_real_study_trains_no_epoch_twice(tmp_path: Path) -> None:
    done = subprocess.run(
        command(tmp_path, "--n-trials", "18"),
        cwd=tmp_path,
        env=environment("whole"),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    study = Ledger.open(open_storage(f"sqlite:///{tmp_path}/hpo.db", create=False), "s")
    trials = study.trials()
    assert len(trials) == 18
    assert {t.state.name for t in trials} == {"COMPLETE", "PRUNED"}
    expected = Counter((t.params["lr"], e) for t in trials for e in t.intermediate_values)
    assert trained(tmp_path) == expected
    promoted = [t for t in trials if "paused" in t.user_attrs and t.last_step > 2]
    assert promoted
    for trial in trials:
        assert len(trial.intermediate_values) == trial.last_step
        assert trial.user_attrs["run"]["epochs"] == trial.last_step
    at_first_rung = sorted(t.intermediate_values[2] for t in trials)
    passed = sum(t.last_step > 2 for t in trials)
    assert 18 // 3 <= passed < 18
    for trial in trials:
        if trial.intermediate_values[2] > at_first_rung[-6]:
            assert trial.last_step > 2
    assert not list((tmp_path / "hpo-runs/s/.checkpoints").glob("*"))


@pytest.mark.ray
@pytest.mark.slow
def test_kill_9_with_trials_paused_loses_and_doubles_nothing(tmp_path: Path) -> None:
    url, log = f"sqlite:///{tmp_path}/hpo.db", tmp_path / "log.txt"
    flags = ("--total-trials", "40", "--max-retries", "30", "--checkpoint-every", "0")
    n_paused = 0
    for _ in range(3):
        with log.open("a") as file:
            driver = subprocess.Popen(
                command(tmp_path, *flags),
                cwd=tmp_path,
                env=environment(str(tmp_path)),
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        before = log.read_text().count("pruned")
        deadline = time.monotonic() + 90
        while driver.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
            with contextlib.suppress(HpoError, SQLAlchemyError):
                study = Ledger.open(open_storage(url, create=False), "s")
                if (
                    study.outcomes().get("paused", 0) >= 3
                    or log.read_text().count("pruned") > before + 3
                ):
                    break
        time.sleep(random.uniform(0, 1))
        driver.kill()
        driver.wait()
        while tagged_processes(str(tmp_path)) and time.monotonic() < deadline:
            time.sleep(0.2)
        study = Ledger.open(open_storage(url, create=False), "s")
        n_paused += study.outcomes().get("paused", 0)
        assert broken(url, "s", log.read_text()) == []
    assert n_paused
    with log.open("a") as file:
        last = command(tmp_path, *flags)
        given = {"cwd": tmp_path, "env": environment(str(tmp_path)), "timeout": 300}
        done = subprocess.run(last, stdout=file, stderr=file, **given)  # type: ignore[call-overload]
    assert done.returncode == 0, log.read_text()[-3000:]
    assert broken(url, "s", log.read_text(), n_wanted=40) == []
    study = Ledger.open(open_storage(url, create=False), "s")
    of_paused = {t.params["lr"] for t in study.trials() if t.state.name == "PRUNED"}
    twice = {lr for (lr, _), n in trained(tmp_path).items() if n > 1}
    lost = {t.params.get("lr") for t in study.trials() if t.state.name == "FAIL"}
    assert twice <= lost  # only what a worker had not saved yet
    assert of_paused
    assert not list((tmp_path / "hpo-runs/s/.checkpoints").glob("*"))
