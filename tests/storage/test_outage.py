"""What a database refuses: before a study exists where that can be known, never waited for."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from typing import Any

import optuna
import psycopg
import pytest
from optuna.storages import RDBStorage
from sqlalchemy import create_engine

from hpo import Choice, Float, Space
from hpo.errors import HpoError, StorageError
from hpo.storage import sql
from hpo.storage.creation import ensure_study
from hpo.storage.sql import open_storage
from hpo.storage.studies import delete_study
from tests.mysql import PASSWORD as MYSQL_PASSWORD
from tests.mysql import USER as MYSQL_USER
from tests.mysql import MySQLServer
from tests.postgres import PASSWORD, USER, PostgresServer
from tests.storage.test_ledger import meta, opened

SPACE = Space(x=Float(0.0, 1.0))
_numbers = itertools.count(1)


def names(storage: Any) -> list[str]:
    return optuna.get_all_study_names(storage)


def refused(storage: Any, name: str, space: Space) -> str:
    """The line of a refusal that came soon and left nothing."""
    before = names(storage)
    started = time.monotonic()
    with pytest.raises(HpoError) as caught:
        ensure_study(storage, name, meta(space=space))
    assert time.monotonic() - started < 30
    assert names(storage) == before
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2
    return str(caught.value)


def role(server: PostgresServer, url: str, options: str = "") -> str:
    """The URL of the same database for a new role that may do everything in it."""
    name = f"member_{next(_numbers)}"
    server.execute(f"create role {name} login password 'secret-1' {options}")
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(f"grant all on schema public to {name}")
        connection.execute(f"grant all on all tables in schema public to {name}")
        connection.execute(f"grant all on all sequences in schema public to {name}")
    return url.replace(f"{USER}:{PASSWORD}", f"{name}:secret-1")


def soon(seconds: float, call: Callable[[], Any]) -> threading.Timer:
    timer = threading.Timer(seconds, call)
    timer.start()
    return timer


# Names and texts


@pytest.mark.parametrize("name", ["S", "ś", "s "])
def test_study_names_differ_by_case_accent_and_space(storage_url: str, name: str) -> None:
    storage = open_storage(storage_url, create=True)
    ids = [ensure_study(storage, one, meta(space=SPACE)) for one in ("s", name, "s")]
    assert ids[0] == ids[2] != ids[1]
    delete_study(storage, name)
    assert names(storage) == ["s"]


def test_parameters_differ_by_case_and_long_choices_are_kept(storage_url: str) -> None:
    space = Space(a=Float(0, 1), A=Float(0, 1), c=Choice("short", "long" * 20_000))
    ledger = opened(storage_url, space=space)
    asked = ledger.ask({"a": 0.25, "A": 0.75, "c": "long" * 20_000})
    assert asked is not None
    assert ledger.trial(0).params == {"a": 0.25, "A": 0.75, "c": "long" * 20_000}


@pytest.mark.mysql
def test_names_that_the_database_takes_for_one_are_refused(mysql_url: str) -> None:
    RDBStorage(mysql_url)  # Optuna's own tables: names without case and accent
    storage = open_storage(mysql_url, create=True)
    ensure_study(storage, "plain", meta(space=SPACE))
    for name in ("PLAIN", "plàin", "plain "):
        assert "takes for 'plain'" in refused(storage, name, SPACE)
    assert "rename one" in refused(storage, "case", Space(a=Float(0, 1), A=Float(0, 1)))
    large = Space(c=Choice("a", "b" * 70_000))
    assert "shorten" in refused(storage, "large", large)


@pytest.mark.postgres
@pytest.mark.parametrize("name", ["学习率", "фон"])
def test_a_character_set_that_cannot_hold_a_name_is_named(
    postgres_server: PostgresServer, name: str
) -> None:
    database = f"latin_{next(_numbers)}"
    postgres_server.execute(
        f"create database {database} encoding 'LATIN1' template template0 locale 'C'"
    )
    storage = open_storage(postgres_server.url(database), create=True)
    assert "UTF8" in refused(storage, name, SPACE)
    assert "UTF8" in refused(storage, "s", Space.of({name: Float(0, 1)}))
    ensure_study(storage, "größe", meta(space=SPACE))


@pytest.mark.mysql
def test_a_mysql_character_set_that_cannot_hold_a_name_is_named(mysql_server: MySQLServer) -> None:
    url = mysql_server.create(f"latin_{next(_numbers)}", "latin1")
    RDBStorage(url)
    storage = open_storage(url, create=True)
    assert "utf8mb4" in refused(storage, "😀", SPACE)
    assert "utf8mb4" in refused(storage, "s", Space.of({"学习率": Float(0, 1)}))


@pytest.mark.parametrize("kind", ["postgres", "mysql"])
def test_a_name_that_is_too_long_is_refused(request: pytest.FixtureRequest, kind: str) -> None:
    storage = open_storage(request.getfixturevalue(f"{kind}_url"), create=True)
    assert "512 characters" in refused(storage, "n" * 600, SPACE)
    assert "512 characters" in refused(storage, "s", Space.of({"p" * 600: Float(0, 1)}))


# Rights


@pytest.mark.postgres
def test_missing_rights_are_refused_before_the_study_exists(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    open_storage(postgres_url, create=True)
    reader = role(postgres_server, postgres_url)
    with psycopg.connect(postgres_url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("revoke insert on trials from " + reader.split("//")[1].split(":")[0])
    storage = open_storage(reader, create=True)
    assert "permission denied for table trials: grant this user" in refused(storage, "s", SPACE)


@pytest.mark.mysql
def test_missing_rights_on_mysql_are_refused_before_the_study_exists(
    mysql_server: MySQLServer, mysql_url: str
) -> None:
    open_storage(mysql_url, create=True)
    reader = f"reader_{next(_numbers)}"
    mysql_server.execute(f"create user {reader} identified by 'secret-1'")
    mysql_server.execute(f"grant select on {mysql_url.rpartition('/')[2]}.* to {reader}")
    url = mysql_url.replace(f"{MYSQL_USER}:{MYSQL_PASSWORD}", f"{reader}:secret-1")
    assert "grant this user" in refused(open_storage(url, create=True), "s", SPACE)


@pytest.mark.postgres
def test_rights_and_passwords_that_change_during_a_study_are_not_waited_for(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    open_storage(postgres_url, create=True)
    url = role(postgres_server, postgres_url)
    name = url.split("//")[1].split(":")[0]
    ledger = opened(url)
    ledger.ask()
    started = time.monotonic()
    with psycopg.connect(postgres_url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(f"revoke insert on trial_intermediate_values from {name}")
        with pytest.raises(StorageError, match="grant this user SELECT, INSERT"):
            ledger.report(0, 1, 0.5)
        connection.execute(f"alter role {name} password 'another'")
        connection.execute(
            f"select pg_terminate_backend(pid) from pg_stat_activity where usename = '{name}'"
        )
        with pytest.raises(StorageError, match="PGPASSWORD"):
            ledger.ask()
    assert time.monotonic() - started < 30


def test_a_study_that_is_deleted_while_it_runs_is_one_line(storage_url: str) -> None:
    ledger = opened(storage_url)
    ledger.ask()
    delete_study(open_storage(storage_url, create=False), "s")
    with pytest.raises(StorageError, match="deleted or renamed"):
        ledger.ask()


# Connections


@pytest.mark.postgres
def test_too_many_connections_are_waited_for_then_one_line(
    postgres_server: PostgresServer, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_storage(postgres_url, create=True)
    url = role(postgres_server, postgres_url, "connection limit 4")
    held = [psycopg.connect(url.replace("+psycopg", "")) for _ in range(4)]
    monkeypatch.setattr(sql, "_FULL_S", 1.0)
    with pytest.raises(StorageError, match="too many connections") as caught:
        open_storage(url, create=True)
    assert "\n" not in str(caught.value)
    monkeypatch.setattr(sql, "_FULL_S", 60.0)
    timer = soon(1.5, lambda: [connection.close() for connection in held])
    storage = open_storage(url, create=True)
    timer.join()
    assert names(storage) == []


@pytest.mark.mysql
def test_too_many_connections_of_mysql_are_waited_for(
    mysql_server: MySQLServer, mysql_url: str
) -> None:
    open_storage(mysql_url, create=True)
    few = f"few_{next(_numbers)}"
    mysql_server.execute(f"create user {few} identified by 'x1' with max_user_connections 4")
    mysql_server.execute(f"grant all on *.* to {few}")
    url = mysql_url.replace(f"{MYSQL_USER}:{MYSQL_PASSWORD}", f"{few}:x1")
    engine = create_engine(url)
    held = [engine.connect() for _ in range(4)]
    timer = soon(1.5, lambda: [connection.invalidate() for connection in held])
    assert names(open_storage(url, create=True)) == []
    timer.join()


@pytest.mark.mysql
def test_mysql_pwd_is_the_password_where_the_url_has_none(
    mysql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = mysql_url.replace(f":{MYSQL_PASSWORD}", "")
    with pytest.raises(StorageError, match="MYSQL_PWD"):
        open_storage(bare, create=True)
    monkeypatch.setenv("MYSQL_PWD", MYSQL_PASSWORD)
    assert names(open_storage(bare, create=True)) == []


# Models


def test_the_same_model_file_in_two_checkouts_is_one_model() -> None:
    ours = meta(model="/home/ann/mine.py:Net", code="abc")
    theirs = meta(model="/home/bob/mine.py:Net", code="abc")
    assert ours.problems_from(theirs, "s") == []
    for other in (
        meta(model="/home/bob/mine.py:Net", code="def"),
        meta(model="/home/bob/mine.py:Other", code="abc"),
        meta(model="/home/bob/mine.py:Net"),
    ):
        assert "model was" in ours.problems_from(other, "s")[0]
