"""The database behind the studies: its address, its schema, how it is opened.

SQLite by default, one visible file; PostgreSQL and MySQL for teams.  A password never appears
in a message.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from hpo.errors import SpecError, StorageError
from hpo.storage.lock import exclusive
from hpo.storage.outage import is_full, reason_of, remedy_of
from hpo.storage.retry import WAIT_S

if TYPE_CHECKING:
    from optuna.storages import BaseStorage, RDBStorage
    from sqlalchemy import Engine

DEFAULT = "hpo.db"
_DRIVERS = {
    "sqlite": "sqlite",
    "postgresql": "postgresql+psycopg",
    "postgres": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mysql+pymysql": "mysql+pymysql",
}
_EXTRAS = {"postgresql+psycopg": "postgres", "mysql+pymysql": "mysql"}
_TABLE, _VERSION = "studies", "alembic_version"
"""The tables of Optuna's schema that it creates first and last."""
_BUSY_S = 60
_CONNECT_S = 5
_FULL_S = min(60.0, WAIT_S)
"""How long a server that has too many connections is waited for, at each new one."""
_COLLATIONS = ("utf8mb4_0900_bin", "utf8mb4_nopad_bin", "utf8mb4_bin")
"""MySQL's and MariaDB's that tell names apart by case, accent and (the first two) final spaces."""

_log = logging.getLogger("hpo.storage")


def resolve_url(explicit: str | None, env: Mapping[str, str] | None = None) -> str:
    """The storage's URL: flag, HPO_STORAGE, HPO_STORAGE_FILE, OPTUNA_STORAGE, then `./hpo.db`.

    Args:
        explicit: a URL, or the path of an SQLite file.
    Returns:
        A SQLAlchemy URL; the path of an SQLite file is absolute.
    Raises:
        SpecError: no URL that this service knows.
    """
    env = os.environ if env is None else env
    given = explicit or env.get("HPO_STORAGE") or _from_file(env.get("HPO_STORAGE_FILE"))
    given = given or env.get("OPTUNA_STORAGE") or DEFAULT
    scheme, separator, rest = given.partition("://")
    if not separator:
        if given.partition(":")[0] in _DRIVERS:
            raise SpecError(f"storage: no '://' after {given.partition(':')[0]!r}: add it")
        return _sqlite_url(given)
    if scheme not in _DRIVERS:
        raise SpecError(
            f"storage: {redact(given)!r}: {scheme!r} is not supported: "
            "use sqlite:///FILE, postgresql://USER@HOST/NAME or mysql://USER@HOST/NAME"
        )
    if scheme == "sqlite":
        if not rest.startswith("/") or rest in ("", "/"):
            raise SpecError(f"storage: {given!r} names no file: write sqlite:///FILE")
        return _sqlite_url(rest[1:])
    url = f"{_DRIVERS[scheme]}://{rest}"
    _check_url(url)
    return url


def _from_file(path: str | None) -> str | None:
    """The URL in a file, for secrets that are mounted as files."""
    if not path:
        return None
    try:
        return Path(path).expanduser().read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"HPO_STORAGE_FILE: cannot read {path!r}: {error}") from None


def _check_url(url: str) -> None:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    # With a second '@', part of a password is taken for the host, and named in messages.
    problem = url.partition("?")[0].count("@") > 1
    try:
        problem = problem or not make_url(url).database
    except (ArgumentError, ValueError):
        problem = True
    if problem:
        raise SpecError(
            f"storage: {redact(url)!r} cannot be read: write DIALECT://USER:PASSWORD@HOST:PORT/NAME"
            " with '@' in a password as %40, '/' as %2F, ':' as %3A, '%' as %25"
        )


def _sqlite_url(path: str) -> str:
    if "?" in path:
        raise SpecError(f"storage: {path!r}: '?' begins options, which are not taken: drop it")
    if "\0" in path or path in (":memory:", ""):
        raise SpecError(f"storage: {path!r} is no file: studies need one that lasts")
    return f"sqlite:///{Path(path).expanduser().absolute()}"


def redact(url: str) -> str:
    """The URL without its password."""
    if url.startswith("sqlite:"):
        return url
    shown = re.sub(r"(://[^:]*):.*@", r"\1:***@", url)
    return re.sub(r"(?i)(password=)[^&]*", r"\1***", shown)


