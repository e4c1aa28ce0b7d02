"""Starts Ray so that a user's folder, shell and GPUs do not get in its way."""

from __future__ import annotations

import contextlib
import importlib
import logging
import math
import os
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from hpo.errors import HpoError, SpecError
from hpo.study import StudySpec
from hpo.tune import reaper
from hpo.tune.resources import Resources, local_cpus, local_gpus, plan_resources
from hpo.tune.scratch import RAY_PREFIX, clear_leftovers, hold, scratch_folder, start_reaper
from hpo.tune.signals import sigterm_aside

_ENVIRONMENT = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # a trial without GPUs sees none
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_memory_monitor_refresh_ms": "0",  # its kills abort the whole study
    # Between a trial's placement and its start Ray takes warm workers for too many and ends them.
    "RAY_idle_worker_killing_time_threshold_ms": "600000",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # the driver has its own
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",  # the SQL ledger is the only truth
    "TUNE_RESULT_DELIM": "/",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}


_PRELOADED = ("torch", "hpo.tune.trainable", "hpo.tune.upkeep")
_NODES_S = 60
_token = secrets.token_hex(32)
"""Of every Ray that this process starts: Ray reads it once."""
_with_token = False
"""Whether ray was imported by a start with the token."""
_SECRETS = (
    "HPO_STORAGE",
    "OPTUNA_STORAGE",
    "PGPASSWORD",
    "MYSQL_PWD",
    "HPO_DASHBOARD_TOKEN",
    "HPO_SERVE_TOKEN",
)
_log = logging.getLogger("hpo.tune")


@contextlib.contextmanager
def ray_session(spec: StudySpec) -> Iterator[Resources]:
    """Connects to a cluster or starts Ray on this machine; stops what it started.

    Raises:
        SpecError: no cluster at the address, or it lacks what a trial asks for.
    """
    _set_defaults()
    if _is_running():  # the user's: it stays
        yield _when_there(spec)
        return
    if spec.ray_address is not None:
        with _cluster(spec.ray_address), _shut_down():
            yield _when_there(spec)
        return
    planned = plan_resources(spec, local_cpus(), local_gpus())  # refuse before anything starts
    cores = planned.max_concurrent * planned.workers_per_trial * planned.cpus_per_trial
    with _private_ray(planned.cpus_per_trial, n_cpus=math.ceil(cores)), _shut_down():
        yield planned


@contextlib.contextmanager
def ray_here(threads: int, preloaded: Sequence[str]) -> Iterator[Path]:
    """Ray on this machine alone, for other work than studies, and a folder that is gone when the
    driver is, even if that is killed.

    Args:
        threads: that each of its workers may use.
        preloaded: modules that workers import ahead.
    """
    _set_defaults()
    os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's 15 is for what nobody waits for
    with _private_ray(threads, preloaded) as folder, _shut_down():
        yield folder


def _is_running() -> bool:
    """Whether this process is connected to a Ray already."""
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())


def _set_defaults() -> None:
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


@contextlib.contextmanager
def _shut_down() -> Iterator[None]:
    import ray

    try:
        yield
    finally:
        with sigterm_aside():
            ray.shutdown()


def _when_there(spec: StudySpec) -> Resources:
    """What the cluster has, once that is enough for a trial: its nodes may still be starting."""
    deadline = time.monotonic() + _NODES_S
    said = False
    while True:
        try:
            return resources_now(spec)
        except SpecError:
            if time.monotonic() > deadline:
                raise
            if not said:
                _log.warning("the cluster has no room for a trial yet: waiting for its nodes")
            said = True
            time.sleep(1)


def resources_now(spec: StudySpec) -> Resources:
    """What Ray has now, divided among trials.

    Raises:
        SpecError: not enough for one.
    """
    import ray

    total = ray.cluster_resources()
    return plan_resources(spec, total.get("CPU", 0), total.get("GPU", 0))


@contextlib.contextmanager
def _cluster(address: str) -> Iterator[None]:
    # Ray prepends the driver's working folder to the workers' path: start from an empty one.
    with scratch_folder() as folder, tempfile.TemporaryFile() as log:
        try:
            with _errors_to(log):
                _connect(str(folder), address=address, runtime_env=_runtime_env_of_nodes())
        except Exception as error:  # Ray raises anything, a bare Exception too
            log.seek(0)
            said = log.read().decode(errors="replace")
            raise SpecError(f"ray_address: {address!r}: {_refusal(error, said)}") from error
        yield


