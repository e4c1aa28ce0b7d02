"""A bundle is whole or refused."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from hpo.errors import HpoError, SpecError
from hpo.inference import bundle
from hpo.inference.bundle import Bundle
from hpo.inference.predictor import Predictor
from hpo.outcome.export import bundle_of
from tests.artifacts import artifact

FACTS: dict[str, Any] = {
    "kind": "onnx",
    "task": "tensors",
    "settings": {},
    "graphs": {"network": {"file": "n.onnx", "inputs": ["a"], "outputs": ["b"], "dynamic": {}}},
    "model": "m",
    "study": "s",
    "data": "d",
    "metric": "accuracy",
    "test": {},
    "versions": {},
    "created": "now",
}


def written(folder: Path) -> Path:
    return bundle.write(folder / "onnx", FACTS, {"n.onnx": b"graph"})


def test_a_written_bundle_is_read_and_replaced(tmp_path: Path) -> None:
    path = written(tmp_path)
    assert Bundle.open(path).graphs["network"]["file"] == "n.onnx"
    bundle.write(path, {**FACTS, "model": "other"}, {"n.onnx": b"other"})
    assert Bundle.open(path).facts["model"] == "other"
    assert [p.name for p in tmp_path.iterdir()] == ["onnx"]  # no drafts are left


def test_nothing_else_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(SpecError, match="is no exported model"):
        bundle.write(tmp_path, FACTS, {})
    (tmp_path / "file").write_text("mine")
    with pytest.raises(HpoError, match="to: "):
        bundle.write(tmp_path / "file" / "onnx", FACTS, {"n.onnx": b""})


def change(path: Path, **facts: Any) -> None:
    file = path / bundle.FACTS
    file.write_text(json.dumps({**json.loads(file.read_text()), **facts}))


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"format": 2}, "format"),
        ({"kind": "pickle"}, "kind"),
        ({"task": 3}, "task"),
        ({"graphs": {"network": {"file": "../n.onnx"}}}, "graphs"),
        ({"sha256": {}}, "sha256"),
        ({"sha256": {"n.onnx": "0" * 64}}, "not the file"),
        ({"sha256": {"n.onnx": "", "../../etc/passwd": ""}}, "'n.onnx'|plain"),
        ({"sha256": {"../n.onnx": "", "n.onnx": ""}}, "plain file name"),
    ],
)
def test_a_changed_bundle_is_refused(tmp_path: Path, facts: dict[str, Any], message: str) -> None:
    path = written(tmp_path)
    change(path, **facts)
    with pytest.raises(SpecError, match=message) as error:
        Bundle.open(path)
    assert "\n" not in str(error.value)


def test_a_missing_or_damaged_file_is_told(tmp_path: Path) -> None:
    path = written(tmp_path)
    (path / "n.onnx").unlink()
    with pytest.raises(SpecError, match=r"'n\.onnx' is missing"):
        Bundle.open(path)
    (path / bundle.FACTS).write_text("{")
    with pytest.raises(SpecError, match="holds no exported model"):
        Bundle.open(path)
    with pytest.raises(SpecError, match="holds no exported model"):
        Bundle.open(tmp_path)


def test_a_file_that_is_no_graph_and_an_unknown_task_are_told(tmp_path: Path) -> None:
    path = written(tmp_path)
    with pytest.raises(SpecError, match="no graph that onnxruntime reads"):
        Predictor.open(path)
    bundle.write(path, {**FACTS, "kind": "pt2"}, {"n.onnx": b""})
    with pytest.raises(SpecError, match="holds pt2"):
        Predictor.open(path)
    bundle.write(path, {**FACTS, "task": "captioning"}, {"n.onnx": b""})
    with pytest.raises(SpecError, match="lacks the graph"):
        Predictor.open(path)


@pytest.mark.parametrize(
    ("where", "name", "value"),
    [
        (("settings",), "shape", [3, 28, 28]),
        (("settings",), "shape", [1, 10**9, 10**9]),
        (("settings",), "shape", [1, -5, 28]),
        (("settings",), "shape", [1, "28", 28]),
        (("settings",), "class_names", ["a"]),
        (("graphs", "classifier"), "inputs", ["zzz"]),
        (("graphs", "classifier"), "inputs", [["a"]]),
        (("graphs", "classifier"), "inputs", []),
    ],
)
def test_a_bundle_that_cannot_answer_is_refused_when_it_is_opened(
    tmp_path: Path, where: tuple[str, ...], name: str, value: Any
) -> None:
    best = shutil.copytree(artifact("cnn"), tmp_path / "best")
    path = Path(shutil.copytree(bundle_of(best), tmp_path / "bundle"))
    assert Predictor.open(path)
    facts = json.loads((path / "bundle.json").read_text())
    inner = facts
    for key in where:
        inner = inner[key]
    inner[name] = value
    (path / "bundle.json").write_text(json.dumps(facts))
    with pytest.raises(SpecError) as error:
        Predictor.open(path)
    assert "\n" not in str(error.value)


def test_pipes_nesting_and_odd_names_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path)
    facts = json.loads((path / "bundle.json").read_text())
    os.mkfifo(path / "pipe")
    for content, message in (
        ("[" * 200_000, "holds no exported model"),
        (json.dumps({**facts, "sha256": {**facts["sha256"], "a\0b": ""}}), "no plain file name"),
        (json.dumps({**facts, "sha256": {**facts["sha256"], "pipe": ""}}), "'pipe' is missing"),
    ):
        (path / "bundle.json").write_text(content)
        with pytest.raises(SpecError, match=message):
            Bundle.open(path)
    (path / "bundle.json").unlink()
    os.mkfifo(path / "bundle.json")
    with pytest.raises(SpecError, match="holds no exported model"):
        Bundle.open(path)


def test_an_interrupt_between_old_and_new_leaves_the_old_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path)
    rename = Path.rename

    def interrupted(self: Path, target: Path) -> Path:
        if target == path and not self.name.endswith("-old"):
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        bundle.write(path, {**FACTS, "model": "other"}, {"n.onnx": b"other"})
    assert Bundle.open(path).facts["model"] == FACTS["model"]
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