def open_storage(url: str, *, create: bool) -> BaseStorage:
    """Opens the database for Optuna, and creates its schema once if there is none.

    Args:
        url: from `resolve_url`.
        create: whether an SQLite file and the schema may be created.
    Returns:
        Optuna's storage, with its cache.
    Raises:
        StorageError: unreachable, refused, not a database, not writable, of a newer schema.
    """
    import sqlite3

    import optuna
    from optuna.exceptions import StorageInternalError
    from optuna.storages._cached_storage import _CachedStorage
    from sqlalchemy.exc import NoSuchModuleError, SQLAlchemyError

    from hpo.storage.bulk import BulkStorage

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    shown = redact(url)
    dialect = url.partition("://")[0]
    if dialect == "sqlite":
        _check_file(Path(url.removeprefix("sqlite:///")), create)
    try:
        options = _engine_options(url)
        with _schema_lock(url, create) as found:
            if not (found or create):
                raise StorageError(f"storage: no studies yet in {shown}: run `hpo run` first")
            if not found and dialect.startswith("mysql"):
                _create_mysql_tables(url, options)
            storage = BulkStorage(_for_optuna(url), engine_kwargs=options)
    except (ImportError, NoSuchModuleError):
        extra = _EXTRAS.get(dialect, "postgres")
        raise StorageError(
            f"storage: {shown}: its driver is missing: pip install 'hpo-torch[{extra}]'"
        ) from None
    except RuntimeError as error:  # Optuna's: the schema's version
        raise StorageError(
            f"storage: {shown}: {_reason(error, url)}: use the version of Optuna that wrote it, or "
            "`optuna storage upgrade`"
        ) from None
    except (SQLAlchemyError, StorageInternalError, sqlite3.Error, OSError, ValueError) as error:
        reason = _reason(error, url) + remedy_of(error)
        raise StorageError(f"storage: {shown} cannot be opened: {reason}") from None
    if dialect == "sqlite":
        _commit_to_disk(storage)
    return _CachedStorage(storage)


def upgrade(url: str) -> tuple[str, str]:
    """Brings an existing schema to the installed Optuna's version.

    Returns:
        Schema versions before and after.
    Raises:
        StorageError: no database there, or its schema is newer than the installed Optuna.
    """
    from optuna.storages import RDBStorage
    from sqlalchemy.exc import SQLAlchemyError

    dialect = url.partition("://")[0]
    if dialect == "sqlite":
        _check_file(Path(url.removeprefix("sqlite:///")), create=False)
    options = _engine_options(url)
    try:
        with _schema_lock(url, create=False) as found:
            if not found:
                raise StorageError(f"storage: no studies yet in {redact(url)}: nothing to upgrade")
            storage = RDBStorage(
                _for_optuna(url), engine_kwargs=options, skip_compatibility_check=True
            )
            before = storage.get_current_version()
            storage.upgrade()
            return before, storage.get_current_version()
    except (SQLAlchemyError, RuntimeError, ImportError) as error:
        raise StorageError(
            f"storage: {redact(url)} cannot be upgraded: {_reason(error, url)}"
        ) from None


def _commit_to_disk(storage: RDBStorage) -> None:
    """Makes a commit survive a power cut, which not every build of SQLite does in WAL mode."""
    from sqlalchemy import event

    @event.listens_for(storage.engine, "connect")
    def configure(connection: Any, record: Any) -> None:
        connection.execute("PRAGMA synchronous=FULL")

    storage.engine.dispose()  # connections opened before this


def _for_sqlalchemy(url: str) -> str:
    """SQLAlchemy decodes `%20` in a path, which here is written as it is."""
    return url.replace("%", "%25") if url.startswith("sqlite") else url


def _for_optuna(url: str) -> str:
    # RDBStorage fills `{SCHEMA_VERSION}` into the URL by str.format.
    return _for_sqlalchemy(url).replace("{", "{{").replace("}", "}}")


def _reason(error: Exception, url: str) -> str:
    """One line of the database's own words, without the password."""
    if isinstance(error, ValueError):  # from parsing the URL: it may quote any part
        return "its URL is not understood"
    text = reason_of(error)
    password = re.search(r"://[^:]*:(.*)@", url)
    for secret in {password.group(1), unquote(password.group(1))} if password else ():
        if secret:
            text = text.replace(secret, "***")
    return text.rstrip(".")


def _check_file(path: Path, create: bool) -> None:
    if path.is_dir():
        raise StorageError(f"storage: {str(path)!r} is a folder: name a file")
    if not path.exists():
        if not create:
            raise StorageError(
                f"storage: no studies yet, {str(path)!r} is not there: run `hpo run` first, "
                "or name another with --storage"
            )
        if not path.parent.is_dir():
            raise StorageError(f"storage: no folder {str(path.parent)!r}: create it first")
    writable = path if path.exists() else path.parent
    if not os.access(writable, os.W_OK):
        raise StorageError(f"storage: {str(path)!r} cannot be written: name a file of your own")
    # No look inside: closing the file would drop the locks that this process has on it.


