"""SQL storages for the contract tests; those that do not ask for one run in memory."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna.storages import BaseStorage, RDBStorage
from sqlalchemy import event

optuna.logging.set_verbosity(optuna.logging.WARNING)


@pytest.fixture(scope="session")
def empty_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with the schema and nothing else; copying it is faster than making it."""
    path = tmp_path_factory.mktemp("sqlite") / "empty.db"
    RDBStorage(f"sqlite:///{path}").engine.dispose()
    return path


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BaseStorage]:
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("empty_sqlite"), tmp_path / "trials.db")
        url = f"sqlite:///{tmp_path / 'trials.db'}"
    else:
        url = str(request.getfixturevalue("postgres_url"))
    storage = RDBStorage(url)
    if request.param == "sqlite":
        # No test pulls the plug, and waiting for the disk would take half the time.
        event.listen(storage.engine, "connect", lambda c, _: c.execute("PRAGMA synchronous=OFF"))
        storage.engine.dispose()
    yield storage
    storage.remove_session()
    storage.engine.dispose()
