"""The worker's side of a trial, without Ray: what it reports, whatever the user's code does."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from hpo.registry import find_model
from hpo.training.session import Job
from hpo.tune.limits import Limits
from hpo.tune.report import REPORT, one_line
from hpo.tune.trainable import TrialWorker

HEAD = """
import os, signal, sys, threading, time
import torch
from hpo import Classifier, Data, Float, Space, tunable
SPACE = Space(x=Float(0.0, 1.0), lr=Float(1e-3, 1e-1, log=True))

class Net(Classifier):
    space = SPACE

    def data(self, seed):
        x = torch.randn(30, 4, generator=torch.Generator().manual_seed(seed))
        part = (x, (x[:, 0] > 0).long())
        return Data("noise", part, part, part, {})

    def build(self, params, data):
        return torch.nn.Linear(4, 2)

@tunable(SPACE, "score")
def good(trial):
    trial.report(score=trial.params["x"])

"""


def job_of(folder: Path, name: str, body: str = "", **params: Any) -> Job:
    (folder / "mine.py").write_text(HEAD + body)
    ref = find_model(f"{folder}/mine.py:{name}")
    return Job(ref, {"x": 0.5, "lr": 0.01, **params}, "own", seed=0, epochs=2)


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrialWorker:
    monkeypatch.chdir(tmp_path)
    worker: TrialWorker = object.__new__(TrialWorker)
    return worker


def config_of(job: Job) -> dict[str, Any]:
    return {"job": job, "folder": "", "limits": Limits()}


def ended(worker: TrialWorker, job: Job) -> dict[str, Any]:
    """The last report of a trial."""
    worker.setup(config_of(job))
    while not (result := worker.step())["done"]:
        pass
    report: dict[str, Any] = json.loads(result[REPORT])
    return report


EXITS = {
    "import": 'sys.exit("at import")',
    "build": """
class Exits(Net):
    def build(self, params, data):
        sys.exit(3)
""",
    "data": """
class Exits(Net):
    def data(self, seed):
        raise KeyboardInterrupt
""",
    "evaluate": """
class Exits(Net):
    def evaluate(self, net, batches, params):
        raise GeneratorExit("odd")
""",
    "function": """
@tunable(SPACE, "score")
def Exits(trial):
    trial.report(score=1)
    sys.exit(3)
""",
}


@pytest.mark.parametrize(
    "where, error",
    [
        ("build", "SystemExit: 3"),
        ("data", "KeyboardInterrupt"),
        ("evaluate", "GeneratorExit: odd"),
        ("function", "SystemExit: 3"),
    ],
)
def test_an_exit_in_a_trial_is_recorded_at_once(
    worker: TrialWorker, tmp_path: Path, where: str, error: str
) -> None:
    report = ended(worker, job_of(tmp_path, "Exits", EXITS[where]))
    assert (report["error"], report["kind"]) == (error, "error")
    assert "mine.py" in report["traceback"]
    worker.cleanup()


def test_an_exit_at_import_is_recorded_at_once(worker: TrialWorker, tmp_path: Path) -> None:
    report = ended(worker, job_of(tmp_path, "good", EXITS["import"]))
    assert "at import" in report["error"]


def test_a_terminated_worker_ends(worker: TrialWorker, tmp_path: Path) -> None:
    """Ray's handler of SIGTERM raises an exit too: that is no failure of the trial."""
    from ray._raylet import raise_sys_exit_with_custom_error_message

    def terminate(number: int, frame: object) -> None:
        raise_sys_exit_with_custom_error_message("The process receives a SIGTERM.", exit_code=1)

    body = """
@tunable(SPACE, "score")
def killed(trial):
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(5)
"""
    before = signal.signal(signal.SIGTERM, terminate)
    try:
        worker.setup(config_of(job_of(tmp_path, "killed", body)))
        with pytest.raises(SystemExit):
            worker.step()
    finally:
        signal.signal(signal.SIGTERM, before)


def test_an_error_without_words_is_its_name() -> None:
    assert one_line(KeyboardInterrupt()) == "KeyboardInterrupt"
    assert one_line(SystemExit(3)) == "SystemExit: 3"
