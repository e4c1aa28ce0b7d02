"""Checkpoints: a restored training goes on as if nothing had been, damaged files are refused."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from hpo.registry import find_model
from hpo.training import checkpoint
from hpo.training.session import Job, Session, start

MODEL = """
import torch
from torch import nn
from hpo import Choice, Classifier, Data, Float, Space

class Net(Classifier):
    space = Space(lr=Float(1e-4, 1.0, log=True), optimizer=Choice("sgd", "adamw"))
    epochs = 6

    def data(self, seed):
        made = torch.Generator().manual_seed(seed)
        y = torch.arange(300) % 3
        x = torch.randn(300, 5, generator=made) + y[:, None]
        part = lambda a, b: (x[a:b], y[a:b])
        return Data("blobs", part(0, 200), part(200, 250), part(250, 300), {"n_classes": 3})

    def build(self, params, data):
        return nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 3))
"""


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    path = tmp_path / "net.py"
    path.write_text(MODEL)
    return path


def job(model: Path, folder: Path | None, **changes: Any) -> Job:
    given: dict[str, Any] = {
        "ref": find_model(f"{model}:Net"),
        "params": {"lr": 0.05, "optimizer": "adamw", "schedule": "onecycle"},
        "data": "own",
        "seed": 3,
        "epochs": 6,
        "settings": {},
        "checkpoint": None if folder is None else str(folder),
        "checkpoint_s": 0.0,
    }
    return Job(**{**given, **changes})


def steps(session: Session, n: int) -> Session:
    for _ in range(n):
        session.step()
    return session


def weights(session: Session) -> torch.Tensor:
    return torch.nn.utils.parameters_to_vector(session.network().parameters()).detach()


def test_a_restored_training_equals_one_that_was_never_cut_off(
    model_file: Path, tmp_path: Path
) -> None:
    whole = steps(start(job(model_file, None), "cpu"), 6)
    steps(start(job(model_file, tmp_path / "c"), "cpu"), 3)  # and then its process died
    restored = start(job(model_file, tmp_path / "c"), "cpu")
    assert restored.history == whole.history[:3]
    steps(restored, 3)
    assert restored.history == whole.history
    assert torch.equal(weights(restored), weights(whole))
    assert restored.best() == whole.best()


def test_a_damaged_checkpoint_is_refused_and_the_one_before_is_taken(
    model_file: Path, tmp_path: Path
) -> None:
    steps(start(job(model_file, tmp_path / "c"), "cpu"), 4)
    before, newest = sorted((tmp_path / "c").glob("epoch-*.pt"))  # two are kept
    newest.write_bytes(newest.read_bytes()[:-7])
    assert len(start(job(model_file, tmp_path / "c"), "cpu").history) == 3
    content = bytearray(before.read_bytes())
    content[len(content) // 2] ^= 1
    before.write_bytes(content)
    assert start(job(model_file, tmp_path / "c"), "cpu").history == []


def test_another_trials_checkpoint_is_not_taken(model_file: Path, tmp_path: Path) -> None:
    steps(start(job(model_file, tmp_path / "c"), "cpu"), 2)
    other = job(model_file, tmp_path / "c", params={"lr": 0.1, "optimizer": "sgd"})
    assert start(other, "cpu").history == []


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("exploded"),)


def test_code_inside_a_checkpoint_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hashlib

    monkeypatch.chdir(tmp_path)
    torch.save({"state": Bomb()}, "bomb.pt")
    for content in (Path("bomb.pt").read_bytes(), pickle.dumps(Bomb())):
        digest = hashlib.sha256(content).hexdigest().encode()
        (tmp_path / "epoch-000001.pt").write_bytes(digest + b"\n" + content)
        assert checkpoint.load(tmp_path) is None
    assert not Path("exploded").exists()


def test_a_disk_that_refuses_stops_no_training(tmp_path: Path) -> None:
    (tmp_path / "c").write_text("a file stands where the folder should be")
    checkpoint.save(tmp_path / "c", 1, {"x": 1})
    assert checkpoint.load(tmp_path / "c") is None
