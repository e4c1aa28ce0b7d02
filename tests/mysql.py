"""A real MariaDB server for tests: Debian's binaries, a folder of its own, TCP."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import pymysql

from tests.postgres import free_port

USER, PASSWORD = "hpo_admin", "canary-4d7e"
"""The server's superuser; the password is one that tests look for where it must not be."""
MISSING = (
    None
    if shutil.which("mariadbd") and shutil.which("mariadb-install-db")
    else "no MariaDB here: apt-get install mariadb-server-core"
)
"""Why there is no server on this machine; None: there is one."""


class MySQLServer:
    """Starts in a temporary folder on a free port of loopback; passwords are asked for.

    Args:
        settings: of the server, for example `{"max_connections": "8"}`.
    """

    def __init__(self, **settings: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="hpo-my-"))
        self.folder.chmod(0o755)
        self.port = free_port()
        self.data = self.folder / "data"
        self.data.mkdir(mode=0o700)
        self.account = "nobody" if os.geteuid() == 0 else None
        if self.account:
            shutil.chown(self.data, self.account)
        self.settings = settings
        options = [
            "--no-defaults",
            f"--datadir={self.data}",
            "--auth-root-authentication-method=normal",
        ]
        options += [f"--user={self.account}"] if self.account else []
        subprocess.run(
            ["mariadb-install-db", *options, "--skip-test-db"],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=120,
        )
        self.start()
        self._call("root", "", f"create user {USER}@'%' identified by '{PASSWORD}'")
        self._call("root", "", f"grant all on *.* to {USER}@'%' with grant option")

    def start(self) -> None:
        """Starts the server and waits until it answers."""
        options = {
            "datadir": self.data,
            "port": self.port,
            "bind-address": "127.0.0.1",
            "socket": self.data / "socket",
            "pid-file": self.data / "pid",
            "log-error": self.data / "log",
            "innodb-flush-log-at-trx-commit": 0,
            "innodb-buffer-pool-size": "32M",
            "innodb-log-file-size": "16M",
            **({"user": self.account} if self.account else {}),
            **{name.replace("_", "-"): value for name, value in self.settings.items()},
        }
        self.process = subprocess.Popen(
            [
                "mariadbd",
                "--no-defaults",
                *(f"--{name}={value}" for name, value in options.items()),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 60
        while True:
            try:
                self._call("root", "", "select 1")
                return
            except pymysql.OperationalError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError((self.data / "log").read_text()[-2000:]) from None
                time.sleep(0.1)

    def _call(self, user: str, password: str, statement: str) -> None:
        options: dict[str, Any] = {"host": "127.0.0.1", "port": self.port}
        if user == "root":  # known to the socket alone
            options = {"unix_socket": str(self.data / "socket")}
        with pymysql.connect(
            **options, user=user, password=password, autocommit=True
        ) as connection:
            connection.cursor().execute(statement)

    def execute(self, statement: str) -> None:
        """Runs one statement as superuser."""
        self._call(USER, PASSWORD, statement)

    def create(self, database: str, charset: str = "utf8mb4") -> str:
        """The URL of a new and empty database."""
        self.execute(f"create database {database} character set {charset}")
        return self.url(database)

    def url(self, database: str, user: str = USER, password: str = PASSWORD) -> str:
        """A database's URL."""
        return f"mysql+pymysql://{user}:{password}@127.0.0.1:{self.port}/{database}"

    def stop(self) -> None:
        """Ends the server as its administrator would."""
        self.process.terminate()
        self.process.wait(timeout=60)

    def close(self) -> None:
        """Ends the server and removes its folder."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(timeout=60)
        shutil.rmtree(self.folder, ignore_errors=True)
