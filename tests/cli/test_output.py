"""Tables: what they show fits the screen, and no number is split; CSV has a column a parameter."""

from __future__ import annotations

import csv
import io
import math

import pytest

from hpo.cli.output import Format, print_facts, print_rows
from hpo.quantities import duration, number

REASON = "ValueError: a long story of what went wrong in this trial"
ROWS = [
    {
        "trial": trial,
        "accuracy": 0.912345,
        "latency_ms": 12.3456,
        "params_count": 123456,
        "retrained": trial == 3,
        "reason": REASON if trial == 3 else None,
        "params": {"lr": 0.001234, "optimizer": "adamw", "width": 64},
    }
    for trial in (3, 14)
]


def printed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int
) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(columns))
    print_rows(ROWS, Format.table, title="front")
    return capsys.readouterr().out.splitlines()


def test_parameters_stand_beside_the_other_columns_where_there_is_room(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = printed(capsys, monkeypatch, 220)
    assert sum("0.9123" in line and "optimizer=adamw" in line for line in lines) == 2


@pytest.mark.parametrize("columns", [60, 80, 100])
def test_parameters_stand_right_below_their_row_and_no_number_is_split(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    lines = printed(capsys, monkeypatch, columns)
    assert max(map(len, lines)) <= columns
    rows = [i for i, line in enumerate(lines) if "0.9123" in line and "12.35" in line]
    assert len(rows) == 2 and all("123456" in lines[i] for i in rows)
    assert "optimizer=adamw" in "".join(lines[rows[0] : rows[1]])
    assert "optimizer=adamw" in "".join(lines[rows[1] :])


def test_a_screen_that_is_too_narrow_for_the_columns_shows_a_block_for_each_row(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [line.strip() for line in printed(capsys, monkeypatch, 40)]
    assert lines.count("accuracy: 0.9123") == lines.count("latency_ms: 12.35") == 2


def test_spare_columns_give_way(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"name": "a" * 30, "best": 0.5, "model": "m" * 30, "started": "s" * 30}]
    monkeypatch.setenv("COLUMNS", "80")
    print_rows(rows, Format.table, spare=("model", "started"))
    out = capsys.readouterr().out
    assert "0.5" in out and "m" * 30 in out and "s" * 30 not in out


def test_csv_has_a_column_for_each_parameter(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"trial": 0, "params": {"lr": 0.1}, "reason": None},
        {"trial": 1, "params": {"lr": 0.2, "momentum": 0.9}, "reason": 'no, "never"'},
    ]
    print_rows(rows, Format.csv)
    table = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert list(table[0]) == ["trial", "params_lr", "params_momentum", "reason"]
    assert [row["params_momentum"] for row in table] == ["", "0.9"]
    print_facts({"best": {"lr": 0.1}, "none": None}, Format.csv)
    assert "best_lr,0.1" in capsys.readouterr().out


def test_numbers_have_four_significant_digits() -> None:
    shown = [number(v) for v in (0.123456, 24810.0, 3.0, 1e-5, 1.5e14, -0.98765, math.nan)]
    assert shown == ["0.1235", "24810", "3", "1e-05", "1.5e+14", "-0.9877", "nan"]
    assert [duration(s) for s in (0.4, 59.6, 3725)] == ["0s", "1m 00s", "1h 02m"]
