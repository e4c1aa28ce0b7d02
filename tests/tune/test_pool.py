"""Plain jobs: what a retrained network is saved with."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpo.registry import find_model
from hpo.training.session import Job
from hpo.tune.pool import train

MINE = """
import torch
from hpo import Classifier, Data, Float, Space

class Net(Classifier):
    space = Space(lr=Float(1e-3, 1e-1, log=True))

    def data(self, seed):
        x = torch.randn(30, 4)
        part = (x, (x[:, 0] > 0).long())
        return Data("noise", part, part, part, {"class_names": ["no", "y|es"]})

    def build(self, params, data):
        return torch.nn.Linear(4, 2)
"""
BROKEN = """
    def show(self, net, split, params, info):
        raise RuntimeError("no pictures today")
"""


@pytest.fixture
def job(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.chdir(tmp_path)  # `train` goes there, and the test is to come back
    (tmp_path / "mine.py").write_text(MINE + request.param)
    ref = find_model(f"{tmp_path}/mine.py:Net")
    return Job(ref, {"lr": 0.05}, "own", seed=0, epochs=20, purpose="retrain")


@pytest.mark.parametrize("job", [""], indirect=True)
def test_a_classifier_is_saved_with_its_figures_by_class(job: Job, tmp_path: Path) -> None:
    result = train(job, str(tmp_path))
    assert result.error is None
    lines = result.files["classes.md"].decode().splitlines()
    assert lines[0] == "| class | rows | precision | recall | F1 |"
    rows = [[cell.strip() for cell in line.split(" | ")] for line in lines[2:]]
    assert [row[0] for row in rows] == ["| no", r"| y\|es"]
    assert sum(int(row[1]) for row in rows) == 30
    recall = sum(float(row[3]) * int(row[1]) for row in rows) / 30
    assert recall == pytest.approx(result.test["accuracy"], abs=1e-3)


@pytest.mark.parametrize("job", [BROKEN], indirect=True)
def test_a_network_whose_pictures_fail_is_not_lost(job: Job, tmp_path: Path) -> None:
    result = train(job, str(tmp_path))
    assert result.error is None and result.product.files
    assert "no pictures today" in result.files["show-failed.txt"].decode()


EXITING = """
    def show(self, net, split, params, info):
        raise SystemExit(3)
"""


@pytest.mark.parametrize("job", [EXITING], indirect=True)
def test_a_network_whose_pictures_exit_is_not_lost(job: Job, tmp_path: Path) -> None:
    result = train(job, str(tmp_path))
    assert result.error is None and result.product.files
    assert "SystemExit: 3" in result.files["show-failed.txt"].decode()


ENDING = """
    def loss(self, net, batch, params):
        raise KeyboardInterrupt
"""


@pytest.mark.parametrize("job", [ENDING], indirect=True)
def test_an_exit_in_a_job_is_its_failure(job: Job, tmp_path: Path) -> None:
    assert train(job, str(tmp_path)).error == "mine.py:17: KeyboardInterrupt"
