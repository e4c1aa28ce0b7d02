"""A server: Ray Serve's replicas, the front before them, and what is told to it while it runs."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpo.errors import HpoError, SpecError
from hpo.extras import need
from hpo.inference.predictor import Predictor
from hpo.serve.front import Address, Front, binary, free_ports
from hpo.serve.models import check_name
from hpo.serve.replica import Replica

_READY_S = 120
_SPARE = 2
"""Ports beyond the replicas: a killed one's may not be free at once."""
_MOST_LOGGED = 65_536
_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**20), "MALLOC_ARENA_MAX": "2"}
"""By itself glibc would keep what large images took, after they are gone."""
_APP = "hpo"


@dataclass(frozen=True)
class Plan:
    """How to serve.

    Attributes:
        replicas: the fewest and the most processes.
        threads: cores that one run of a graph may use.
        token: asked for; None: not.
    """

    address: Address
    replicas: tuple[int, int] = (2, 2)
    threads: int = 1
    token: str | None = None

    def __post_init__(self) -> None:
        low, high = self.replicas
        if not 1 <= low <= high <= 64:
            raise SpecError(f"replicas: {low}..{high}: must be 1 to 64, or a range of that: 1..4")
        if not 1 <= self.threads <= 256:
            raise SpecError(f"threads: {self.threads}: must be 1 to 256")
        if not 1 <= self.address.max_body < 10**9:  # what HAProxy compares has nine digits
            raise SpecError(f"max_body: {self.address.max_body}: must be 1 to 999999999 bytes")


class Server:
    """A server that runs.  Made by `serving`."""

    def __init__(self, plan: Plan, folder: Path, models: Mapping[str, str]) -> None:
        self.plan, self.folder = plan, folder
        self._lock = threading.Lock()
        self._models: dict[str, dict[str, Any]] = {
            name: {"path": self._kept(name, 1, path), "version": 1} for name, path in models.items()
        }
        self._ports = free_ports(plan.replicas[1] + _SPARE)
        self._token_file: str | None = None
        if plan.token is not None:
            file = folder / "token"
            file.touch(mode=0o600)
            file.write_text(plan.token, encoding="utf-8")
            self._token_file = str(file)
        self._n_replicas = plan.replicas[0]
        self._log, self._n_told = folder / "errors.log", 0
        self._log.touch()
        self._deploy()
        self.front = Front(plan.address, self._ports, folder)
        self.front.wait_until_ready(_READY_S)

    @property
    def models(self) -> dict[str, dict[str, Any]]:
        """{"path", "version"} by name."""
        return {name: dict(spec) for name, spec in self._models.items()}

    def _kept(self, name: str, version: int, path: str) -> str:
        """What is served stays as it is, whatever becomes of the folder: a replica that starts
        later opens the same files."""

        def link(source: str, target: str) -> None:
            try:
                os.link(source, target)
            except OSError:  # another file system
                shutil.copy2(source, target)

        kept = self.folder / "models" / f"{name}-{version}"
        shutil.rmtree(kept, ignore_errors=True)
        try:
            shutil.copytree(path, kept, copy_function=link)
        except (OSError, shutil.Error) as error:
            raise HpoError(f"path: {path!r} cannot be copied: {error}") from None
        return str(kept)

    def _deploy(self) -> None:
        from ray import serve

        figures = self.folder / "figures"
        figures.mkdir(exist_ok=True)
        variables = {"PROMETHEUS_MULTIPROC_DIR": str(figures), **_MEMORY}
        deployment: Any = serve.deployment(
            name="replica",
            num_replicas=self._n_replicas,
            user_config={"models": self._models},
            health_check_period_s=1,
            health_check_timeout_s=5,
            graceful_shutdown_timeout_s=25,
            ray_actor_options={"num_cpus": 0, "runtime_env": {"env_vars": variables}},
        )(Replica)
        # By its version replicas see that only settings have changed, which they take as they
        # run; a Ray without it replaces them, one after another.
        deployment._version = "1"
        app = deployment.bind(
            self._ports,
            self._token_file,
            self.plan.address.max_body,
            self.plan.threads,
            str(self._log),
            self.plan.address.host,
        )
        try:
            serve.run(app, name=_APP, route_prefix=None)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()
            raise HpoError(
                f"the replicas did not start: {reason[-1] if reason else error}"
            ) from None

    def switch(self, name: str, path: str) -> int:
        """Serves another model under a name, new or known; requests under way are answered.

        Args:
            path: a bundle.
        Returns:
            The version.
        Raises:
            SpecError: no bundle there, or one that does not answer; what is served stays.
            HpoError: it cannot be copied, or the replicas do not take it.
        """
        check_name(name)
        new = Predictor.open(path)
        with self._lock:
            before = self._models
            if name in before:
                _check_alike(name, new, Predictor.open(before[name]["path"]))
            version = int(before[name]["version"]) + 1 if name in before else 1
            kept = self._kept(name, version, path)
            self._models = {**before, name: {"path": kept, "version": version}}
            try:
                self._deploy()
            except HpoError:
                self._models = before
                self._deploy()
                raise
            if name in before:
                shutil.rmtree(before[name]["path"], ignore_errors=True)
            return version

    def scale(self, n: int) -> None:
        """So many replicas, within the plan's."""
        low, high = self.plan.replicas
        with self._lock:
            self._n_replicas = min(max(n, low), high)
            self._deploy()

    def errors(self) -> str:
        """What replicas have logged since the last call; lines without a part of any request."""
        with self._log.open(encoding="utf-8", errors="replace") as file:
            file.seek(self._n_told)
            found = file.read(_MOST_LOGGED)
            self._n_told = file.tell()
        return found

    def n_replicas(self) -> int:
        """Replicas that are asked for."""
        return self._n_replicas


def _check_alike(name: str, new: Predictor, served: Predictor) -> None:
    """Raises SpecError if clients of what is served would be refused by the new model."""
    if new.task != served.task or new.schema()["input"] != served.schema()["input"]:
        raise SpecError(
            f"model: {name!r} is for {served.task}, and this is for {new.task} or takes other "
            "inputs, which its clients do not send: serve it under another name"
        )


@contextlib.contextmanager
def serving(plan: Plan, models: Mapping[str, str]) -> Iterator[Server]:
    """Starts Ray, the replicas and the front; at the end requests under way are answered.

    Args:
        models: paths of bundles by name.
    Raises:
        SpecError: no such bundle, a name or port that cannot be, a missing package; before
            anything is started.
        HpoError: something did not start.
    """
    check(models)
    from hpo.tune.environment import ray_here

    with ray_here(plan.threads, ("hpo.serve.app",)) as rays:
        from ray import serve
        from ray.serve.config import HTTPOptions, ProxyLocation

        logging.getLogger("ray.serve").setLevel(logging.ERROR)
        serve.start(proxy_location=ProxyLocation.Disabled, http_options=HTTPOptions())
        folder = rays / "serve"
        folder.mkdir(mode=0o700)
        server = Server(plan, folder, models)
        try:
            yield server
        finally:
            server.front.drain()  # nothing is under way then: Ray may end with its processes


def check(models: Mapping[str, str]) -> None:
    """Raises SpecError unless these can be served on this machine."""
    for package in ("uvicorn", "starlette", "prometheus_client", "onnxruntime"):
        need(package, "serve", "serve")
    binary()
    if not models:
        raise SpecError("models: none: name at least one, PATH or NAME=PATH")
    for name, path in models.items():
        check_name(name)
        Predictor.open(path)
