"""`hpo compress` as a person calls it: a table, JSON, a bundle, one line for what is wrong."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from hpo.cli import main


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["hpo", *map(str, arguments)])
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.fixture
def copy(cnn: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(cnn, tmp_path / "saved"))


def test_it_prints_a_table_and_writes_a_bundle_that_predicts(
    copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "compress", copy, "--quantize", "weights", "-q") == 0
    out = capsys.readouterr().out
    assert "cnn by accuracy on 500 validation rows of digits" in out
    assert "original" in out and "times smaller; it loses" in out and "test rows accuracy" in out
    assert out.splitlines()[-1] == str((copy / "compressed").resolve())
    assert {p.name for p in (copy / "compression").iterdir()} == {"report.html", "compression.json"}
    picture = copy / "picture.png"
    from PIL import Image

    Image.new("L", (28, 28)).save(picture)
    assert call(monkeypatch, "predict", copy / "compressed", picture, "-f", "json") == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-3)


def test_json_has_every_variant_and_none_good_enough_is_exit_code_1(
    copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wish = ("--prune", "0.98", "--fine-tune", "0", "--max-drop", "0")
    assert call(monkeypatch, "compress", copy, *wish, "-f", "json") == 1
    facts = json.loads(capsys.readouterr().out)
    assert [v["name"] for v in facts["variants"]] == ["original", "pruned 98 %"]
    assert facts["chosen"] is None and facts["to"] is None and facts["test"] is None
    assert set(facts["variants"][0]["latency_ms"]) == {"1", "32"}
    assert Path(facts["page"]).is_file() and not (copy / "compressed").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--prune", "1.5"), "prune: 1.5: must be a share"),
        (("--prune", "0"), "prune: 0: must be a share"),
        (("--quantize", "int9"), "quantize: 'int9' is unknown"),
        (("--structured",), "add --prune"),
        (("--fine-tune", "3"), "add --prune"),
        (("--max-drop", "nan"), "max-drop: nan"),
        (("-f", "csv"), "format: 'csv' is unknown"),
        (("--model", "./mine.py:Net"), "the folder holds a cnn: leave --model out"),
    ],
)
def test_a_mistake_is_one_line_exit_code_2_and_nothing_is_written(
    copy: Path,
    arguments: tuple[str, ...],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = sorted(copy.rglob("*"))
    assert call(monkeypatch, "compress", copy, *arguments) == 2
    said = capsys.readouterr().err
    assert message in said and len(said.splitlines()) == 1
    assert sorted(copy.rglob("*")) == before


def test_a_folder_of_something_else_is_not_written_over(
    copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (copy / "compression").mkdir()
    (copy / "compression" / "letter.txt").touch()
    assert call(monkeypatch, "compress", copy) == 2
    assert "is not empty and holds no compression" in capsys.readouterr().err
    assert call(monkeypatch, "compress", copy.parent) == 2
    assert "holds no saved model" in capsys.readouterr().err
