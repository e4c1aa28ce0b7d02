"""Lists in three forms: a table for people, JSON and CSV for programs."""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from hpo.cli.streams import answer
from hpo.parameter_forms import format_params
from hpo.quantities import number

Row = Mapping[str, Any]
_SHORT = 14
"""Characters of a cell that is not broken over lines."""
_ROOM = 30
"""Characters that parameters need to stand beside the other columns; else they stand below."""
_MOST_LINES = 3
"""Lines that a text is broken over before it stands below its row."""


class Format(StrEnum):
    """How a list is printed."""

    table = "table"
    json = "json"
    csv = "csv"


Form = Annotated[Format, typer.Option("-f", "--format", help="How to print.")]


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
def print_facts(facts: Mapping[str, Any], form: Format) -> None:
    """Prints named values: one JSON document, or a row for each."""
    if form is Format.json:
        print_json(facts)
    elif form is Format.csv:
        print_rows([{"what": key, "value": value} for key, value in _flat(facts).items()], form)
    else:
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        for key, value in facts.items():
            table.add_row(escape(key), escape(_cell(value)))
        Console().print(table)


@answer()
def print_rows(
    rows: Sequence[Row], form: Format, *, title: str = "", spare: Sequence[str] = ()
) -> None:
    """Prints rows that share their keys.

    Args:
        spare: columns that a table leaves out where there is no room for them, the last first.
            It leaves out empty columns in any case.
    """
    if form is Format.json:
        print_json(list(rows))
    elif form is Format.csv:
        _print_csv(rows)
    elif rows:
        _print_table(rows, title, list(spare))
    else:
        print(f"No {title or 'rows'}.")


def _print_csv(rows: Sequence[Row]) -> None:
    """A column `params_lr` for each key of a mapping, as Optuna's DataFrame has them."""
    columns: list[str] = []
    for key in dict.fromkeys(key for row in rows for key in row):
        mappings = [row[key] for row in rows if isinstance(row.get(key), Mapping)]
        named = dict.fromkeys(f"{key}_{name}" for mapping in mappings for name in mapping)
        columns += named if mappings else [key]
    writer = csv.writer(sys.stdout)
    writer.writerow(columns)
    for row in map(_flat, rows):
        writer.writerow([_csv_cell(row.get(column)) for column in columns])


def _flat(row: Row) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, Mapping):
            found |= {f"{key}_{name}": item for name, item in value.items()}
        else:
            found[key] = value
    return found


def _print_table(rows: Sequence[Row], title: str, spare: list[str]) -> None:
    """As a table; what there is no room for stands below its row, and no number is split."""
    console = Console()
    columns = [c for c in rows[0] if any(row[c] is not None for row in rows)]
    below = [c for c in columns if any(isinstance(row[c], Mapping) for row in rows)]
    room = console.width - (_ROOM + 3) * len(below)
    if _room_for([c for c in columns if c not in below], rows, _need) <= room:
        below = []
    for column in reversed(spare):
        beside = [c for c in columns if c not in below]
        if column in beside and _room_for(beside, rows, _width) > console.width:
            columns.remove(column)
    if below or _room_for(columns, rows, _need) > console.width:
        _print_with_lines_below(console, rows, columns, below, title)
        return
    heading = escape(title) if title else None
    table = Table(title=heading, title_justify="left", header_style="bold")
    for column in columns:
        _add(table, rows, column)
    for row in rows:
        table.add_row(*(escape(_cell(row[column])) for column in columns))
    console.print(table)


def _print_with_lines_below(
    console: Console, rows: Sequence[Row], columns: Sequence[str], below: list[str], title: str
) -> None:
    widths = {c: max(len(c), _width(rows, c)) for c in columns if c not in below}
    for column in sorted((c for c in widths if _is_long(rows, c)), key=lambda c: -widths[c]):
        if sum(widths.values()) + 2 * len(widths) > console.width:
            del widths[column]
    if sum(widths.values()) + 2 * len(widths) > console.width:  # a block for each row
        widths = {columns[0]: widths[columns[0]]}
    beside = list(widths)
    below = [column for column in columns if column not in widths]
    if title:
        console.print(Text(title, style="italic"))

    def line(cells: Mapping[str, str], style: str = "") -> Text:
        parts = (
            cells[c].rjust(widths[c]) if _is_number(rows, c) else cells[c].ljust(widths[c])
            for c in beside
        )
        return Text("  ".join(parts).rstrip(), style=style, no_wrap=True)

    console.print(line({column: column for column in beside}, "bold"))
    for row in rows:
        console.print(line({column: _cell(row[column]) for column in beside}))
        for column in below:
            text = _cell(row[column])
            if text != "-":
                # Parameters say themselves what they are.
                shown = text if isinstance(row[column], Mapping) else f"{column}: {text}"
                console.print(Padding(Text(shown, style="dim"), (0, 0, 0, 4), expand=False))


def _add(table: Table, rows: Sequence[Row], column: str) -> None:
    # Where there is too little room, long cells give way.
    table.add_column(
        column,
        justify="right" if _is_number(rows, column) else "left",
        overflow="fold",
        no_wrap=not _is_long(rows, column),
    )


def _room_for(
    columns: Sequence[str], rows: Sequence[Row], width: Callable[[Sequence[Row], str], int]
) -> int:
    """The width of a table of these columns."""
    return sum(max(len(column), width(rows, column)) + 3 for column in columns) + 1


def _need(rows: Sequence[Row], column: str) -> int:
    """The least width of a column: that of its longest word, and of a third of its longest text."""
    width = _width(rows, column)
    if _is_long(rows, column):
        words = (len(word) for row in rows for word in _cell(row[column]).split())
        width = max(max(words, default=1), math.ceil(width / _MOST_LINES))
    return width


def _is_long(rows: Sequence[Row], column: str) -> bool:
    """Whether a column holds texts that may be broken over lines."""
    return _width(rows, column) > _SHORT and not _is_number(rows, column)


def _is_number(rows: Sequence[Row], column: str) -> bool:
    values = [row[column] for row in rows if row[column] is not None]
    return bool(values) and all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in values
    )


def _width(rows: Sequence[Row], column: str) -> int:
    return max(len(_cell(row[column])) for row in rows)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return number(value)
    if isinstance(value, Mapping):
        return format_params(value) or "-"
    if isinstance(value, list | tuple):
        return ", ".join(map(_cell, value))
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="minutes")
    return str(value)


def _csv_cell(value: Any) -> Any:
    if isinstance(value, Mapping | list | tuple):
        return json.dumps(plain(value))
    return value
