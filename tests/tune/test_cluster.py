"""A Ray cluster of several nodes, as processes on this machine, behind its token.

Nodes and driver run from an environment whose path holds a space and a letter beyond ASCII; the
head from a link without them, since Ray's own server of clients does not start otherwise.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from hpo.storage.ledger import Ledger
from hpo.storage.sql import open_storage
from tests.faults.invariants import broken, tagged_processes

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.postgres]

TRAINING = ("--epochs", "4", "--pruner", "none")
MINE = """
import time
import neighbour
from hpo import Float, Space, tunable

@tunable(Space(x=Float(0.0, 1.0)), "score")
def train(trial):
    for epoch in range(4):
        time.sleep(0.4)
        trial.report(score=neighbour.double(trial.params["x"]))
"""


@dataclass
class Cluster:
    """A head without cores and nodes of one core each."""

    folder: Path
    blind_to: Path
    tag: str = field(default_factory=lambda: secrets.token_hex(6))
    nodes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        odd, plain = self.folder / "Ray é environment", self.folder / "environment"
        for link in (odd, plain):
            link.symlink_to(sys.prefix)
        self.python = odd / "bin" / "python"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{probe.getsockname()[1]}"
        token = self.folder / "token"
        token.write_text(secrets.token_hex(32))
        self.environment = {
            **os.environ,
            "HPO_FAULT_TAG": self.tag,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1",
        }
        port = self.address.rpartition(":")[2]
        head = ("--head", f"--port={port}", "--num-cpus=0", "--include-dashboard=false")
        self.start(plain / "bin" / "python", *head)

    def start(self, python: Path, *arguments: str, blind: bool = False) -> subprocess.Popen[bytes]:
        """A node; a blind one does not see the user's folder, as one on another machine."""
        command = [str(python), "-m", "ray.scripts.scripts", "start"]
        command += ["--block", "--node-ip-address=127.0.0.1", *arguments]
        if blind:
            hide = 'mount -t tmpfs none "$0" && exec "$@"'
            command = ["unshare", "-m", "sh", "-c", hide, str(self.blind_to), *command]
        shown = self.folder / f"node-{len(self.nodes)}.log"
        with shown.open("wb") as log:
            node = subprocess.Popen(
                command,
                env=self.environment,
                cwd=self.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.nodes.append(node)
        deadline = time.monotonic() + 90
        while "Ray runtime started" not in shown.read_text():  # two at once hinder each other
            assert node.poll() is None, shown.read_text()
            assert time.monotonic() < deadline, shown.read_text()
            time.sleep(0.2)
        return node

    def add(self, *, blind: bool = False) -> subprocess.Popen[bytes]:
        return self.start(self.python, f"--address={self.address}", "--num-cpus=1", blind=blind)

    def close(self) -> None:
        for pid in tagged_processes(self.tag):
            os.kill(pid, signal.SIGKILL)
        for node in self.nodes:
            node.wait()


def may_hide(folder: Path) -> bool:
    probe = ["unshare", "-m", "mount", "-t", "tmpfs", "none", str(folder)]
    return subprocess.run(probe, capture_output=True).returncode == 0


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    user = tmp_path / "user"
    user.mkdir()
    (tmp_path / "ray").mkdir()
    cluster = Cluster(tmp_path / "ray", user)
    yield cluster
    cluster.close()


def raylet_of(node: subprocess.Popen[bytes], tag: str) -> int:
    """The raylet that a node started."""
    for pid, title in tagged_processes(tag).items():
        if "raylet/raylet" in title and os.getpgid(pid) == os.getpgid(node.pid):
            return pid
    raise AssertionError("no raylet")


def start_study(cluster: Cluster, storage: str, *flags: str) -> subprocess.Popen[str]:
    command = ("run", "--model", "./mine.py:train")
    where = ("--name", "s", "--ray-address", cluster.address)
    return subprocess.Popen(
        [cluster.python, "-m", "hpo.cli", *command, *where, *TRAINING, *flags],
        cwd=cluster.blind_to,
        env={**cluster.environment, "HPO_STORAGE": storage},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def write_model(folder: Path) -> None:
    (folder / "mine.py").write_text(MINE)
    (folder / "neighbour.py").write_text("def double(x):\n    return 2 * x\n")


def test_a_node_that_dies_costs_only_its_running_trials(
    cluster: Cluster, postgres_url: str
) -> None:
    if not may_hide(cluster.blind_to):
        pytest.skip("needs the right to hide a folder from a process")
    cluster.add(blind=True)
    doomed = cluster.add(blind=True)
    write_model(cluster.blind_to)
    study = start_study(cluster, postgres_url, "--total-trials", "12", "--no-retrain", "-f", "json")

    def ledger() -> Ledger:
        return Ledger.open(open_storage(postgres_url, create=False), "s")

    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        time.sleep(0.5)
        try:
            if ledger().counts().get("COMPLETE", 0) >= 3:
                break
        except Exception:
            assert study.poll() is None, study.communicate()
    os.kill(raylet_of(doomed, cluster.tag), signal.SIGKILL)
    out, errors = study.communicate(timeout=200)
    assert study.returncode == 0, errors[-3000:]
    found: dict[str, Any] = json.loads(out)
    assert found["trials"]["COMPLETE"] == 12
    assert found["trials"].get("FAIL", 0) <= 2, errors
    assert broken(postgres_url, "s", errors, n_wanted=12) == []
    kinds = {t.user_attrs["fail_kind"] for t in ledger().trials() if t.state.name == "FAIL"}
    assert kinds <= {"lost"}
    workers = {
        t.user_attrs["run"]["worker"] for t in ledger().trials() if t.state.name == "COMPLETE"
    }
    assert len(workers) >= 2


def test_a_node_without_the_data_is_named(cluster: Cluster, tmp_path: Path) -> None:
    if not may_hide(cluster.blind_to):
        pytest.skip("needs the right to hide a folder from a process")
    cluster.add(blind=True)
    photos = cluster.blind_to / "photos"
    for name in ("cats", "dogs"):
        (photos / name).mkdir(parents=True)
        for n in range(10):
            Image.new("L", (8, 8), 25 * n).save(photos / name / f"{n}.png")
    flags = ("--model", "cnn", "--data", "imagefolder:./photos", "--n-trials", "1")
    study = start_study(cluster, f"sqlite:///{tmp_path}/hpo.db", *flags)
    errors = study.communicate(timeout=120)[1]
    assert study.returncode == 2
    assert f"has nothing at '{photos}'" in errors
    assert "put it on a disk all nodes share" in errors
