"""`hpo rerun` for real: workers on Ray, two of them a trial, in this folder and in another."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.tune.test_run import HPO, environment, hpo, ledger

pytestmark = [pytest.mark.ray, pytest.mark.slow]

MINE = """
import torch
from hpo import Classifier, Data, Float, Space

class Net(Classifier):
    space = Space(lr=Float(1e-3, 1e-1, log=True))

    def data(self, seed):
        x = torch.randn(200, 4)
        part = (x, (x[:, 0] > 0).long())
        return Data("noise", part, part, part, {"n_classes": 2})

    def build(self, params, data):
        return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(), torch.nn.Linear(8, 2))
"""


def test_two_workers_come_to_the_same_bits_here_and_where_the_study_was_carried(
    tmp_path: Path,
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    (here / "mine.py").write_text(MINE)
    small = ["--epochs", "3", "--no-report", "--no-retrain", "--workers-per-trial", "2"]
    asked = ["--model", f"{here}/mine.py:Net", "--name", "s", "--n-trials", "2", *small]
    hpo("run", *asked, folder=here)
    before = (here / "hpo.db").read_bytes()
    found = hpo("rerun", "s", "1", folder=here)
    assert found["same"] is True and found["differences"] == found["metrics"] == []
    assert found["steps"] == {"what": "steps", "then": 3, "now": 3}
    assert (here / "hpo.db").read_bytes() == before

    for arguments, folder in (
        (["export-study", "s"], here),
        (["import-study", "../here/s.jsonl"], there),
    ):
        subprocess.run([*HPO, *arguments], cwd=folder, env=environment(), check=True)
    hpo("run", *asked, folder=there)
    trials = ledger(there, "s").trials()
    assert [t.state.name for t in trials] == ["COMPLETE"] * 4
    assert len({t.params["lr"] for t in trials}) == 4  # the sampler knew the first two

    mine = (here / "mine.py").read_text()
    (here / "mine.py").write_text(mine.replace("Linear(8, 2)", "Linear(8, 2, bias=False)"))
    found = hpo("rerun", "s", "1", folder=there, code=1)
    assert found["same"] is False and found["part"]["what"] == "step 1"
    assert [d["what"] for d in found["differences"]] == ["file mine.py"]
