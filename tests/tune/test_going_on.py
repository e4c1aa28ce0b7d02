"""Going on with a study: missing grid cells, a killed retraining, several drivers at once."""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hpo.storage.ledger import Ledger
from hpo.storage.sql import open_storage
from tests.faults.campaign import WORKLOAD
from tests.faults.invariants import broken, tagged_processes

pytestmark = [pytest.mark.ray, pytest.mark.slow]
HPO = [sys.executable, "-m", "hpo.cli"]
PLAIN = {k: v for k, v in os.environ.items() if k not in ("HPO_STORAGE", "OPTUNA_STORAGE")}
CELLS = """
import time
from pathlib import Path
from hpo import Choice, Space, tunable

@tunable(Space(cell=Choice("a", "b", "c", "d"), size=Choice(1, 2)), "score")
def train(trial):
    if trial.params["cell"] == "c" and not Path("mended").exists():
        raise RuntimeError("not mended yet")
    time.sleep(3)
    trial.report(score=float(trial.params["size"]))
"""


def run(*arguments: str, folder: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*HPO, *arguments], cwd=folder, env=PLAIN, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == code, done.stderr[-3000:]
    return done


def ledger(folder: Path, name: str) -> Ledger:
    return Ledger.open(open_storage(f"sqlite:///{folder}/hpo.db", create=False), name)


def test_resume_runs_the_cells_of_a_grid_that_failed_or_are_missing_and_no_others(
    tmp_path: Path,
) -> None:
    (tmp_path / "cells.py").write_text(CELLS.replace("Path(", f"Path('{tmp_path}', "))
    how = ["--sampler", "grid", "--epochs", "1", "--no-retrain", "--no-report"]
    how += ["--timeout", "8"]  # seconds, in which Ray's workers start too
    run("run", "--model", "./cells.py:train", *how, folder=tmp_path)
    before = ledger(tmp_path, "cells-train-grid").counts()
    assert 0 < sum(before.values()) < 8  # some cells are missing, and perhaps some failed
    for _ in range(20):  # each goes on for 8 s
        run("resume", "cells-train-grid", folder=tmp_path)
        if ledger(tmp_path, "cells-train-grid").counts().get("FAIL"):
            (tmp_path / "mended").touch()
        if ledger(tmp_path, "cells-train-grid").counts().get("COMPLETE") == 8:
            break
    trials = ledger(tmp_path, "cells-train-grid").trials()
    done = [tuple(t.params.values()) for t in trials if t.state.name == "COMPLETE"]
    assert len(done) == len(set(done)) == 8
    failed = [t for t in trials if t.state.name == "FAIL"]
    assert {t.params["cell"] for t in failed} == {"c"}
    assert len(trials) == 8 + len(failed)


SLOW_NET = """
import time
import torch
from torch import nn
from hpo import Classifier, Data, Float, Space

class Net(Classifier):
    space = Space(lr=Float(1e-3, 1e-1, log=True))
    epochs = 4

    def data(self, seed):
        y = torch.arange(60) % 3
        part = (torch.randn(60, 4) + y[:, None], y)
        return Data("blobs", part, part, part, {"n_classes": 3})

    def build(self, params, data):
        time.sleep(0.7)
        return nn.Linear(4, 3)
"""


def test_a_killed_retraining_publishes_nothing(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(SLOW_NET)
    run(
        "run",
        "--model",
        "./net.py:Net",
        "--n-trials",
        "2",
        "--no-retrain",
        "--no-report",
        folder=tmp_path,
    )
    best = tmp_path / "hpo-runs/net-Net-auto/best"
    environment = {**PLAIN, "HPO_FAULT_TAG": str(tmp_path)}
    for pause in (random.uniform(3, 7), random.uniform(7, 12)):
        retraining = subprocess.Popen(
            [*HPO, "retrain", "net-Net-auto", "--seeds", "4"],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        with contextlib.suppress(subprocess.TimeoutExpired):
            retraining.wait(pause)
        done = retraining.returncode == 0
        retraining.kill()
        retraining.wait()
        published = ledger(tmp_path, "net-Net-auto").attr("hpo:retrained")
        # Whole or not there at all, and the study speaks of it only when it is there.
        assert published is None or Path(published["path"], "weights.safetensors").exists()
        if best.exists():
            assert {"weights.safetensors", "model.json", "README.md"} <= set(os.listdir(best))
        if done:
            break
        deadline = time.monotonic() + 20
        while tagged_processes(str(tmp_path)) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert not tagged_processes(str(tmp_path))
    run("retrain", "net-Net-auto", folder=tmp_path)
    facts = ledger(tmp_path, "net-Net-auto").attr("hpo:retrained")
    assert json.loads((best / "model.json").read_text())
    assert Path(facts["path"]) == best
    left = {path.name for path in best.parent.iterdir() if not path.name.startswith(".")}
    assert left == {"best"}


@pytest.mark.postgres
def test_drivers_that_join_share_a_study_without_doubles(tmp_path: Path, postgres_url: str) -> None:
    flags = [
        "--model",
        f"{WORKLOAD}:train",
        "--name",
        "shared",
        "--epochs",
        "3",
        "--no-retrain",
        "--no-report",
    ]
    flags += ["--total-trials", "30", "--max-concurrent", "1", "--join"]
    environment = {**PLAIN, "HPO_STORAGE": postgres_url, "COLUMNS": "200"}
    drivers = [
        subprocess.Popen(
            [*HPO, "run", *flags],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(2)
    ]
    printed = "".join(driver.communicate(timeout=300)[0] for driver in drivers)
    assert [driver.returncode for driver in drivers] == [0, 0], printed[-3000:]
    study = Ledger.open(open_storage(postgres_url, create=False), "shared")
    ended = study.counts()
    # A trial that was under way when the last one was asked for may come on top.
    n_ended = ended.get("COMPLETE", 0) + ended.get("PRUNED", 0)
    assert 30 <= n_ended <= 31
    assert broken(postgres_url, "shared", printed, n_wanted=n_ended) == []
    by_driver = {trial.user_attrs["origin"]["driver"] for trial in study.trials()}
    assert len(by_driver) == 2


def listening_elsewhere(pids: set[int]) -> list[str]:
    """Sockets of these processes that listen on an address that is not loopback."""
    inodes = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    inodes.add(os.readlink(descriptor))
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            address, state, inode = fields[1].partition(":")[0], fields[3], fields[9]
            loopback = address.endswith("7F") or address == f"{'0' * 24}01000000"
            if state == "0A" and f"socket:[{inode}]" in inodes and not loopback:
                found.append(line)
    return found


def test_nothing_listens_beyond_loopback(tmp_path: Path) -> None:
    driver = subprocess.Popen(
        [*HPO, "run", "--model", f"{WORKLOAD}:train", "--epochs", "3", "--n-trials", "20"],
        cwd=tmp_path,
        env={**PLAIN, "HPO_FAULT_TAG": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    most: set[str] = set()
    beyond: list[str] = []
    while driver.poll() is None:
        running = tagged_processes(str(tmp_path))
        most = max(most, set(running.values()), key=len)
        beyond += listening_elsewhere(set(running))
        time.sleep(0.5)
    assert driver.returncode == 0
    assert any("raylet" in title for title in most)
    assert any("DashboardAgent" in title for title in most)
    assert beyond == []
