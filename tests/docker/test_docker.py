"""The containers' files: linted, valid, and the same roles brought up as plain processes."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from hpo.storage.ledger import Ledger
from hpo.storage.sql import open_storage
from tests.faults.campaign import WORKLOAD
from tests.faults.invariants import broken, tagged_processes
from tests.postgres import PASSWORD, USER

DOCKER = Path(__file__).resolve().parents[2] / "docker"
BIN = Path(sys.executable).parent


@pytest.mark.parametrize(
    "command",
    [
        ["hadolint", "--failure-threshold", "info", "Dockerfile", "serving.Dockerfile"],
        ["shellcheck", "entrypoint.sh", "health.sh", "secrets.sh"],
        ["check-jsonschema", "--builtin-schema", "vendor.compose-spec", "compose.yaml"],
    ],
    ids=lambda command: command[0],
)
def test_the_files_are_valid(command: list[str]) -> None:
    done = subprocess.run(
        [BIN / command[0], *command[1:]], cwd=DOCKER, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_serving_image_has_what_serving_needs_and_no_torch() -> None:
    import tomllib

    project = tomllib.loads((DOCKER.parent / "pyproject.toml").read_text())["project"]
    bare = {"numpy", "pillow", "pydantic", "rich", "typer"}  # of the package's own, what it imports
    own = [line for line in project["dependencies"] if line.partition(">")[0] in bare]
    listed = (DOCKER / "serving.txt").read_text().split()
    assert sorted(listed) == sorted(own + project["optional-dependencies"]["serve"])
    assert not any(line.startswith("torch") for line in listed)


def test_ports_stay_inside_and_secrets_are_files() -> None:
    import yaml

    compose = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    assert compose["networks"]["inside"]["internal"] is True
    for name, service in compose["services"].items():
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), name
        outside = "outside" in service["networks"]
        assert outside == (name == "dashboard"), name
        for key, value in service.get("environment", {}).items():
            secret = "PASSWORD" in key or "TOKEN" in key
            assert not secret or key in ("RAY_AUTH_MODE",) or value.startswith("/run/secrets/"), key


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.postgres
def test_the_same_roles_run_as_plain_processes(tmp_path: Path, postgres_url: str) -> None:
    """PostgreSQL, Ray head and two workers, a driver, the dashboard: by the same entrypoint."""
    token, password, web = (tmp_path / name for name in ("ray", "postgres", "web"))
    token.write_text(secrets.token_hex(32))
    password.write_text(PASSWORD)
    web.write_text(secrets.token_hex(16))
    port, tag = free_port(), secrets.token_hex(6)
    parts = urlsplit(postgres_url)
    # As in the image, whose paths hold no space: with one in it, Ray's head does not start.
    commands = tmp_path / "bin"
    commands.mkdir()
    (tmp_path / "environment").symlink_to(sys.prefix)
    for name, module in (("ray", "ray.scripts.scripts"), ("hpo", "hpo.cli")):
        python = tmp_path / "environment" / "bin" / "python"
        (commands / name).write_text(f'#!/bin/sh\nexec {python} -m {module} "$@"\n')
        (commands / name).chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{commands}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "HPO_FAULT_TAG": tag,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_HEAD": f"127.0.0.1:{free_port()}",
        "HPO_PORT": str(port),
        "HPO_STORAGE": f"postgresql://{USER}@127.0.0.1:{parts.port}{parts.path}",
        "POSTGRES_PASSWORD_FILE": str(password),
        "HPO_DASHBOARD_TOKEN_FILE": str(web),
    }

    def start(*arguments: str, until: str = "") -> subprocess.Popen[bytes]:
        shown = tmp_path / f"{arguments[0]}-{len(list(tmp_path.glob('*.log')))}.log"
        with shown.open("wb") as log:
            process = subprocess.Popen(
                ["sh", DOCKER / "entrypoint.sh", *arguments],
                cwd=tmp_path,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + 90
        while until not in shown.read_text():
            assert process.poll() is None, shown.read_text()
            assert time.monotonic() < deadline, shown.read_text()
            time.sleep(0.2)
        return process

    try:
        start("head", until="Ray runtime started")
        start("worker", until="Ray runtime started")
        start("worker", until="Ray runtime started")
        assert start("hpo", "db", "create").wait(timeout=60) == 0
        start("dashboard", until="Dashboard: ")
        study = ("run", "--model", f"{WORKLOAD}:train", "--name", "s", "--epochs", "3")
        budget = ("--total-trials", "10", "--no-retrain", "--ray-address", "auto")
        driver = start("driver", *study, *budget)
        assert driver.wait(timeout=200) == 0, next(tmp_path.glob("driver-*.log")).read_text()
        assert broken(postgres_url, "s", "", n_wanted=10) == []
        trials = Ledger.open(open_storage(postgres_url, create=False), "s").trials()
        assert len({t.user_attrs["run"]["worker"] for t in trials}) >= 2
        asked = urllib.request.Request(f"http://127.0.0.1:{port}/api/studies")
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(asked, timeout=30)
        asked.add_header("Authorization", f"Bearer {web.read_text()}")
        with urllib.request.urlopen(asked, timeout=30) as answer:
            assert b'"s"' in answer.read()
    finally:
        for pid in tagged_processes(tag):
            os.kill(pid, signal.SIGKILL)