@contextlib.contextmanager
def _errors_to(log: IO[bytes]) -> Iterator[None]:
    """Standard error goes to a file: Ray's core says there what its exceptions do not."""
    before = os.dup(2)
    os.dup2(log.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)


def _refusal(error: Exception, said: str) -> str:
    """Why a cluster cannot be used, and what to do.

    Args:
        said: by Ray's core, meanwhile.
    """
    reason = _reason(error)
    if type(error).__name__ == "AuthenticationError" or "InvalidAuthToken" in said:
        return (
            f"the cluster asks for a token and got {_token_source()}: set RAY_AUTH_MODE=token and "
            "RAY_AUTH_TOKEN_PATH to a file with the head's token (`ray get-auth-token` prints it "
            "there)"
        )
    if isinstance(error, RuntimeError) and "version" in reason.lower():
        return f"{reason}: install the same versions everywhere"
    return (
        f"no Ray cluster there ({reason}): start one with `ray start --head`, or leave it out to "
        "use this machine"
    )


def _token_source() -> str:
    """Which token Ray uses here, by the order in which it looks."""
    if (mode := os.environ.get("RAY_AUTH_MODE", "not set").lower()) != "token":
        return f"none, for RAY_AUTH_MODE is {mode}"
    if os.environ.get("RAY_AUTH_TOKEN"):
        return "a wrong one, of the variable RAY_AUTH_TOKEN"
    file = os.environ.get("RAY_AUTH_TOKEN_PATH") or str(Path.home() / ".ray" / "auth_token")
    if not Path(file).is_file():
        return f"none: there is no file {file!r}, and RAY_AUTH_TOKEN is not set"
    return f"a wrong one, of the file {file!r}"


def _reason(error: Exception) -> str:
    """The first line that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300].rstrip(".")


@contextlib.contextmanager
def _private_ray(
    cpus_per_trial: float, preloaded: Sequence[str] = _PRELOADED, n_cpus: int | None = None
) -> Iterator[Path]:
    """Ray for this run alone: on loopback, behind a token, in a folder of its own, and gone when
    the driver is, even if that is killed.  It starts a worker a core of `n_cpus` (default: all),
    which begin to import what trials need while the driver goes on."""
    global _with_token
    mark = secrets.token_hex(16)
    # Sockets lie in it, and their paths must be short.
    short = len(tempfile.gettempdir()) <= 20 and not _quotes(tempfile.gettempdir())
    folder = tempfile.mkdtemp(prefix=RAY_PREFIX, dir=None if short else "/tmp")
    token = Path(folder) / "token"
    token.touch(mode=0o600)
    token.write_text(_token)
    imported = "ray" in sys.modules and not _with_token  # it reads its settings when it is imported
    if imported:
        _log.warning("ray was imported before: its ports ask for no token, on every address")
    _with_token = not imported
    environment: dict[str, str | None] = {
        **dict.fromkeys(_SECRETS),  # of a trial's code, and of Ray's logs, no business
        reaper.VARIABLE: mark,
        "RAY_AUTH_MODE": "disabled" if imported else "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # everywhere: listen on loopback only
        "RAY_preload_python_modules": ",".join(preloaded),
        "PYTHONHASHSEED": "0",  # the order of sets of strings is the same in every worker
        "SPT_NOENV": "1",  # titles of processes are not written over what the reaper reads
    }
    plain = {k: v for k, v in os.environ.items() if k not in (*_SECRETS, reaper.VARIABLE)}
    lock = hold(Path(folder), mark)
    sweeper = start_reaper(mark, Path(folder), lock, subprocess.PIPE, plain)
    clear_leftovers()
    # Ray says so to a worker that has a trial, which is too late for what is imported before.
    environment["OMP_NUM_THREADS"] = os.environ.get(
        "OMP_NUM_THREADS", f"{max(1, int(cpus_per_trial))}"
    )
    before = {name: os.environ.get(name) for name in environment}
    _set(environment)
    try:
        _import_meanwhile("pandas")
        try:
            with _nothing_else(), _plain_python(folder):
                _connect(
                    folder,
                    address="local",
                    num_cpus=n_cpus or local_cpus(),
                    num_gpus=local_gpus(),
                    include_dashboard=False,
                    _node_ip_address="127.0.0.1",
                    _temp_dir=folder,
                )
        except Exception as error:  # Ray raises anything, a bare Exception too
            raise HpoError(
                f"Ray did not start on this machine: {_reason(error)}: see that its memory, its "
                f"processes (`ulimit -u`) and {folder.rpartition('/')[0]} have room, then run the "
                "same command again"
            ) from error
        _set({name: before[name] for name in (*_SECRETS, "OMP_NUM_THREADS")})
        yield Path(folder)
    finally:
        _set(before)
        assert sweeper.stdin is not None
        sweeper.stdin.close()
        os.close(lock)


def _import_meanwhile(module: str) -> None:
    """Imports in the background, while Ray's start waits for its processes.

    Args:
        module: one that Ray Tune needs, and that imports nothing of Ray: two threads that import
            parts of one package may wait for each other.
    """

    def import_it() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # it is the main thread's
        with contextlib.suppress(Exception):  # whoever needs it imports it again, and says so
            importlib.import_module(module)

    threading.Thread(target=import_it, name="hpo imports", daemon=True).start()


@contextlib.contextmanager
def _nothing_else() -> Iterator[None]:
    """Ray starts Python processes that nobody asks for anything here: the server behind its
    dashboard, for which it waits a second even without one, an agent with servers of its own that
    feeds it, a monitor that adds nodes to a cluster, and one that copies workers' logs to the
    driver.  They take the cores just when the first trial's worker starts."""
    from ray._private import node, services, utils

    changed: list[tuple[Any, str, Callable[..., Any]]] = [
        (services, "start_api_server", lambda *args, **options: (None, None)),
        # The agent itself has to be there; so it is as Ray has it without the extra `default`.
        (utils, "get_dashboard_dependency_error", lambda: ImportError("not wanted")),
        (node.Node, "start_monitor", lambda self: None),
        (node.Node, "start_log_monitor", lambda self: None),
    ]
    # Another Ray may start them in another way: then they run.
    changed = [(owner, name, new) for owner, name, new in changed if hasattr(owner, name)]
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in changed]
    try:
        for owner, name, stand_in in changed:
            setattr(owner, name, stand_in)
        yield
    finally:
        for owner, name, known in before:
            setattr(owner, name, known)


