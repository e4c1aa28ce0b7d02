"""`hpo run` for real with several objectives and constraints: to the end, killed, resumed."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from hpo.outcome.artifact import read
from tests.tune.test_run import HPO, environment, hpo, ledger

pytestmark = [pytest.mark.ray, pytest.mark.slow]

TOY = """
import time
from hpo import Choice, Float, Space, tunable

@tunable(Space(x=Float(0.0, 1.0), how=Choice("fine", "nan")), "score")
def train(trial):
    for epoch in range(trial.epochs):
        time.sleep(0.2)
        bad = trial.params["how"] == "nan"
        trial.report(score=trial.params["x"], cost=float("nan") if bad else trial.params["x"] ** 2)
"""


def test_accuracy_against_parameters_of_the_cnn(tmp_path: Path) -> None:
    goals = ["--objective", "accuracy", "--objective", "params", "--constraint", "latency_ms<=1000"]
    small = ["--epochs", "1", "--set", "width=8..12", "--set", "depth=2", "--confirm-seeds", "1"]
    found = hpo("run", "--model", "cnn", "--n-trials", "3", *small, *goals, folder=tmp_path)
    name = "cnn-auto-accuracy-params"
    assert found["study"] == name and found["trials"] == {"COMPLETE": 3}
    trials = ledger(tmp_path, name).trials()
    for trial in trials:
        metrics = trial.user_attrs["metrics"]
        assert trial.values == [metrics["accuracy"], metrics["params"]]
        assert 0.1 < metrics["latency_ms"] < 1000 and trial.constraints["0"] < 0
    assert [row["trial"] for row in found["front"]] == [
        trial.number for trial in ledger(tmp_path, name).front()
    ]
    best = found["best"]
    assert found["confirmed"][0]["trial"] == best["trial"]
    facts = read(found["path"])
    assert facts.trial == best["trial"] and facts.metric == "accuracy"
    assert facts.test["params"] == best["values"]["params"] and facts.test["accuracy"] > 0.3
    assert "Pareto front" in Path(found["report"]).read_text()
    listed = hpo("best", name, folder=tmp_path)
    assert [row["trial"] for row in listed] == [row["trial"] for row in found["front"]]
    said = hpo("compare", "--studies", f"{name},{name}2", folder=tmp_path, code=2)
    assert "compared by one objective" in said
    other = next(t.number for t in trials if t.number != best["trial"])
    again = hpo("retrain", name, "--trial", str(other), "--seeds", "1", folder=tmp_path)
    assert again["confirmed"][0]["trial"] == other
    said = hpo("retrain", name, "--trial", "99", folder=tmp_path, code=2)
    assert "trial: 99: study" in said


def test_killed_and_resumed_with_two_values(tmp_path: Path) -> None:
    (tmp_path / "toy.py").write_text(TOY)
    goals = ["--objective", "score", "--objective", "cost:minimize", "--sampler", "nsgaii"]
    budget = ["--n-trials", "8", "--epochs", "3", "--no-retrain", "--no-report", "--name", "s"]
    run = subprocess.Popen(
        [*HPO, "run", "--model", "./toy.py:train", *goals, *budget, "--set", "how=fine"],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        time.sleep(0.2)
        try:
            if ledger(tmp_path, "s").counts().get("COMPLETE", 0) >= 2:
                break
        except Exception:  # there is no database yet
            continue
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    found = hpo("resume", "s", folder=tmp_path)
    trials = ledger(tmp_path, "s").trials()
    complete = [t for t in trials if t.state.name == "COMPLETE"]
    assert len(complete) == 8 == found["trials"]["COMPLETE"]
    assert all(t.values == [t.params["x"], t.params["x"] ** 2] for t in complete)
    assert {t.state.name for t in trials} <= {"COMPLETE", "FAIL"}
    assert len(found["front"]) == 8  # more of the one is less of the other


def test_constraints_and_nan_with_one_objective(tmp_path: Path) -> None:
    (tmp_path / "toy.py").write_text(TOY)
    run = ["run", "--model", "./toy.py:train", "--epochs", "1", "--no-retrain", "--no-report"]
    found = hpo(*run, "--constraint", "cost<=0.3", "--n-trials", "10", folder=tmp_path)
    trials = ledger(tmp_path, "toy-train-auto").trials()
    for trial in trials:
        if trial.params["how"] == "nan":
            assert trial.user_attrs["fail_reason"] == "diverged: cost is nan"
        else:
            assert trial.constraints == {"0": pytest.approx(trial.params["x"] ** 2 - 0.3)}
    kept = [t.params["x"] for t in trials if t.values and t.params["x"] ** 2 <= 0.3]
    assert found["best"]["value"] == max(kept)
    said = hpo(*run, "--constraint", "cost<=0.4", "--n-trials", "1", folder=tmp_path, code=2)
    assert "constraints was 'cost<=0.3', is 'cost<=0.4': give --name another" in said
