"""A password stays where it was given: it is in no file, log, process list, output or worker."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.faults.campaign import WORKLOAD
from tests.faults.invariants import tagged_processes
from tests.postgres import PASSWORD

pytestmark = [pytest.mark.ray, pytest.mark.postgres, pytest.mark.slow]
CANARY = PASSWORD.encode()


def files_with_the_canary(*folders: Path) -> list[Path]:
    found = []
    for folder in folders:
        # Folders and files that go away meanwhile are passed over.
        for parent, _, names in os.walk(folder):
            for path in (Path(parent, name) for name in names):
                try:
                    if path.is_file() and CANARY in path.read_bytes():
                        found.append(path)
                except OSError:
                    continue
    return found


def readable(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def test_a_password_is_found_nowhere(tmp_path: Path, postgres_url: str) -> None:
    shown = tmp_path / "shown"
    work = tmp_path / "work"
    temporary = Path("/tmp") / f"hpo-t{os.getpid()}"  # short, for Ray's sockets
    for folder in (work, temporary):
        folder.mkdir()
    environment = {**os.environ, "HPO_STORAGE": postgres_url, "HPO_FAULT_TAG": "secret"}
    environment["TMPDIR"] = str(temporary)
    model = ["--model", f"{WORKLOAD}:train", "--name", "s", "--epochs", "3", "--n-trials", "12"]
    with shown.open("w") as file:
        driver = subprocess.Popen(
            [sys.executable, "-m", "hpo.cli", "run", *model],
            cwd=work,
            env=environment,
            stdout=file,
            stderr=file,
        )
        listed: set[str] = set()
        leaking: set[object] = set()
        while driver.poll() is None:
            for pid, title in tagged_processes("secret").items():
                listed.add(title)
                if CANARY in readable(pid, "cmdline"):
                    leaking.add(title)
                if pid != driver.pid and CANARY in readable(pid, "environ"):
                    leaking.add(title)
            leaking.update(files_with_the_canary(temporary, work))
            time.sleep(0.5)
        for command in (
            ["studies"],
            ["status", "s"],
            ["trials", "s"],
            ["db", "check"],
            ["best", "s"],
        ):
            subprocess.run(
                [sys.executable, "-m", "hpo.cli", *command],
                cwd=work,
                env=environment,
                stdout=file,
                stderr=file,
                check=True,
            )
    assert driver.returncode == 0, shown.read_text()
    assert any("raylet" in title for title in listed)
    assert not leaking
    assert not files_with_the_canary(tmp_path, temporary)
    assert (work / "hpo-runs/s/best/model.json").stat().st_mode & 0o077 == 0
    for left in temporary.iterdir():
        assert left.name.startswith("hpo-ray-"), left  # the reaper takes it in a moment
