"""One process at a time: locks that end with the process that held them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo.errors import StorageError
from hpo.storage.retry import WAIT_S

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from sqlalchemy import Engine

TIMEOUT_S = WAIT_S
"""A lock ends with its process, so one that is held for long is one that many wait for."""
_POLL_S = 0.05


def engine_of(storage: BaseStorage) -> Engine:
    """The engine below Optuna's storage and its cache."""
    backend: Any = getattr(storage, "_backend", storage)
    engine: Engine = backend.engine
    return engine


@contextlib.contextmanager
def exclusive(engine: Engine, name: str, timeout_s: float = TIMEOUT_S) -> Iterator[None]:
    """Holds the lock `name` of a database: PostgreSQL's advisory lock, MySQL's named lock, or
    for SQLite a lock of the file's folder, which all names share.

    Raises:
        StorageError: another process holds it for longer than `timeout_s`.
    """
    if engine.dialect.name == "sqlite":
        with _folder_lock(Path(engine.url.database or ".").parent, name, timeout_s):
            yield
        return
    from sqlalchemy import text

    digest = hashlib.sha256(f"hpo {name}".encode())
    if engine.dialect.name == "postgresql":
        key = int.from_bytes(digest.digest()[:8], signed=True)
        take, give = f"pg_try_advisory_lock({key})", f"pg_advisory_unlock({key})"
    else:
        key_name = f"hpo-{digest.hexdigest()[:32]}"
        take, give = f"get_lock('{key_name}', 0)", f"release_lock('{key_name}')"
    with engine.connect() as connection:
        deadline = time.monotonic() + timeout_s
        while not connection.execute(text(f"select {take}")).scalar():
            connection.rollback()  # hold no transaction open while waiting
            _wait(deadline, name)
        connection.rollback()
        try:
            yield
        finally:
            with contextlib.suppress(Exception):  # a lost connection has given the lock back
                connection.execute(text(f"select {give}"))
                connection.rollback()


@contextlib.contextmanager
def _folder_lock(folder: Path, name: str, timeout_s: float) -> Iterator[None]:
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                _wait(deadline, name)
            except OSError:  # a file system without locks
                break
        yield
    finally:
        os.close(descriptor)


def _wait(deadline: float, name: str) -> None:
    if time.monotonic() > deadline:
        raise StorageError(f"storage: its lock for the {name} is held by another `hpo`: try again")
    time.sleep(_POLL_S)
