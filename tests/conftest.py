"""Databases for all tests: SQLite files, real PostgreSQL and MariaDB servers."""

from __future__ import annotations

import atexit
import itertools
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.artifacts import SHELF
from tests.mysql import MISSING, MySQLServer
from tests.postgres import PostgresServer

# Several tests run side by side: a thread each, in what they start too.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Ray's workers are polite by default: beside other tests they would wait for minutes.
os.environ.setdefault("RAY_worker_niceness", "0")
pytest_plugins = ["tests.networks"]
# Under nohup, or in the background, signals are ignored, and stay so in all that is started.
for _number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
    if signal.getsignal(_number) is signal.SIG_IGN:
        interrupts = _number == signal.SIGINT
        signal.signal(_number, signal.default_int_handler if interrupts else signal.SIG_DFL)
if SHELF not in os.environ:  # the first process: what runs side by side inherits it
    os.environ[SHELF] = tempfile.mkdtemp(prefix="hpo-tests-")
    atexit.register(shutil.rmtree, os.environ[SHELF], ignore_errors=True)
_numbers = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slow ones first: side by side, a slow one at the end would be waited for alone."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server that ends with the session."""
    server = PostgresServer()
    yield server
    server.close()


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> str:
    """The URL of a new and empty database."""
    return postgres_server.create(f"test_{next(_numbers)}")


@pytest.fixture(scope="session")
def mysql_server() -> Iterator[MySQLServer]:
    """A MariaDB server that ends with the session."""
    if MISSING is not None:
        pytest.skip(MISSING)
    server = MySQLServer()
    yield server
    server.close()


@pytest.fixture
def mysql_url(mysql_server: MySQLServer) -> str:
    """The URL of a new and empty database."""
    return mysql_server.create(f"test_{next(_numbers)}")


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("postgres", marks=pytest.mark.postgres),
        pytest.param("mysql", marks=pytest.mark.mysql),
    ]
)
def storage_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'trials.db'}"
    return str(request.getfixturevalue(f"{request.param}_url"))
