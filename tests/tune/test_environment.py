"""What runs while Ray runs on this machine."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import os
from pathlib import Path
from hpo.tune import reaper
from hpo.tune.environment import ray_here

with ray_here(1, ["json"]):
    for pid in reaper.marked(os.environ[reaper.VARIABLE]):
        print(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\\0", b" ").decode())
"""


def test_ray_starts_nothing_that_nobody_asks() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=120
    )
    assert "raylet" in done.stdout and "gcs_server" in done.stdout
    for unasked in ("monitor.py", "log_monitor", "LogMonitor", "Monitor", "dashboard.py"):
        assert unasked not in done.stdout, done.stdout
