"""A server of two models, as a user starts it, in processes that cannot import torch."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from hpo.outcome.export import bundle_of
from tests.artifacts import artifact

NO_TORCH = """
import sys
class Refuser:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision", "optuna", "sqlalchemy", "pandas"):
            raise ImportError(f"{name} is not in the serving image")
sys.meta_path.insert(0, Refuser())
"""
HPO = [sys.executable, "-m", "hpo.cli"]


@dataclass
class Running:
    """A server in a process of its own."""

    process: subprocess.Popen[str]
    port: int
    bundles: dict[str, Path]
    environment: dict[str, str]
    host: str = "127.0.0.1"

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        kind: str = "application/json",
        **headers: str,
    ) -> tuple[int, bytes]:
        connection = HTTPConnection(self.host, self.port, timeout=60)
        with contextlib.closing(connection):
            connection.request(method, path, body, {"Content-Type": kind, **headers})
            answer = connection.getresponse()
            return answer.status, answer.read()

    def replicas(self) -> list[int]:
        """Their processes: the ones that hold the HTTP server."""
        found = []
        for name in os.listdir("/proc"):
            with contextlib.suppress(OSError):
                title = Path(f"/proc/{name}/cmdline").read_bytes()
                if b"ServeReplica:hpo:replica" in title and self._is_ours(name):
                    found.append(int(name))
        return found

    def _is_ours(self, pid: str) -> bool:
        return b"HPO_TEST=" + self.environment["HPO_TEST"].encode() in Path(
            f"/proc/{pid}/environ"
        ).read_bytes().split(b"\0")


def start(
    folder: Path,
    bundles: dict[str, Path],
    *flags: str,
    host: str = "127.0.0.1",
    torch_there: bool = False,
    **environment: str,
) -> Running:
    """`hpo serve` on a free port, once it is ready."""
    blocker = folder / "without"
    blocker.mkdir(exist_ok=True)
    (blocker / "sitecustomize.py").write_text("" if torch_there else NO_TORCH)
    found = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(blocker), os.environ.get("PYTHONPATH", "")]),
        "HPO_TEST": f"{os.getpid()}-{time.monotonic_ns()}",
        "NO_COLOR": "1",
        **environment,
    }
    models = [f"{name}={path}" for name, path in bundles.items()]
    process = subprocess.Popen(
        [*HPO, "serve", *models, "--host", host, "--port", "0", *flags],
        env=found,
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if match := re.search(r"Try it: http://\S+:(\d+)/docs", line):
            return Running(process, int(match[1]), bundles, found, host)
    raise AssertionError("".join(said))


def stop(running: Running, number: int = signal.SIGTERM) -> int:
    """Its exit code."""
    if running.process.poll() is None:
        running.process.send_signal(number)
    return running.process.wait(60)


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A CNN and an RNN in ONNX."""
    folder = tmp_path_factory.mktemp("bundles")
    return {
        name: Path(
            shutil.copytree(
                bundle_of(shutil.copytree(artifact(name), folder / f"a-{name}")), folder / name
            )
        )
        for name in ("cnn", "rnn")
    }


@pytest.fixture(scope="module")
def running(
    bundles: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    found = start(tmp_path_factory.mktemp("server"), bundles)
    yield found
    stop(found)