def _engine_options(url: str, answer_s: int = _BUSY_S) -> dict[str, Any]:
    if url.startswith("sqlite"):
        return {"connect_args": {"timeout": _BUSY_S}}
    arguments: dict[str, Any] = {"connect_timeout": _CONNECT_S}
    if url.startswith("postgresql"):  # a database in SQL_ASCII would answer in bytes
        arguments["client_encoding"] = "utf8"
    if url.startswith("mysql"):  # PyMySQL waits for a greeting without end, and reads no variable
        arguments |= {"read_timeout": answer_s, "write_timeout": answer_s}
        if password := os.environ.get("MYSQL_PWD"):
            arguments["password"] = password
    # A driver of a study uses one connection, and its lease and its locks a second one.
    return {"pool_pre_ping": True, "pool_size": 2, "creator": _connector(url, arguments)}


def _connector(url: str, arguments: dict[str, Any]) -> Callable[[], Any]:
    """Opens connections; waits for one while the server says that it has too many."""
    from sqlalchemy.engine import make_url

    address = make_url(url)
    dialect_class: Any = address.get_dialect()
    dialect = dialect_class(dbapi=dialect_class.import_dbapi())
    positional, named = dialect.create_connect_args(address)
    named = {**arguments, **named}  # what the URL says comes first

    def connect() -> Any:
        start = time.monotonic()
        said = False
        while True:
            try:
                return dialect.connect(*positional, **named)
            except dialect.dbapi.Error as error:
                if not is_full(error) or time.monotonic() - start > _FULL_S:
                    raise
                if not said:
                    _log.warning("database: %s: waiting", reason_of(error))
                said = True
                time.sleep(0.5)

    return connect


def _create_mysql_tables(url: str, options: dict[str, Any]) -> None:
    """Creates Optuna's tables so that names differ by case and accent, long texts fit, and
    moments have microseconds.

    By default both servers compare names without either, TEXT holds 64 KB, and DATETIME whole
    seconds.
    """
    from optuna.storages._rdb import models
    from sqlalchemy import DateTime, MetaData, Text, create_engine, text
    from sqlalchemy.dialects.mysql import DATETIME, MEDIUMTEXT

    engine = create_engine(url, **options)
    tables = MetaData()
    try:
        with engine.connect() as connection:
            there = {row[0] for row in connection.execute(text("show collation"))}
        collation = next(name for name in _COLLATIONS if name in there)
        for table in models.BaseModel.metadata.sorted_tables:
            copy = table.to_metadata(tables)
            copy.kwargs.update(mysql_charset="utf8mb4", mysql_collate=collation)
            for column in copy.columns:
                if isinstance(column.type, Text):
                    column.type = MEDIUMTEXT()
                elif isinstance(column.type, DateTime):
                    column.type = DATETIME(fsp=6)
        tables.create_all(engine)
    finally:
        engine.dispose()


@contextlib.contextmanager
def _schema_lock(url: str, create: bool) -> Iterator[bool]:
    """Held while the schema may be created: several processes may open an empty database.

    Where the schema is whole nothing is held, and nobody waits for anybody.

    Yields:
        Whether there is a schema.
    """
    from sqlalchemy import create_engine, inspect

    engine = create_engine(_for_sqlalchemy(url), **_engine_options(url, answer_s=_CONNECT_S))
    try:
        with contextlib.ExitStack() as stack:
            if not (found := _is_whole(engine)):
                stack.enter_context(exclusive(engine, "schema"))
                found = inspect(engine).has_table(_TABLE)
            if engine.dialect.name == "sqlite" and (found or create):
                _log_ahead(engine)
            yield found
    finally:
        engine.dispose()


def _is_whole(engine: Engine) -> bool:
    """Whether Optuna has finished creating the schema: it notes the version last."""
    from sqlalchemy import inspect, text

    if not inspect(engine).has_table(_VERSION):
        return False
    with engine.connect() as connection:
        return connection.execute(text(f"select version_num from {_VERSION}")).first() is not None


def _log_ahead(engine: Engine) -> None:
    """Keeps a write-ahead log, for good: readers do not block the writer."""
    from sqlalchemy import text

    with engine.connect() as connection:
        connection.execute(text("PRAGMA journal_mode=WAL"))
