"""A study in a file: both kinds, Optuna's own databases, atomic, and nothing overwritten."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import optuna
import pytest

from hpo.errors import HpoError, SpecError
from hpo.space import Float, Space
from hpo.storage.meta import META, StudyMeta
from hpo.storage.sql import open_storage
from hpo.storage.study_file import check_target, read_file, write_file
from hpo.storage.whole import WholeStudy
from tests.storage.test_whole import facts, made


@pytest.fixture
def study(tmp_path: Path) -> WholeStudy:
    return made(open_storage(f"sqlite:///{tmp_path}/hpo.db", create=True), "s").ended()


@pytest.mark.parametrize("suffix", [".jsonl", ".db", ".sqlite"])
def test_what_is_written_is_read(suffix: str, study: WholeStudy, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    file = tmp_path / "out" / f"a b%20{suffix}"
    write_file(study, file)
    before = file.read_bytes()
    assert facts(read_file(file)) == facts(study)
    assert [path.name for path in file.parent.iterdir()] == [file.name]  # no draft, no log
    assert file.read_bytes() == before


def test_optuna_reads_the_database(study: WholeStudy, tmp_path: Path) -> None:
    write_file(study, tmp_path / "x.db")
    found = optuna.load_study(study_name="s", storage=f"sqlite:///{tmp_path}/x.db")
    assert [t.values for t in found.trials] == [t.values for t in study.trials]


def test_a_file_that_is_there_stays_unless_force_is_given(
    study: WholeStudy, tmp_path: Path
) -> None:
    file = tmp_path / "x.jsonl"
    file.write_text("mine")
    with pytest.raises(SpecError, match="exists: choose another with --to, or give --force"):
        check_target(file, force=False)
    check_target(file, force=True)
    write_file(study, file)
    assert facts(read_file(file)) == facts(study)


def test_a_write_that_fails_leaves_what_was_there(
    study: WholeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "x.jsonl"
    file.write_text("mine")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("hpo.storage.study_file.os.fsync", full)
    with pytest.raises(HpoError, match="No space left"):
        write_file(study, file)
    assert file.read_text() == "mine"
    assert {p.name for p in tmp_path.iterdir() if p.name.startswith(".")} == set()


def test_targets_that_cannot_be_are_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.db").mkdir()
    (tmp_path / "used.db-wal").touch()
    for name, said in (
        ("x.csv", "must end in .jsonl"),
        ("folder.db", "is a folder"),
        ("no/x.db", "no folder"),
        ("used.db", "in use"),
    ):
        with pytest.raises(SpecError, match=said):
            check_target(tmp_path / name, force=True)


def test_a_study_of_plain_optuna_is_read_from_its_database(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/plain.db"
    for name in ("a", "b"):
        plain: Any = optuna.create_study(study_name=name, storage=url)
        plain.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
    with pytest.raises(SpecError, match="holds 2: name one with --study, of a, b"):
        read_file(tmp_path / "plain.db")
    found = read_file(tmp_path / "plain.db", "b")
    assert [t.values for t in found.trials] == [t.values for t in plain.trials]
    with pytest.raises(SpecError, match="no 'c'"):
        read_file(tmp_path / "plain.db", "c")


def test_databases_that_are_damaged_empty_or_others_are_refused(
    study: WholeStudy, tmp_path: Path
) -> None:
    sqlite3.connect(tmp_path / "other.db").executescript(
        "create table a (b); insert into a values (1)"
    )
    with pytest.raises(SpecError, match=r"other\.db"):
        read_file(tmp_path / "other.db")
    open_storage(f"sqlite:///{tmp_path}/empty.db", create=True)
    with pytest.raises(SpecError, match="holds no study"):
        read_file(tmp_path / "empty.db")
    whole = tmp_path / "whole.db"
    write_file(study, whole)
    content = whole.read_bytes()
    for name, damaged in (
        ("short.db", content[: len(content) // 2]),
        ("holed.db", content[:8192] + b"\xff" * 40000 + content[48192:]),
        ("head.db", content[:16] + b"nothing"),
    ):
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(SpecError) as error:
            read_file(tmp_path / name)
        (line,) = error.value.problems
        assert name in line and "\n" not in line
    with pytest.raises(SpecError, match="No such file"):
        read_file(tmp_path / "nowhere.db")


def test_a_database_with_an_older_schema_is_read_and_left_as_it_is(
    study: WholeStudy, tmp_path: Path
) -> None:
    file = tmp_path / "old.db"
    write_file(study, file)
    with sqlite3.connect(file) as connection:  # as Optuna 2 and 3.0 left it
        connection.execute("update alembic_version set version_num = 'v3.0.0.d'")
    before = file.read_bytes()
    assert facts(read_file(file)) == facts(study)
    assert file.read_bytes() == before
    with sqlite3.connect(file) as connection:
        connection.execute("update alembic_version set version_num = 'v9.9.9'")
    with pytest.raises(SpecError, match="version that wrote it"):
        read_file(file)


def test_a_study_that_searches_what_cannot_be_is_refused(study: WholeStudy, tmp_path: Path) -> None:
    meta = StudyMeta("cnn", "accuracy", "maximize", Space(lr=Float(0.1, 0.2)), "digits", 1, 0)
    study.user_attrs[META] = meta.to_json()
    write_file(study, tmp_path / "x.jsonl")
    assert read_file(tmp_path / "x.jsonl")
    study.user_attrs[META]["space"]["params"]["lr"] |= {"low": 1.0, "high": 0.0}
    write_file(study, tmp_path / "y.jsonl")
    with pytest.raises(SpecError, match="searches is damaged"):
        read_file(tmp_path / "y.jsonl")
