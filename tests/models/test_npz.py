"""One's own arrays: what is understood, and what is refused before a study exists."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hpo_models.datasets import npz

from hpo import SpecError

RNG = np.random.default_rng(0)
Y = np.arange(30) % 3


def arrays(**changes: Any) -> dict[str, Any]:
    return {"x": RNG.integers(0, 255, (30, 8, 8), dtype=np.uint8), "y": Y, **changes}


def saved(folder: Path, content: dict[str, Any]) -> str:
    np.savez(folder / "a.npz", **content)
    return str(folder / "a.npz")


def test_arrays_load(tmp_path: Path) -> None:
    path = saved(tmp_path, arrays())
    data = npz.load(path, 0)
    assert data.info["n_classes"] == 3
    assert data.info["shape"] == [1, 8, 8]
    assert float(data.train[0].max()) <= 1
    assert npz.look(path).n_train == len(data.train[1])


@pytest.mark.parametrize(
    ("y", "names"),
    [
        (Y + 1, ["1", "2", "3"]),
        (20230101 + Y, ["20230101", "20230102", "20230103"]),
        (Y * 2**40, ["0", str(2**40), str(2**41)]),
        (Y.astype("uint64") + 2**63, [str(2**63 + k) for k in range(3)]),
        (-Y, ["-2", "-1", "0"]),
        (Y == 0, ["False", "True"]),
        (Y.astype(float), ["0", "1", "2"]),
        (np.array(list("cab"))[Y], ["a", "b", "c"]),
        (np.array([b"x", b"y", b"z"])[Y], ["x", "y", "z"]),
        (Y[:, None], ["0", "1", "2"]),
        (np.eye(3)[Y], ["0", "1", "2"]),
    ],
)
def test_different_labels_are_the_classes(tmp_path: Path, y: Any, names: list[str]) -> None:
    data = npz.load(saved(tmp_path, arrays(y=y)), 0)
    assert data.info["class_names"] == names
    assert sorted(data.train[1].unique().tolist()) == list(range(len(names)))


@pytest.mark.parametrize(
    ("x", "shape"),
    [
        (RNG.random((30, 16, 12, 3)), [3, 16, 12]),
        (RNG.random((30, 3, 16, 12)), [3, 16, 12]),
        (RNG.random((30, 28, 28, 1)), [1, 28, 28]),
        (np.asfortranarray(RNG.random((30, 8, 8))), [1, 8, 8]),
    ],
)
def test_channels_are_told_by_the_shape(tmp_path: Path, x: Any, shape: list[int]) -> None:
    data = npz.load(saved(tmp_path, arrays(x=x)), 0)
    assert data.info["shape"] == shape and data.train[0].is_contiguous()
    if x.shape[-1] == 3:
        expected = torch.from_numpy(x.transpose(0, 3, 1, 2).astype("float32"))
        assert {row.numpy().tobytes() for row in data.train[0]} <= {
            row.contiguous().numpy().tobytes() for row in expected
        }


@pytest.mark.parametrize(
    ("x", "high"),
    [
        (RNG.random((30, 8, 8)) * 255, 255),
        (RNG.integers(0, 256, (30, 8, 8)), 255),
        (RNG.integers(0, 65536, (30, 8, 8), dtype="uint16"), 65535),
        (RNG.random((30, 8, 8)), None),
        (RNG.random((30, 8, 8)) * 9, None),  # may be anything
        (RNG.random((30, 8, 8)) - 0.5, None),
        (RNG.random((30, 8, 8)).astype(">f4"), None),
        (RNG.random((30, 8, 8)) > 0.5, None),
    ],
)
def test_numbers_of_one_meaning_are_scaled(tmp_path: Path, x: Any, high: float | None) -> None:
    data = npz.load(saved(tmp_path, arrays(x=x)), 0)
    assert data.info.get("ranges") == (high and {"numbers": [0, high]})
    expected = (x / (high or 1)).astype("float32")
    assert float(data.train[0].max()) <= float(expected.max()) + 1e-6
    assert abs(float(data.train[0].mean()) - float(expected.mean())) < 0.1 * expected.std()


def parts(**changes: Any) -> dict[str, Any]:
    found = {}
    for part, n in (("train", 30), ("val", 9), ("test", 9)):
        found[f"x_{part}"] = RNG.random((n, 8, 8))
        found[f"y_{part}"] = np.arange(n) % 3
    found.update(changes)
    return {name: value for name, value in found.items() if value is not None}


def test_common_names_are_known_and_a_missing_part_is_taken_from_the_training_rows(
    tmp_path: Path,
) -> None:
    assert len(npz.load(saved(tmp_path, parts()), 0).train[1]) == 30
    keras = npz.load(saved(tmp_path, parts(x_val=None, y_val=None)), 0)
    assert keras.test is not None
    assert (len(keras.train[1]), len(keras.val[1]), len(keras.test[1])) == (24, 6, 9)
    for x, y in (("images", "labels"), ("X", "Y"), ("data", "target")):
        path = saved(tmp_path, {x: RNG.random((30, 8, 8)), y: Y})
        assert npz.load(path, 0).info["n_classes"] == 3 and npz.look(path).n_train == 21
    medical = {
        f"{part}_{name}": array
        for part in ("train", "val", "test")
        for name, array in (("images", RNG.random((30, 8, 8, 3))), ("labels", Y[:, None]))
    }
    assert npz.load(saved(tmp_path, medical), 0).info["shape"] == [3, 8, 8]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"z": np.zeros(3)}, "lacks"),
        (arrays(y=np.zeros(30, dtype=int)), "at least 2 classes"),
        (arrays(y=np.arange(29) % 3), "as many rows"),
        (
            arrays(y=np.full(30, 0.5)),
            "and holds NaN, infinity or fractions",
        ),
        (arrays(y=np.where(Y == 0, np.nan, Y)), "whole numbers or texts"),
        (arrays(y=np.ones((30, 3))), "one-hot rows"),
        (arrays(x=np.full((30, 8, 8), np.nan)), "NaN"),
        (arrays(x=np.full((30, 8, 8), 1e300)), "what float32 cannot hold"),
        (arrays(x=RNG.random((30, 8, 8)) + 1j), "x holds complex128: it must hold real numbers"),
        (arrays(x=np.zeros(30)), r"shape \(30,\)"),
        (arrays(x=np.ones((30, 8, 8))), "all training rows are alike"),
        (arrays(images=np.ones((30, 8, 8))), "more than one array of x"),
        (
            parts(x_val=RNG.random((9, 6, 6))),
            r"different shapes .* x_val \[6, 6\]",
        ),
        (parts(x_val=np.ones((9, 8, 8), "u1")), "parts are of different kinds"),
        (parts(x_val=np.zeros((0, 8, 8)), y_val=np.zeros(0, int)), "with rows"),
        (parts(y_val=np.arange(9) % 4), "labels 3 are in no training row"),
        (parts(x_train=None, y_train=None), "lacks x_train, y_train"),
        (parts(y_test=None), "lacks y_test"),
    ],
)
def test_wrong_arrays_are_refused(tmp_path: Path, content: dict[str, Any], expected: str) -> None:
    path = saved(tmp_path, content)
    with pytest.raises(SpecError, match=expected) as caught:
        npz.load(path, 0)
    assert "\n" not in str(caught.value) and str(caught.value).startswith(f"data: {path!r}")


def test_a_broken_or_other_file_is_one_line_and_a_pickle_is_never_loaded(tmp_path: Path) -> None:
    whole = Path(saved(tmp_path, arrays())).read_bytes()
    flipped = bytearray(whole)
    flipped[200:260] = b"\xff" * 60
    contents = {"cut.npz": whole[:300], "flipped.npz": bytes(flipped), "b.npz": b"PK no zip"}
    for name, content in {**contents, "empty.npz": b""}.items():
        (tmp_path / name).write_bytes(content)
    np.savez(tmp_path / "pickle.npz", x=np.array([{}], dtype=object), y=np.arange(1))
    np.savez_compressed(tmp_path / "packed.npz", **arrays())
    packed = (tmp_path / "packed.npz").read_bytes()
    (tmp_path / "packed.npz").write_bytes(packed[:150] + b"\xff" * 20 + packed[170:])
    for name in (*contents, "empty.npz", "pickle.npz", "packed.npz"):
        with pytest.raises(SpecError, match="cannot be read") as caught:
            npz.load(str(tmp_path / name), 0)
        assert "\n" not in str(caught.value)
    np.save(tmp_path / "one.npy", np.zeros((30, 8, 8)))
    with pytest.raises(SpecError, match=r"holds one array.*np\.savez"):
        npz.load(str(tmp_path / "one.npy"), 0)
    with pytest.raises(SpecError, match="is a folder"):
        npz.load(str(tmp_path), 0)
