"""What killed runs leave among the temporary files: the next run clears it, and nothing else."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpo.tune import reaper
from hpo.tune.scratch import clear_leftovers, hold, scratch_folder


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    yield tmp_path


def made(place: Path, name: str, age_s: float, mark: str | None = "none") -> Path:
    """A folder that was made some time ago, with a large file; not held."""
    folder = place / name
    folder.mkdir()
    (folder / "worker-1.out").write_bytes(b"x" * 10_000)
    if mark is not None:
        os.close(hold(folder, mark))
        os.utime(folder / "lock", (time.time() - age_s,) * 2)
    os.utime(folder, (time.time() - age_s,) * 2)
    return folder


def test_folders_of_killed_runs_are_removed_and_what_still_uses_them_is_ended(place: Path) -> None:
    mark = f"test-{os.getpid()}"
    survivor = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"],
        env={**os.environ, reaper.VARIABLE: mark},
    )
    try:
        gone = [made(place, "hpo-ray-a", 100, mark), made(place, "hpo-run-b", 100)]
        gone.append(made(place, "hpo-ray-of-an-earlier-version", 8 * 86400, None))
        kept = [made(place, "hpo-ray-young", 5), made(place, "hpo-other", 100)]
        kept.append(made(place, "hpo-ray-of-yesterday", 86400, None))
        clear_leftovers([place])
        with contextlib.suppress(subprocess.TimeoutExpired):
            survivor.wait(30)
        assert survivor.returncode == -9
        deadline = time.monotonic() + 30
        while any(folder.exists() for folder in gone) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not any(folder.exists() for folder in gone)
        assert all((folder / "worker-1.out").exists() for folder in kept)
    finally:
        survivor.kill()
        survivor.wait()


def test_a_folder_in_use_is_left_alone_and_removed_in_the_end(place: Path) -> None:
    with scratch_folder() as folder:
        os.utime(folder / "lock", (0, 0))
        clear_leftovers([place])
        time.sleep(0.5)
        assert (folder / "lock").exists()
        code = f"""
import sys; from pathlib import Path; from hpo.tune.scratch import clear_leftovers
clear_leftovers([Path({str(place)!r})])
"""
        subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
        time.sleep(reaper.QUIET_S + 1)
        assert (folder / "lock").exists()
    assert not folder.exists()
