"""`hf:`: folders as Hugging Face's `datasets` reads them, and what they lack."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from hpo_models.datasets import hugging_face
from hpo_models.text import decode
from PIL import Image

from hpo import SpecError
from hpo.registry import find_data, find_model, load_model

Rows = Sequence[tuple[str | None, str | int | None]]


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of the test's own, and no attempts to reach the hub."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)


def write(folder: Path, name: str, rows: Rows, columns: tuple[str, str] = ("text", "label")) -> str:
    lines = [json.dumps(dict(zip(columns, row, strict=True))) for row in rows]
    (folder / f"{name}.jsonl").write_text("\n".join(lines))
    return str(folder)


def rows(n: int, prefix: str = "row") -> Rows:
    return [(f"{prefix} {k}", ("good", "bad")[k % 2]) for k in range(n)]


def texts(split: tuple[torch.Tensor, ...], vocabulary: str) -> set[str]:
    return set(decode(split[0], vocabulary))


def test_one_split_is_divided_by_class(tmp_path: Path) -> None:
    data = hugging_face.load(write(tmp_path, "train", rows(40)), 0)
    assert data.test is not None
    assert [len(split[1]) for split in (data.train, data.val, data.test)] == [28, 6, 6]
    assert data.info["class_names"] == ["bad", "good"]
    found = [texts(split, data.info["vocabulary"]) for split in (data.train, data.val, data.test)]
    assert set().union(*found) == {text for text, _ in rows(40)}


def test_its_own_splits_stay_and_are_not_trained_on(tmp_path: Path) -> None:
    write(tmp_path, "train", [*rows(20), *rows(4, "held")])
    write(tmp_path, "validation", rows(4, "held"))
    data = hugging_face.load(write(tmp_path, "test", [*rows(6, "test"), ("none", None)]), 0)
    assert data.test is not None
    vocabulary = data.info["vocabulary"]
    assert texts(data.val, vocabulary) == {text for text, _ in rows(4, "held")}
    assert texts(data.test, vocabulary) == {text for text, _ in rows(6, "test")}
    assert texts(data.train, vocabulary) == {text for text, _ in rows(20)}


def test_a_folder_of_images_by_class_loads(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for label, grey in (("cat", 40), ("dog", 200)):
            folder = tmp_path / split / label
            folder.mkdir(parents=True)
            for k in range(8):
                Image.new("L", (20, 12), grey + k).save(folder / f"{k}.png")
    data = hugging_face.load(str(tmp_path), 0)
    assert data.test is not None
    assert data.train[0].shape[1:] == (1, 32, 32)  # without options as hpo 0.1.0 read it
    glance = hugging_face.look(str(tmp_path))
    assert glance.n_train == round(0.85 * 16) and set(glance.sizes) == {(12, 20)}
    sized = hugging_face.load(f"{tmp_path}?size=12x20", 0)
    assert sized.train[0].shape[1:] == (1, 12, 20) and sized.info["fit"] == "pad"
    assert torch.equal(sized.train[1], data.train[1])
    assert len(data.test[1]) == 16 and len(data.train[1]) + len(data.val[1]) == 16
    assert data.train[0][data.train[1] == 0].mean() < data.train[0][data.train[1] == 1].mean()


@pytest.mark.parametrize(
    ("content", "columns", "expected"),
    [
        (rows(20), ("text", "mood"), "has no label column, only text, mood"),
        ([(1, "a"), (2, "b")] * 5, ("x", "label"), "has no text or image column"),
        ([("a", "same"), ("b", "same"), ("c", "same")], ("text", "label"), "1 different labels"),
        ([*rows(20), ("odd", "rare")], ("text", "label"), "needs at least 3"),
    ],
)
def test_what_is_missing_is_said_in_one_line(
    tmp_path: Path, content: Rows, columns: tuple[str, str], expected: str
) -> None:
    with pytest.raises(SpecError, match=expected) as caught:
        hugging_face.load(write(tmp_path, "train", content, columns), 0)
    assert "\n" not in str(caught.value)


def test_an_id_that_cannot_be_reached_is_said_in_one_line() -> None:
    with pytest.raises(SpecError, match="'hf:nobody/nothing' cannot be read") as caught:
        hugging_face.load("nobody/nothing", 0)
    assert "\n" not in str(caught.value) and "network" in str(caught.value)


def test_an_id_and_a_folder_are_references_of_data(tmp_path: Path) -> None:
    model = load_model(find_model("rnn"))
    assert find_data(model, "hf:org/name:config") == "hf:org/name:config"
    assert find_data(model, f"hf:{tmp_path}") == f"hf:{tmp_path.resolve()}"
    with pytest.raises(SpecError, match="write hf:PATH"):
        find_data(model, "hf:")
    with pytest.raises(SpecError, match="does not fit RNN: choose from surnames"):
        find_data(model, "digits")
