"""`npz:PATH`: one's own arrays in a NumPy file.

Either `x` [N, ...] and `y` [N], split 70/15/15, or `x_train`, `y_train`, `x_val`, `y_val`,
`x_test`, `y_test`; a missing validation or test part is taken from the training rows, 15 % each by
class.
Other common names are known too: images and labels, X and Y, train_images and train_labels.

Images [N, H, W], [N, C, H, W] or [N, H, W, C].  Whole numbers and floats of 0..255 are scaled to
0..1.  Labels may be any numbers or texts, a column of them, or one-hot rows: their different values
are the classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hpo.errors import SpecError
from hpo.inference.images import channels_first, number_range
from hpo.model import Data
from hpo.reading import Look
from hpo_models.datasets.split import image_info, stratified_split

Array = NDArray[Any]
_INPUTS = ("x", "images", "image", "data", "inputs")
_LABELS = ("y", "labels", "label", "targets", "target")
PARTS = ("train", "val", "test")
_HELD_OUT = 0.15
_MOST_CLASSES = 10_000


def load(argument: str, seed: int) -> Data:
    """Raises SpecError: unreadable file, missing arrays, wrong shapes, NaN, one class only."""
    parts = _parts(_read(argument), argument)
    _check_alike(parts, argument)
    columns = {part: _inputs(x, argument, part) for part, (x, _) in parts.items()}
    lowest = min(float(x.min()) for x in columns.values())
    highest = max(float(x.max()) for x in columns.values())
    low, high = number_range(lowest, highest, parts["train"][0].dtype.kind)
    inputs = {
        part: torch.from_numpy((x - np.float32(low)) / np.float32(high - low))
        for part, x in columns.items()
    }
    targets, names = _targets({part: y for part, (_, y) in parts.items()}, argument)
    train, val, test = splits = _splits(inputs, targets, argument, seed)
    _check_split(splits, names, argument)
    scale = {} if (low, high) == (0.0, 1.0) else {"ranges": {"numbers": [low, high]}}
    info = image_info(train[0], names, {"reading": 2, **scale})
    shown = [f"Numbers of {low:g}..{high:g} become 0..1."] if scale else []
    return Data(f"npz:{argument}", train, val, test, info, notes=tuple(shown))


def look(argument: str) -> Look:
    """How many training rows there are."""
    parts = _parts(_read(argument, "y"), argument, "y")
    n_missing = sum(part not in parts for part in ("val", "test"))
    y = next(iter(parts.values()))[1]
    return Look(round(len(y) * (1 - _HELD_OUT * n_missing)) if y.ndim else 0)


def _read(argument: str, only: str = "") -> dict[str, Array]:
    """The file's arrays.

    Args:
        only: y: the labels alone.
    """
    if Path(argument).is_dir():
        raise SpecError(f"data: {argument!r} is a folder: name the .npz file in it")
    try:
        file = np.load(argument, allow_pickle=False)
        if isinstance(file, np.ndarray):
            raise SpecError(
                f"data: {argument!r} holds one array of shape {file.shape}: images and labels are "
                "needed: write both by np.savez('data.npz', x=images, y=labels)"
            )
        with file:
            wanted = [name for name in file.files if not only or _role(name)[0] == only]
            arrays = {name: file[name] for name in wanted}
        return {name: array for name, array in arrays.items() if isinstance(array, np.ndarray)}
    except SpecError:
        raise
    except Exception as error:  # of zip files, their compression, headers and pickles
        reason = str(error).partition("\n")[0][:160] or type(error).__name__
        raise SpecError(
            f"data: {argument!r} cannot be read as .npz ({reason}): write it anew by np.savez, "
            "without objects"
        ) from None


def _role(name: str) -> tuple[str, str]:
    """`x` or `y` and the part of an array's name, '' each where it says none."""
    words = name.lower().removesuffix(".npy").replace("-", "_").split("_")
    part = next((part for part in PARTS if part in words), "")
    if part == "" and "valid" in words:
        part = "val"
    rest = "_".join(word for word in words if word not in (*PARTS, "valid"))
    role = "x" if rest in _INPUTS else "y" if rest in _LABELS else ""
    return role, part


def _parts(arrays: Mapping[str, Array], path: str, only: str = "") -> dict[str, tuple[Any, Any]]:
    """Inputs and labels by part; `train` alone where the file is not split.

    Raises:
        SpecError: some are missing, or two arrays have one meaning.
    """
    found: dict[tuple[str, str], Array] = {}
    for name, array in arrays.items():
        role = _role(name)
        if role[0] and role in found:
            raise SpecError(
                f"data: {path!r} holds more than one array of {role[0]} (it has "
                f"{', '.join(arrays)}): leave one, named {'_'.join(filter(None, role))}"
            )
        found[role] = array
    split = any(part for role, part in found if role)
    wanted = [part for part in PARTS if split and any((role, part) in found for role in "xy")]
    parts = {}
    for part in wanted or [""]:
        pair = [found.get((role, part)) for role in "xy"]
        missing = [
            f"{role}_{part}" if part else role
            for role, array in zip("xy", pair, strict=True)
            if array is None and only in ("", role)
        ]
        if missing or (wanted and "train" not in wanted):
            missing = missing or ["x_train", "y_train"]
            raise SpecError(
                f"data: {path!r} lacks {', '.join(missing)} (it has {', '.join(arrays) or 'none'}):"
                " give x and y, or x_ and y_ of train, val and test"
            )
        parts[part or "train"] = (pair[0], pair[1])
    return parts