def _set(environment: Mapping[str, str | None]) -> None:
    for name, value in environment.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def check_address(address: str) -> None:
    """Whether something listens at a cluster's address; Ray itself would wait for minutes.

    Raises:
        SpecError: nothing does, or it is none that a driver can use.
    """
    if address == "auto":
        return
    host, colon, port = address.rpartition(":")
    if "://" in address or not colon or not host or not port.isdigit():
        raise SpecError(
            f"ray_address: {address!r}: write auto, or HOST:PORT of the head as `ray start --head` "
            "printed it; a driver runs on a node of the cluster"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        raise SpecError(
            f"ray_address: {address!r}: no Ray cluster there ({error}): start one with "
            "`ray start --head`, or leave it out to use this machine"
        ) from None


def ray_problem() -> str | None:
    """What of this machine's own Ray has died, or None.  Ray itself would wait for it."""
    from ray._private import worker

    node = worker._global_node
    processes = getattr(node, "all_processes", None) or {}
    for name in ("raylet", "gcs_server"):
        if any(info.process.poll() is not None for info in processes.get(name, ())):
            return f"Ray's {name} died"
    return None


def _connect(folder: str, **options: Any) -> None:
    import ray
    from ray._private import utils

    utils.set_sigterm_handler = lambda handler: None  # signals are the caller's
    # A worker that dies is told by the ledger, in one line; Tune would print its traceback.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    logging.getLogger("ray.air").setLevel(logging.CRITICAL)
    here = Path.cwd()
    try:
        os.chdir(folder)
        with sigterm_aside():
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
    finally:
        os.chdir(here)


def _quotes(path: str) -> bool:
    """Whether a shell takes a path for what it is only in quotes."""
    return shlex.quote(path) != path


@contextlib.contextmanager
def _plain_python(folder: str) -> Iterator[None]:
    """Ray starts workers through bash and does not quote the interpreter's path: gives it a link
    to this environment without spaces."""
    real = sys.executable
    if _quotes(real):
        link = Path(folder) / "environment"
        link.symlink_to(Path(real).parent.parent)
        sys.executable = str(link / "bin" / Path(real).name)
    try:
        yield
    finally:
        sys.executable = real


def _runtime_env_of_nodes() -> dict[str, str] | None:
    """The same for the nodes of a cluster, whose interpreters may lie elsewhere: each is found
    from the path of Ray's own file there, which comes quoted as the first argument."""
    if not _quotes(sys.executable):
        return None
    found = 'p="${0%/lib*/python*}/bin/python3"; [ -x "$p" ] || p=python3; exec "$p" "$0" "$@"'
    return {"py_executable": f"bash -c {shlex.quote(found)}"}
