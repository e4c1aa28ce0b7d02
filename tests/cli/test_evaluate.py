"""`hpo evaluate` as a person calls it: a table, JSON, files, and one line for what is wrong."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from hpo.cli import main


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["hpo", "evaluate", *arguments])
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.fixture
def copy(cnn: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(cnn, tmp_path / "saved"))


def test_it_prints_a_table_and_counts_itself(
    copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for times in (1, 2):
        assert call(monkeypatch, str(copy), "--resamples", "100") == 0
        out = capsys.readouterr().out
        assert "cnn on 1000 rows of digits (test)" in out and "balanced_accuracy" in out
        assert "makes them validation rows" in out
        assert ("evaluated on them 2 times" in out) == (times == 2)
        facts = json.loads((copy / "evaluation" / "evaluation.json").read_text())
        assert facts["times"] == times
    assert (copy / "evaluation" / "report.html").is_file()


def test_json_is_what_the_file_holds(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    to = tmp_path / "elsewhere"
    assert call(monkeypatch, str(copy), "-f", "json", "--to", str(to), "--resamples", "0") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed.pop("path") == str(to)
    assert printed == json.loads((to / "evaluation.json").read_text())
    assert not (copy / "evaluation").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_needs_another(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copy.chmod(0o500)
    assert call(monkeypatch, str(copy)) == 2
    assert "name a folder of your own" in capsys.readouterr().err
    assert call(monkeypatch, str(copy), "--to", str(tmp_path / "mine"), "--resamples", "0") == 0


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--resamples", "50"], "must be 0, or 100 to 100000"),
        (["--resamples", "-1"], "must be 0, or 100 to 100000"),
        (["-f", "csv"], "choose from table, json"),
        (["--split", "train"], "choose from test, val"),
        (["--data", "digitz"], "did you mean 'digits'"),
        (["--data", "surnames"], "does not fit CNN"),
        (["--data", "imagefolder:./nowhere"], "nothing at"),
        (["--model", "./mine.py:Net"], "the folder holds a cnn: leave --model out"),
        (["--to", "model.json"], "is a file: name a folder"),
        (["--to", "."], "is not empty and holds no evaluation"),
    ],
)
def test_what_is_wrong_is_one_line_and_nothing_is_left(
    copy: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    expected: str,
) -> None:
    monkeypatch.chdir(copy)
    before = sorted(copy.rglob("*"))
    assert call(monkeypatch, ".", *arguments) == 2
    captured = capsys.readouterr()
    assert expected in captured.err and len(captured.err.splitlines()) == 1
    assert captured.err.startswith("Error: ") and captured.out == ""
    assert sorted(copy.rglob("*")) == before


def test_a_folder_without_a_network_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, str(tmp_path)) == 2
    assert "holds no saved model" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
