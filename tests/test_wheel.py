"""The wheel by itself: built, installed outside the checkout, used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
@pytest.mark.ray
def test_the_wheel_runs_a_ready_study_outside_the_checkout(tmp_path: Path) -> None:
    run = {"check": True, "capture_output": True, "text": True, "cwd": tmp_path, "timeout": 300}
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "-w", str(tmp_path), str(ROOT)], **run)  # type: ignore[call-overload]
    (wheel,) = tmp_path.glob("*.whl")
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    # Its dependencies from here, by a plain path: `.pth` files there, the editable one too, do
    # not count, so that `hpo` can come from the wheel alone.
    site = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        **run,  # type: ignore[call-overload]
    ).stdout.strip()
    (Path(site) / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    subprocess.run([python, "-m", "pip", "install", "--no-deps", str(wheel)], **run)  # type: ignore[call-overload]
    where = "import hpo, hpo_models; print(hpo.__file__, hpo_models.__file__)"
    found = subprocess.run([python, "-c", where], **run).stdout.split()  # type: ignore[call-overload]
    assert all(path.startswith(site) for path in found), found
    hpo = str(tmp_path / "venv" / "bin" / "hpo")
    assert "hpo run" in subprocess.run([hpo, "--help"], **run).stdout  # type: ignore[call-overload]
    small = ["--total-trials", "2", "--epochs", "1", "--no-retrain", "-f", "json"]
    clean = {k: v for k, v in os.environ.items() if k not in ("HPO_STORAGE", "OPTUNA_STORAGE")}
    done = subprocess.run([hpo, "run", "--study", "cnn-digits", *small], env=clean, **run)  # type: ignore[call-overload]
    assert sum(json.loads(done.stdout)["trials"].values()) == 2
