"""Tables: what they show fits the screen, and no number is split."""

from __future__ import annotations

import pytest

from hpo.cli.output import Format, print_rows

ROWS = [
    {
        "trial": number,
        "accuracy": 0.912345,
        "latency_ms": 12.3456,
        "params_count": 123456,
        "retrained": number == 3,
        "params": {"lr": 0.001234, "optimizer": "adamw", "width": 64},
    }
    for number in (3, 14)
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
    lines = printed(capsys, monkeypatch, 200)
    assert sum("0.912345" in line and "optimizer=adamw" in line for line in lines) == 2


def test_parameters_stand_below_where_there_is_little_room(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = printed(capsys, monkeypatch, 80)
    assert max(map(len, lines)) <= 80
    assert sum("0.912345" in line and "12.3456" in line for line in lines) == 2
    below = [line for line in lines if "optimizer=adamw" in line]
    assert [line.partition(":")[0] for line in below] == ["trial 3", "trial 14"]
    assert not any("0.912345" in line for line in below)
