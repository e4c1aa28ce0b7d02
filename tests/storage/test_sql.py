"""Opening databases: which URL, one schema, one line for everything that goes wrong."""

from __future__ import annotations

import contextlib
import os
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import optuna
import pytest
from sqlalchemy import create_engine, inspect, text

from hpo.errors import HpoError, SpecError, StorageError
from hpo.storage.sql import open_storage, redact, resolve_url
from tests.postgres import PASSWORD, USER, PostgresServer

CANARY = "canary-Pw-77"


def one_line(error: HpoError) -> str:
    message = str(error)
    assert "\n" not in message
    assert CANARY not in message
    return message


# Which URL


def test_the_flag_wins_then_the_environment_then_one_visible_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    both = {"HPO_STORAGE": "sqlite:///b.db", "OPTUNA_STORAGE": "sqlite:///c.db"}
    assert resolve_url("a.db", both) == f"sqlite:///{tmp_path}/a.db"
    assert resolve_url(None, both) == f"sqlite:///{tmp_path}/b.db"
    assert resolve_url(None, {"OPTUNA_STORAGE": "c.db"}) == f"sqlite:///{tmp_path}/c.db"
    assert resolve_url(None, {}) == f"sqlite:///{tmp_path}/hpo.db"
    assert resolve_url("sqlite:////x/y.db", {}) == "sqlite:////x/y.db"


@pytest.mark.parametrize(
    ("given", "driver"),
    [
        ("postgresql://u@h/n", "postgresql+psycopg"),
        ("postgres://u@h/n", "postgresql+psycopg"),
        ("postgresql+psycopg://u@h/n", "postgresql+psycopg"),
        ("mysql://u@h/n", "mysql+pymysql"),
        ("mysql+pymysql://u@h/n", "mysql+pymysql"),
    ],
)
def test_each_dialect_gets_its_driver(given: str, driver: str) -> None:
    assert resolve_url(given, {}) == f"{driver}://u@h/n"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (f"oracle://u:{CANARY}@h/n", "'oracle' is not supported"),
        (f"postgresql:u:{CANARY}@h/n", "no '://'"),
        (f"postgresql://u:x@{CANARY}@h/n", "%40"),
        (f"postgresql://u@corp:{CANARY}@h/n", "%40"),
        (f"postgresql://u:{CANARY}@h:port/n", "USER:PASSWORD@HOST"),
        (f"postgresql://u:{CANARY}@h", "NAME"),
        ("sqlite://", "names no file"),
        ("sqlite:///", "names no file"),
        (":memory:", "one that lasts"),
        ("sqlite:///:memory:", "one that lasts"),
        ("sqlite:///a.db?timeout=3", "options"),
    ],
)
def test_a_url_that_cannot_work_is_refused_in_one_line(given: str, expected: str) -> None:
    with pytest.raises(SpecError, match=r"^storage: ") as caught:
        resolve_url(given, {})
    assert expected in one_line(caught.value)


@pytest.mark.parametrize("password", [CANARY, "a{b}c%25", "p@ss:w/rd", "%7B"])
def test_passwords_are_redacted(password: str) -> None:
    shown = redact(f"postgresql+psycopg://me:{password}@host:5/db")
    assert shown == "postgresql+psycopg://me:***@host:5/db"


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://u@corp:{CANARY}@h/n",
        f"postgresql://:{CANARY}@h/n",
        f"mysql://u:a/{CANARY}@h/n",
        f"postgresql://h/n?user=u&password={CANARY}&sslmode=require",
    ],
)
def test_passwords_in_odd_places_are_redacted(url: str) -> None:
    assert CANARY not in redact(url)
    assert "***" in redact(url)


def test_a_shown_sqlite_path_is_complete() -> None:
    assert redact("sqlite:////a:b@c/hpo.db") == "sqlite:////a:b@c/hpo.db"


# Opening


def test_a_new_database_is_usable_and_opens_again(storage_url: str) -> None:
    optuna.create_study(storage=open_storage(storage_url, create=True), study_name="s")
    again = open_storage(storage_url, create=False)
    assert optuna.get_all_study_names(again) == ["s"]


