"""Data: honest splits, one's own files, what real files get wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hpo_models.datasets import digits, imagefolder, npz
from hpo_models.datasets.split import stratified_split
from PIL import Image

from hpo import SpecError


def test_digits_are_split_by_class_without_overlap() -> None:
    data = digits.load("", 0)
    assert data.test is not None
    sizes = [len(split[1]) for split in (data.train, data.val, data.test)]
    assert sizes == [3500, 500, 1000]
    for split, share in ((data.train, 350), (data.val, 50), (data.test, 100)):
        assert torch.bincount(split[1]).tolist() == [share] * 10
    assert data.train[0].shape[1:] == (1, 28, 28)
    assert 0 <= float(data.train[0].min()) < float(data.train[0].max()) <= 1
    rows = [row.numpy().tobytes() for s in (data.train, data.val, data.test) for row in s[0]]
    assert len(set(rows)) == len(rows)
    again = digits.load("", 0)
    assert torch.equal(again.train[0], data.train[0])
    assert not torch.equal(digits.load("", 1).train[0], data.train[0])
    assert data.for_search().test is None
    assert len(data.for_retraining().train[0]) == 4000


def test_every_class_is_in_every_part() -> None:
    targets = torch.tensor([0] * 3 + [1] * 50)
    parts = stratified_split(targets, (0.7, 0.15, 0.15), 0)
    assert all(0 in targets[part] for part in parts)
    assert sorted(torch.cat(parts).tolist()) == list(range(53))
    with pytest.raises(SpecError, match="class 2 has 1 rows"):
        stratified_split(torch.tensor([0, 0, 0, 2]), (0.7, 0.15, 0.15), 0)


def write_images(root: Path, n: int = 6, mode: str = "RGB") -> None:
    for label, colour in (("cat", 40), ("dog", 200)):
        (root / label).mkdir()
        for i in range(n):
            Image.new(mode, (20 + i, 30), (colour,) * len(mode) if mode == "RGB" else colour).save(
                root / label / f"{i}.png"
            )


def test_a_folder_of_images_loads(tmp_path: Path) -> None:
    write_images(tmp_path)
    data = imagefolder.load(str(tmp_path), 0)
    assert data.info["class_names"] == ["cat", "dog"]
    assert data.train[0].shape[1:] == (3, 32, 32)
    assert data.train[0][data.train[1] == 0].mean() < data.train[0][data.train[1] == 1].mean()


def test_grey_images_stay_grey(tmp_path: Path) -> None:
    write_images(tmp_path, mode="L")
    assert imagefolder.load(str(tmp_path), 0).info["shape"] == [1, 32, 32]


def test_real_folders_errors_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="0 class folders"):
        imagefolder.load(str(tmp_path), 0)
    write_images(tmp_path)
    (tmp_path / "dog" / "0.png").write_bytes(b"no image")
    with pytest.raises(SpecError, match="no readable image"):
        imagefolder.load(str(tmp_path), 0)
    (tmp_path / "empty").mkdir()
    (tmp_path / "dog" / "0.png").unlink()
    with pytest.raises(SpecError, match="'empty' holds 0 images"):
        imagefolder.load(str(tmp_path), 0)


def arrays(**changes: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "x": rng.integers(0, 255, (30, 8, 8), dtype=np.uint8),
        "y": np.arange(30) % 3,
        **changes,
    }


def test_arrays_load(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **arrays())
    data = npz.load(str(tmp_path / "a.npz"), 0)
    assert data.info["n_classes"] == 3
    assert data.info["shape"] == [1, 8, 8]
    assert float(data.train[0].max()) <= 1


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"z": np.zeros(3)}, "lacks"),
        (arrays(y=np.zeros(30, dtype=int)), "at least 2 classes"),
        (arrays(y=np.arange(29) % 3), "shapes"),
        (arrays(y=np.full(30, 0.5)), "whole numbers"),
        (arrays(x=np.full((30, 8, 8), np.nan)), "NaN"),
        (arrays(x=np.zeros(30)), "shapes"),
    ],
)
def test_wrong_arrays_are_refused(tmp_path: Path, content: dict[str, Any], expected: str) -> None:
    np.savez(tmp_path / "a.npz", **content)
    with pytest.raises(SpecError, match=expected):
        npz.load(str(tmp_path / "a.npz"), 0)


def test_a_pickle_is_never_loaded(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.array([{}], dtype=object), y=np.arange(1))
    with pytest.raises(SpecError, match="cannot be read"):
        npz.load(str(tmp_path / "a.npz"), 0)
    (tmp_path / "b.npz").write_bytes(b"PK no zip")
    with pytest.raises(SpecError):
        npz.load(str(tmp_path / "b.npz"), 0)
