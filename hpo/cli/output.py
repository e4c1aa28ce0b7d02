"""Lists in three forms: a table for people, JSON and CSV for programs."""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hpo.cli.streams import answer
from hpo.parameter_forms import format_params

Row = Mapping[str, Any]
_SHORT = 14
"""Characters of a cell that is not broken over lines."""
_ROOM = 30
"""Characters that parameters need to stand beside the other columns; else they stand below."""


class Format(StrEnum):
    """How a list is printed."""

    table = "table"
    json = "json"
    csv = "csv"


def plain(value: Any) -> Any:
    """The same value as strict JSON can hold it: NaN and infinity become text."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return str(value)


@answer()
def print_json(value: Any) -> None:
    """Prints one JSON document to standard output."""
    print(to_json(value, indent=2))


def to_json(value: Any, indent: int | None = None) -> str:
    """JSON that standard output's encoding can hold."""
    utf = (sys.stdout.encoding or "utf").lower().startswith("utf")
    return json.dumps(plain(value), indent=indent, ensure_ascii=not utf)


@answer()
def print_rows(rows: Sequence[Row], form: Format, *, title: str = "") -> None:
    """Prints rows that share their keys."""
    if form is Format.json:
        print_json(list(rows))
        return
    columns = list(rows[0]) if rows else []
    if form is Format.csv:
        writer = csv.writer(sys.stdout)
        writer.writerow(columns)
        writer.writerows([_csv_cell(row[c]) for c in columns] for row in rows)
        return
    if not rows:
        print(f"No {title or 'rows'}.")
        return
    console = Console()
    below = _below(rows, columns, console.width)
    table = Table(title=title or None, title_justify="left", header_style="bold")
    for column in columns:
        if column in below:
            continue
        number = isinstance(rows[0][column], int | float)
        # Where there is too little room, long cells give way: a number is never split.
        short = _width(rows, column) <= _SHORT
        table.add_column(
            column, justify="right" if number else "left", overflow="fold", no_wrap=short
        )
    for row in rows:
        table.add_row(*(escape(_cell(row[column])) for column in columns if column not in below))
    console.print(table)
    for row in rows if below else ():
        said = "; ".join(_cell(row[column]) for column in below)
        console.print(f"{columns[0]} {_cell(row[columns[0]])}: {said}", markup=False)


def _width(rows: Sequence[Row], column: str) -> int:
    return max(len(_cell(row[column])) for row in rows)


def _below(rows: Sequence[Row], columns: Sequence[str], width: int) -> list[str]:
    """The columns of parameters, where the others leave them too little room."""
    wide = [c for c in columns if any(isinstance(row[c], Mapping) for row in rows)]
    others = [c for c in columns if c not in wide]
    taken = sum(max(len(c), min(_width(rows, c), _SHORT)) + 3 for c in others)
    return wide if wide and others and width - taken < _ROOM else []


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return format_params(value)
    if isinstance(value, list | tuple):
        return ", ".join(map(_cell, value))
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    return str(value)


def _csv_cell(value: Any) -> Any:
    if isinstance(value, Mapping | list | tuple):
        return json.dumps(plain(value))
    return value