def test_sqlite_commits_reach_the_disk_and_readers_do_not_block(tmp_path: Path) -> None:
    storage: Any = open_storage(f"sqlite:///{tmp_path}/a.db", create=True)
    with storage._backend.engine.connect() as connection:
        pragmas = [
            connection.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous", "busy_timeout")
        ]
    assert pragmas == ["wal", 2, 60_000]


@pytest.mark.parametrize("name", ["with space.db", "br{a}ce.db", "per%20cent.db", "a:b@c.db"])
def test_odd_file_names_work(name: str, tmp_path: Path) -> None:
    optuna.create_study(storage=open_storage(f"sqlite:///{tmp_path}/{name}", create=True))
    assert {file.name.removesuffix("-wal").removesuffix("-shm") for file in tmp_path.iterdir()} == {
        name
    }


def test_looking_creates_nothing(storage_url: str, tmp_path: Path) -> None:
    with pytest.raises(StorageError) as caught:
        open_storage(storage_url, create=False)
    assert "no studies yet" in one_line(caught.value)
    assert list(tmp_path.iterdir()) == []
    if storage_url.startswith("postgresql"):
        assert inspect(create_engine(storage_url)).get_table_names() == []


def test_looking_into_a_foreign_database_leaves_it_alone(tmp_path: Path) -> None:
    file = tmp_path / "other.db"
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute("create table mine (x)")
        connection.commit()
    before = file.read_bytes()
    with pytest.raises(StorageError, match="no studies yet"):
        open_storage(f"sqlite:///{file}", create=False)
    assert file.read_bytes() == before


@pytest.mark.parametrize("create", [True, False])
@pytest.mark.parametrize(
    "content",
    [b"hello, this is text", b"SQLite format 3\0" + b"x" * 5000, b"SQLite format 3\0"],
    ids=["text", "corrupt", "cut off"],
)
def test_a_file_that_is_no_database_is_refused_untouched(
    content: bytes, create: bool, tmp_path: Path
) -> None:
    file = tmp_path / "notes.db"
    file.write_bytes(content)
    with pytest.raises(StorageError) as caught:
        open_storage(f"sqlite:///{file}", create=create)
    assert str(file) in one_line(caught.value)
    assert file.read_bytes() == content
    assert list(tmp_path.iterdir()) == [file]