def _check_alike(parts: Mapping[str, tuple[Array, Array]], path: str) -> None:
    """Raises SpecError: rows of parts differ in kind or shape."""
    groups = {part: "fiub".find(x.dtype.kind) for part, (x, _) in parts.items()}
    kinds = {part: x.dtype.name for part, (x, _) in parts.items()}
    mixed = {"float" if group == 0 else "whole" for group in groups.values()}
    if len(mixed) > 1 and -1 not in groups.values():
        shown = ", ".join(f"x_{part} {kind}" for part, kind in kinds.items())
        raise SpecError(
            f"data: {path!r}: parts are of different kinds ({shown}), whose scales may differ: "
            "save all of them as one"
        )
    shapes = {part: x.shape[1:] for part, (x, _) in parts.items()}
    if len(set(shapes.values())) > 1:
        shown = ", ".join(f"x_{part} {list(shape)}" for part, shape in shapes.items())
        raise SpecError(
            f"data: {path!r}: rows of the parts have different shapes ({shown}): they must have one"
        )


def _inputs(x: Array, path: str, part: str) -> NDArray[np.float32]:
    """[N, C, H, W] as they are, unscaled."""
    if x.dtype.kind not in "fiub":
        raise SpecError(f"data: {path!r}: x holds {x.dtype.name}: it must hold real numbers")
    if x.ndim not in (3, 4) or not x.size:
        raise SpecError(
            f"data: {path!r}: x of {part} has the shape {x.shape}: it must be [N, H, W], "
            "[N, C, H, W] or [N, H, W, C], with rows"
        )
    with np.errstate(over="ignore"):
        values = x.astype(np.float32)
    if not np.isfinite(values).all():
        raise SpecError(
            f"data: {path!r}: x of {part} holds NaN, infinity or what float32 cannot hold: clean it"
        )
    return channels_first(values)


def _targets(
    parts: Mapping[str, Array], path: str
) -> tuple[dict[str, NDArray[np.int64]], list[str]]:
    """Numbers of the classes by part, and the classes' names."""
    flat = {part: _labels(y, path, part) for part, y in parts.items()}
    kinds = {y.dtype.kind in "US" for y in flat.values()}
    if len(kinds) > 1:
        raise SpecError(f"data: {path!r}: y holds texts in one part and numbers in another")
    values = np.unique(np.concatenate(list(flat.values())))
    if not 2 <= len(values) <= _MOST_CLASSES:
        raise SpecError(
            f"data: {path!r}: y must hold at least 2 classes, and at most {_MOST_CLASSES}, not "
            f"{len(values)}"
        )
    numbers = {part: np.searchsorted(values, y).astype(np.int64) for part, y in flat.items()}
    return numbers, [value.decode() if isinstance(value, bytes) else str(value) for value in values]


def _labels(y: Array, path: str, part: str) -> Array:
    """Labels [N]: whole numbers or texts."""
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    one_hot = y.ndim == 2 and y.dtype.kind in "fiub" and y.size > 0
    if one_hot and ((y == 0) | (y == 1)).all() and (y.sum(axis=1) == 1).all():
        y = y.argmax(axis=1)
    if y.ndim != 1:
        raise SpecError(
            f"data: {path!r}: y of {part} has the shape {y.shape}: it must be [N], or one-hot rows "
            "with a single 1"
        )
    if y.dtype.kind in "iubUS":
        return y
    if y.dtype.kind != "f" or not np.isfinite(y).all() or (y != np.trunc(y)).any():
        raise SpecError(
            f"data: {path!r}: y of {part} must hold whole numbers or texts, and holds "
            f"{'NaN, infinity or fractions' if y.dtype.kind == 'f' else y.dtype.name}"
        )
    if np.abs(y).max(initial=0) > 2**53:
        raise SpecError(f"data: {path!r}: y of {part} holds floats beyond 2**53: save integers")
    return y.astype(np.int64)


def _splits(
    inputs: Mapping[str, Tensor], targets: Mapping[str, NDArray[np.int64]], path: str, seed: int
) -> list[tuple[Tensor, Tensor]]:
    """Training, validation and test rows."""
    pairs = {}
    for part, x in inputs.items():
        y = torch.from_numpy(targets[part])
        if len(x) != len(y):
            raise SpecError(
                f"data: {path!r}: x of {part} has the shape {tuple(x.shape)} and y {len(y)} labels:"
                " they must have as many rows"
            )
        pairs[part] = (x, y)
    missing = [part for part in ("val", "test") if part not in pairs]
    if missing:
        x, y = pairs["train"]
        shares = (1 - _HELD_OUT * len(missing), *(_HELD_OUT for _ in missing))
        drawn = stratified_split(y, shares, seed)
        for part, rows in zip(("train", *missing), drawn, strict=True):
            pairs[part] = (x[rows], y[rows])
    return [pairs[part] for part in PARTS]


def _check_split(splits: list[tuple[Tensor, Tensor]], names: list[str], path: str) -> None:
    """Raises SpecError: classes that are not trained on, or rows that do not differ."""
    trained = set(splits[0][1].tolist())
    unseen = sorted({int(k) for _, y in splits[1:] for k in y.tolist()} - trained)
    if unseen:
        shown = ", ".join(names[k] for k in unseen[:5])
        raise SpecError(f"data: {path!r}: labels {shown} are in no training row: add rows of them")
    x = splits[0][0]
    if (x == x[:1]).all():
        raise SpecError(f"data: {path!r}: all training rows are alike: nothing can be learned")
