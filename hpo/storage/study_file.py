"""A study in a file of its own: JSON Lines, or an SQLite database that holds nothing else.

A file is written beside its place and moved there whole.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hpo.errors import HpoError, SpecError, StorageError
from hpo.storage.lock import engine_of
from hpo.storage.meta import META, StudyMeta
from hpo.storage.portable import from_lines, to_lines
from hpo.storage.sql import open_storage, upgrade
from hpo.storage.whole import WholeStudy, read_study, write_study

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

LINES = (".jsonl",)
DATABASE = (".db", ".sqlite", ".sqlite3")
_MAGIC = b"SQLite format 3\0"


def check_target(path: Path, *, force: bool) -> None:
    """Refuses a file that cannot or must not be written.

    Raises:
        SpecError: why.
    """
    shown = repr(str(path))
    if path.suffix not in LINES + DATABASE:
        raise SpecError(f"to: {shown}: must end in {', '.join(LINES + DATABASE)}: rename it")
    if path.is_dir():
        raise SpecError(f"to: {shown} is a folder: name a file")
    if path.exists() and not force:
        raise SpecError(f"to: {shown} exists: choose another with --to, or give --force")
    if not path.parent.is_dir():
        raise SpecError(f"to: no folder {str(path.parent)!r}: create it first")
    # A log that stays beside a replaced database would be played into the new one.
    if path.with_name(path.name + "-wal").exists():
        raise SpecError(f"to: {shown} is a database in use: choose another with --to")


def write_file(study: WholeStudy, path: Path) -> None:
    """Writes the study to a file, in the form that its suffix names.

    Raises:
        HpoError: it cannot be written; what was there stays.
    """
    write: Callable[[WholeStudy, Path], None] = (
        _write_lines if path.suffix in LINES else _write_database
    )
    try:
        with tempfile.TemporaryDirectory(prefix=f".{path.name[:100]}-", dir=path.parent) as folder:
            draft = Path(folder) / f"study{path.suffix}"
            write(study, draft)
            with draft.open("rb+") as file:
                os.fsync(file.fileno())
            draft.replace(path)
    except OSError as error:
        raise HpoError(f"to: cannot write {str(path)!r}: {error.strerror}") from None


def _write_lines(study: WholeStudy, path: Path) -> None:
    with path.open("w", encoding="ascii", newline="\n") as file:
        file.writelines(to_lines(study))


def _write_database(study: WholeStudy, path: Path) -> None:
    storage = open_storage(f"sqlite:///{path}", create=True)
    write_study(storage, study.ended())
    engine_of(storage).dispose()
    with closing(sqlite3.connect(path)) as connection:  # one file, without a log beside it
        connection.execute("PRAGMA journal_mode=DELETE")


def read_file(path: Path, name: str | None = None) -> WholeStudy:
    """Reads a study from either kind of file, whoever made the database.

    Args:
        name: of the study, for a database that holds several.
    Raises:
        SpecError: the file is missing, damaged or something else.
    """
    study = _read(path, name)
    meta = study.user_attrs.get(META)
    if isinstance(meta, dict):
        try:
            StudyMeta.from_json(meta)
        except (SpecError, KeyError, TypeError, ValueError) as error:
            raise SpecError(
                f"file: {str(path)!r}: what {study.name!r} searches is damaged ({error}): "
                "export the study again"
            ) from None
    return study


def _read(path: Path, name: str | None) -> WholeStudy:
    try:
        with path.open("rb") as file:
            is_database = file.read(len(_MAGIC)) == _MAGIC
    except OSError as error:
        raise SpecError(f"file: {str(path)!r} cannot be read: {error.strerror}") from None
    if not is_database:
        study = from_lines(path)
        if name not in (None, study.name):
            raise SpecError(f"study: no {name!r} in {str(path)!r}: it holds {study.name!r}")
        return study
    with _copy(path) as storage:
        return _read_database(storage, path, name)


def _read_database(storage: BaseStorage, path: Path, name: str | None) -> WholeStudy:
    import optuna

    names = sorted(optuna.get_all_study_names(storage))
    if not names:
        raise SpecError(f"file: {str(path)!r} holds no study: choose another file")
    if name is None and len(names) > 1:
        raise SpecError(
            f"study: {str(path)!r} holds {len(names)}: name one with --study, "
            f"of {', '.join(names[:10])}"
        )
    study = read_study(storage, name or names[0])
    numbers = [trial.number for trial in study.trials]
    if numbers != list(range(len(numbers))):
        raise SpecError(f"file: {str(path)!r}: trials of {study.name!r} are missing: restore them")
    return study


@contextmanager
def _copy(path: Path) -> Iterator[BaseStorage]:
    """A copy to read: opening a database changes it, and its schema may be an older one."""
    with tempfile.TemporaryDirectory(prefix="hpo-import-") as folder:
        copied = Path(folder) / "study.db"
        url = f"sqlite:///{copied}"
        try:
            source = f"{path.absolute().as_uri()}?mode=ro"
            with (
                closing(sqlite3.connect(source, uri=True)) as old,
                closing(sqlite3.connect(copied)) as new,
            ):
                old.backup(new)
                (verdict,) = new.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                raise sqlite3.DatabaseError(verdict)
            yield _opened(url)
        except SpecError:
            raise
        except StorageError as error:
            text = str(error).removeprefix("storage: ").replace(url, repr(str(path)))
            raise SpecError(f"file: {text}") from None
        except Exception as error:  # of SQLite, SQLAlchemy, Alembic or Optuna: about the file
            cause = error.__cause__ or error
            reason = " ".join(str(getattr(cause, "orig", None) or cause).split())[:200]
            raise SpecError(
                f"file: {str(path)!r} cannot be read as Optuna's database: {reason}: copy it "
                "again, or export it with the version that wrote it"
            ) from None


def _opened(url: str) -> BaseStorage:
    try:
        return open_storage(url, create=False)
    except StorageError as error:
        if not isinstance(error.__context__, RuntimeError):  # another schema
            raise
    upgrade(url)
    return open_storage(url, create=False)