def test_a_folder_and_a_missing_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="is a folder"):
        open_storage(f"sqlite:///{tmp_path}", create=True)
    with pytest.raises(StorageError, match="create it first"):
        open_storage(f"sqlite:///{tmp_path}/no/a.db", create=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("folder", ["/proc", "/sys"])
@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs Linux's /proc")
def test_an_unwritable_folder_is_refused_even_for_root(folder: str) -> None:
    with pytest.raises(StorageError) as caught:
        open_storage(f"sqlite:///{folder}/hpo.db", create=True)
    assert f"{folder}/hpo.db" in one_line(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="cannot be written"):
        open_storage(f"sqlite:///{tmp_path}/a.db", create=True)


def test_a_schema_of_a_newer_optuna_is_refused_with_the_remedy(storage_url: str) -> None:
    open_storage(storage_url, create=True)
    with create_engine(storage_url).begin() as connection:
        connection.execute(text("update alembic_version set version_num = 'v99.0.0'"))
    with pytest.raises(StorageError) as caught:
        open_storage(storage_url, create=True)
    assert "version of Optuna" in one_line(caught.value)


@pytest.mark.parametrize("password", [CANARY, "a{b}c%25"])
@pytest.mark.parametrize("dialect", ["postgresql", "mysql"])
def test_a_server_that_is_not_there_is_said_at_once(dialect: str, password: str) -> None:
    started = time.monotonic()
    with pytest.raises(StorageError) as caught:
        open_storage(resolve_url(f"{dialect}://u:{password}@127.0.0.1:1/n", {}), create=True)
    assert "127.0.0.1" in one_line(caught.value)
    assert password not in str(caught.value)
    assert time.monotonic() - started < 10


@pytest.fixture
def mute_port() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("dialect", ["postgresql", "mysql"])
@pytest.mark.timeout(60)
def test_a_server_that_never_answers_is_given_up(dialect: str, mute_port: int) -> None:
    started = time.monotonic()
    url = resolve_url(f"{dialect}://u:{CANARY}@127.0.0.1:{mute_port}/n", {})
    with pytest.raises(StorageError) as caught:
        open_storage(url, create=True)
    assert "127.0.0.1" in one_line(caught.value)
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(("extra", "driver"), [("postgres", "psycopg"), ("mysql", "pymysql")])
def test_a_missing_driver_is_named_with_its_extra(
    extra: str, driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, driver, None)
    with pytest.raises(StorageError) as caught:
        open_storage(resolve_url(f"{extra}://u:{CANARY}@h/n", {}), create=True)
    assert f"pip install 'hpo-torch[{extra}]'" in one_line(caught.value)


def test_twenty_processes_open_an_empty_database_at_once(storage_url: str) -> None:
    code = (
        "import sys, optuna; from hpo.storage.sql import open_storage\n"
        "optuna.create_study(storage=open_storage(sys.argv[1], create=True))"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, storage_url], stderr=subprocess.PIPE, text=True
        )
        for _ in range(20)
    ]
    said = [process.communicate(timeout=500)[1] for process in started]
    assert [process.returncode for process in started] == [0] * 20, said
    assert len(optuna.get_all_study_names(open_storage(storage_url, create=False))) == 20


# PostgreSQL, with passwords


@pytest.fixture
def with_password(
    postgres_server: PostgresServer, postgres_url: str
) -> Iterator[Callable[..., str]]:
    """Gives the test's database to a role with a password, and the URL to reach it."""
    database = postgres_url.rpartition("/")[2]

    def make(password: str, typed: str | None = None) -> str:
        literal = password.replace("'", "''")
        postgres_server.execute(f"create role hpo_user login password '{literal}'")
        postgres_server.execute(f"alter database {database} owner to hpo_user")
        shown = quote(password if typed is None else typed, safe="")
        return resolve_url(postgres_url.replace(f"{USER}:{PASSWORD}@", f"hpo_user:{shown}@"), {})

    yield make
    postgres_server.execute(f"drop database {database} with (force)")
    postgres_server.execute("drop role hpo_user")


@pytest.mark.postgres
@pytest.mark.parametrize(
    "password", [CANARY, "br{0}ce{s}", "p%rc%20nt", "at@slash/colon:hash#q?&=", "quo'te\"s"]
)
def test_any_password_works(password: str, with_password: Callable[..., str]) -> None:
    optuna.create_study(storage=open_storage(with_password(password), create=True))


@pytest.mark.postgres
def test_a_database_without_an_encoding_works(postgres_server: PostgresServer) -> None:
    postgres_server.execute("create database bare encoding 'SQL_ASCII' template template0")
    optuna.create_study(storage=open_storage(postgres_server.url("bare"), create=True))


@pytest.mark.postgres
def test_a_wrong_password_is_refused_without_showing_it(with_password: Callable[..., str]) -> None:
    with pytest.raises(StorageError) as caught:
        open_storage(with_password("the right one", typed=CANARY), create=True)
    assert "password authentication failed" in one_line(caught.value)
    assert "hpo_user:***@" in str(caught.value)


@pytest.mark.postgres
def test_a_missing_database_and_a_wrong_user_are_refused(postgres_url: str) -> None:
    for wrong, named in (
        (postgres_url.replace("/test_", "/no_such_"), "no_such_"),
        (postgres_url.replace(f"{USER}:{PASSWORD}@", f"nobody:{CANARY}@"), "nobody"),
    ):
        assert wrong != postgres_url
        with pytest.raises(StorageError) as caught:
            open_storage(wrong, create=True)
        assert named in one_line(caught.value)
