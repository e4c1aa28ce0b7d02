"""What runs while Ray runs on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import optuna
import pytest

from hpo.errors import SpecError
from hpo.tune import environment

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


MODEL = """
from hpo import Float, Space, tunable
@tunable(Space(x=Float(0.0, 1.0)), "score")
def train(trial):
    trial.report(score=1.0)
"""
BROKEN = """
import sys
from hpo.tune import environment

def connect(folder, **options):
    raise Exception("The current node timed out during startup. This could happen.\\nAnd more")

environment._connect = connect
sys.argv = ["hpo", "run", "--model", "./m.py:train", "--n-trials", "1", *sys.argv[1:]]
from hpo.cli import main
main()
"""


def start_broken(folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    (folder / "m.py").write_text(MODEL)
    return subprocess.run(
        [sys.executable, "-c", BROKEN, "-q", *flags],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )


def names_in(folder: Path) -> list[str]:
    return optuna.get_all_study_names(f"sqlite:///{folder}/hpo.db")


def test_whatever_ray_raises_at_its_start_is_one_line_and_leaves_no_study(tmp_path: Path) -> None:
    done = start_broken(tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
    assert "Ray did not start on this machine: The current node timed out" in done.stderr
    assert names_in(tmp_path) == []


def test_a_start_that_fails_leaves_an_earlier_study_as_it_was(tmp_path: Path) -> None:
    optuna.create_study(storage=f"sqlite:///{tmp_path}/hpo.db", study_name="before")
    assert start_broken(tmp_path, "--name", "new").returncode == 1
    assert names_in(tmp_path) == ["before"]
    optuna.create_study(
        storage=f"sqlite:///{tmp_path}/hpo.db", study_name="new", direction="maximize"
    )
    assert start_broken(tmp_path, "--name", "new").returncode == 1
    assert sorted(names_in(tmp_path)) == ["before", "new"]


@pytest.mark.ray
def test_an_error_in_a_run_is_not_told_as_rays_start(tmp_path: Path) -> None:
    script = (
        SCRIPT.partition("with ray_here")[0] + "with ray_here(1, []):\n    raise OSError('so')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, cwd=tmp_path
    )
    assert done.stderr.splitlines()[-1] == "OSError: so"


@pytest.mark.parametrize(
    ("variables", "source"),
    [
        ({}, "got none, for RAY_AUTH_MODE is not set"),
        ({"RAY_AUTH_MODE": "token"}, "got none: there is no file"),
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "x"}, "of the variable RAY_AUTH_TOKEN"),
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": __file__}, f"of the file {__file__!r}"),
    ],
)
def test_a_cluster_that_refuses_the_token_is_told_with_where_it_was_read(
    variables: dict[str, str], source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    def refused(folder: str, **options: object) -> None:
        os.write(2, b"gcs_client.cc:210: Unauthenticated: RPC error: InvalidAuthToken\n")
        raise ConnectionError("Failed to connect to Ray cluster at 192.0.2.1:6379")

    monkeypatch.setattr(environment, "_connect", refused)
    with (
        pytest.raises(SpecError, match="RAY_AUTH_TOKEN_PATH to a file with the head's") as error,
        environment._cluster("192.0.2.1:6379"),
    ):
        pass
    assert source in str(error.value)
