"""What an error of a database means: whether it passes by itself, and what mends it.

Sources: appendix A of PostgreSQL's manual (SQLSTATE), MariaDB's list of error codes.  PostgreSQL
gives no SQLSTATE for a connection that it refuses, so its words decide there.
"""

from __future__ import annotations

from typing import Any

from hpo.errors import StorageError

_PASSING_CLASSES = ("08", "25", "40", "53", "55", "57", "58", "XX")
"""SQLSTATE classes: connection, read-only transaction, rollback, resources, locks, shutdown, disk,
internal."""
_PASSING_CODES = {
    *(1015, 1020, 1021, 1030, 1040, 1041, 1053, 1114, 1129, 1180, 1203, 1205, 1213, 1226, 1290),
    *(1317, 1412, 1836, 1927, 1969, 3024),
    *(*range(1077, 1081), *range(1152, 1162), *range(2000, 2100)),
}
"""MySQL: connections, locks, shutdown, disk, read-only servers."""
_FULL_WORDS = ("too many clients", "too many connections", "connection slots are reserved")
_FULL_CODES = {"53300", 1040, 1203, 1226}

_PASSWORD, _GRANT, _CHARSET, _LENGTH, _NAMES, _THERE, _SCHEMA = (
    "set the right user and password in the URL, PGPASSWORD or MYSQL_PWD",
    "grant this user SELECT, INSERT, UPDATE, DELETE and CREATE on the database",
    "use a database in UTF-8 (PostgreSQL: UTF8, MySQL: utf8mb4), or names it can hold",
    "shorten the name (512 characters at most) or the list of choices (64 KB in tables that Optuna "
    "made on MySQL)",
    "rename one of the two, or use a database that compares by case and accent (utf8mb4_bin)",
    "create the database, or correct its name in the URL",
    "run `hpo db upgrade`, or use the version of Optuna that made the tables",
)
_REMEDIES: dict[str | int, str] = {
    **dict.fromkeys(("28P01", "28000", 1045, 1698), _PASSWORD),
    **dict.fromkeys(("42501", 1044, 1142, 1143, 1227), _GRANT),
    **dict.fromkeys(("22P05", "22021", 1267, 1366, 1300, 3988), _CHARSET),
    **dict.fromkeys(("22001", "54000", 1118, 1153, 1406), _LENGTH),
    **dict.fromkeys(("23505", 1062), _NAMES),
    **dict.fromkeys(("3D000", 1049), _THERE),
    **dict.fromkeys(("42P01", "42703", 1054, 1146), _SCHEMA),
}
_LASTING_WORDS = {
    "password authentication failed": _PASSWORD,
    "no password supplied": _PASSWORD,
    "no pg_hba.conf entry": "let this host and user in, in the server's pg_hba.conf",
    "permission denied": _GRANT,
    "UNIQUE constraint failed": _NAMES,
    "does not exist": _THERE,
    "no such table": _SCHEMA,
    "no such column": _SCHEMA,
    "malformed": "restore the file from a backup",
    "not a database": "name another file",
}
"""For errors without a code: refused connections of PostgreSQL, SQLite."""


def cause_of(error: BaseException) -> BaseException:
    """The driver's own error below SQLAlchemy's and Optuna's."""
    from optuna.exceptions import StorageInternalError

    if isinstance(error, StorageInternalError) and error.__cause__ is not None:
        error = error.__cause__
    return getattr(error, "orig", None) or error


def reason_of(error: BaseException) -> str:
    """The database's own words in one line, without the statement and its values."""
    cause: Any = cause_of(error)
    words: Any = cause
    if len(cause.args) > 1 and isinstance(cause.args[0], int):  # MySQL: (code, words)
        words = cause.args[1]
    elif getattr(cause, "sqlstate", None):  # PostgreSQL: without the statement
        words = cause.diag.message_primary or cause
    return " ".join(str(words).split())[:300].rstrip(".")


def is_full(error: BaseException) -> bool:
    """Whether the server refuses a connection because it has too many."""
    return _code_of(error) in _FULL_CODES or any(w in reason_of(error) for w in _FULL_WORDS)


def may_pass(error: BaseException) -> bool:
    """Whether the same call can succeed later without anybody doing anything about it."""
    from sqlalchemy.exc import DataError, IntegrityError, NotSupportedError, ProgrammingError

    if is_full(error):
        return True
    code = _code_of(error)
    if isinstance(code, int):
        return code in _PASSING_CODES
    if isinstance(code, str):
        return code.startswith(_PASSING_CLASSES)
    known = error.__cause__ if hasattr(error.__cause__, "orig") else error
    if isinstance(known, DataError | IntegrityError | NotSupportedError | ProgrammingError):
        return False
    return not any(words in reason_of(error) for words in _LASTING_WORDS)


def refusal(error: BaseException) -> StorageError:
    """The line for an error that waiting does not mend: the reason, then what mends it."""
    return StorageError(f"storage: {reason_of(error)}{remedy_of(error)}")


def remedy_of(error: BaseException) -> str:
    """What mends the error, after a colon; nothing if that is not known."""
    reason = reason_of(error)
    remedy = _REMEDIES.get(_code_of(error) or "")
    remedy = remedy or next((r for words, r in _LASTING_WORDS.items() if words in reason), "")
    return f": {remedy}" if remedy else ""


def database_error(error: BaseException) -> StorageError | None:
    """The line for an error that nobody has waited for; None if it is no database's."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    is_ours = isinstance(error, SQLAlchemyError | StorageInternalError)
    return refusal(error) if is_ours else None


def _code_of(error: BaseException) -> str | int | None:
    """SQLSTATE of PostgreSQL, number of MySQL's error."""
    cause: Any = cause_of(error)
    first = cause.args[0] if cause.args else None
    if isinstance(first, int) and not isinstance(cause, OSError):
        return first
    state = getattr(cause, "sqlstate", None)
    return state if isinstance(state, str) else None
