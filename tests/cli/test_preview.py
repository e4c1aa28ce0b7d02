"""`--dry-run`: a summary for people, JSON for programs, and nothing is created."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.test_bad_input import RunCli, run_cli

__all__ = ["run_cli"]

SOURCE = """
import torch
from hpo import Classifier, Data, Float, Space

class Net(Classifier):
    space = Space(lr=Float(1e-4, 1e-1, log=True, default=1e-2))

    def data(self, seed):
        part = (torch.zeros(40, 3), torch.arange(40) % 2)
        half = tuple(column[:20] for column in part)
        return Data("mine", part, half, half, {"n_classes": 2, "class_names": ["cat", "dog"]})
"""


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(SOURCE)
    return path


RUN = ["run", "--model", "./mine.py:Net", "--n-trials", "7", "--epochs", "2", "--dry-run"]


def test_a_dry_run_says_what_is_trained_on_which_data_and_which_way(
    model_file: Path, tmp_path: Path, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    done = run_cli([*RUN, "--objective", "loss"], tmp_path)
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    for part in (
        "80 rows: 40 training, 20 validation, 20 test",
        "2 classes: cat, dog",
        "a row is 3",
        "objective minimize loss",
        "7 trials, 2 epochs each",
        "at most 12 trainings to confirm the best 3 and the default on 3 new seeds",
        "2 to retrain and test",
        "0.0001 to 0.1, log",
        "Nothing was started",
    ):
        assert part in said, part
    assert len(done.stdout.splitlines()) < 30
    assert [path.name for path in tmp_path.iterdir()] == ["mine.py"]


def test_a_dry_run_as_json_holds_the_data_too(
    model_file: Path, tmp_path: Path, run_cli: RunCli
) -> None:
    found = json.loads(run_cli([*RUN, "--no-retrain", "-f", "json"], tmp_path).stdout)
    assert found["objectives"] == ["accuracy:maximize"]
    assert found["dataset"]["rows"] == {"train": 40, "val": 20, "test": 20}
    assert (found["dataset"]["classes"], found["dataset"]["shape"]) == (2, [3])
    assert found["trainings"] == {"search": 7, "confirm": 0, "retrain": 0}
    assert found["space"]["params"]["lr"]["low"] == 1e-4


def test_a_comparison_is_previewed_too(
    model_file: Path, tmp_path: Path, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    compare = ["compare", *RUN[1:], "--samplers", "random,tpe", "--seeds", "2"]
    said = " ".join(run_cli(compare, tmp_path).stdout.split())
    assert "4 studies: each strategy on 2 seeds, 7 trials of 2 epochs" in said
    assert "objective maximize accuracy" in said
    found = json.loads(run_cli([*compare, "-f", "json"], tmp_path).stdout)
    assert found["dataset"]["rows"]["train"] == 40
