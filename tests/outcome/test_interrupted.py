"""A signal after the search: it is heard in each phase, loses nothing, and resume goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

MODEL = """
import time
from hpo import Float, Space, tunable

@tunable(Space(x=Float(0.0, 1.0)), "score")
def train(trial):
    for epoch in range(2):
        time.sleep(0.5)
        trial.report(score=trial.params["x"])
"""
HPO = (sys.executable, "-m", "hpo.cli")


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize(
    ("phase", "number"), [("confirming", signal.SIGTERM), ("retraining", signal.SIGINT)]
)
def test_a_signal_after_the_search_is_heard(
    phase: str, number: signal.Signals, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(MODEL)
    environment = {k: v for k, v in os.environ.items() if k != "HPO_STORAGE"}
    command = (*HPO, "run", "--model", "mine.py:train", "--name", "s", "--n-trials", "3")
    run = subprocess.Popen(
        [*command, "--epochs", "2", "--pruner", "none", "--no-report"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert run.stderr is not None
    said = ""
    for line in run.stderr:
        said += line
        if line.startswith(f"{phase}:"):
            break
    begun = time.monotonic()
    run.send_signal(number)
    said += run.communicate(timeout=120)[1]
    assert run.returncode == 128 + number, said
    assert time.monotonic() - begun < 60
    assert "Traceback" not in said and "Continue with: hpo resume s" in said

    resumed = subprocess.run(
        [*HPO, "resume", "s", "-f", "json"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert resumed.returncode == 0, resumed.stderr
    summary = json.loads(resumed.stdout)
    assert summary["trials"] == {"COMPLETE": 3}
    assert summary["confirmed"] and Path(tmp_path, summary["path"]).is_dir()
