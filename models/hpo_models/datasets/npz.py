"""`npz:PATH`: one's own arrays in a NumPy file.

Either `x` [N, ...] and `y` [N], split 70/15/15, or `x_train`, `y_train`, `x_val`, `y_val`,
`x_test`, `y_test`.  Images [N, H, W] or [N, C, H, W]; uint8 is scaled to 0..1.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from hpo.errors import SpecError
from hpo.model import Data
from hpo_models.datasets.split import image_data, image_info


def load(argument: str, seed: int) -> Data:
    """Raises SpecError: unreadable file, missing arrays, wrong shapes, NaN, one class only."""
    try:
        with np.load(argument, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, KeyError) as error:
        reason = str(error).partition("\n")[0]
        raise SpecError(f"data: {argument!r} cannot be read as .npz: {reason}") from None
    parts = ("train", "val", "test")
    if "x" in arrays and "y" in arrays:
        inputs, targets = _pair(arrays["x"], arrays["y"], argument, "x, y")
        return image_data(f"npz:{argument}", inputs, targets, _names(targets, argument), seed)
    missing = [f"{a}_{p}" for p in parts for a in "xy" if f"{a}_{p}" not in arrays]
    if missing:
        raise SpecError(
            f"data: {argument!r} lacks {', '.join(missing)} (it has {', '.join(arrays)}): "
            "give x and y, or x_ and y_ of train, val and test"
        )
    train, val, test = (
        _pair(arrays[f"x_{p}"], arrays[f"y_{p}"], argument, f"x_{p}, y_{p}") for p in parts
    )
    names = _names(torch.cat([train[1], val[1], test[1]]), argument)
    unseen = sorted(set(torch.cat([val[1], test[1]]).tolist()) - set(train[1].tolist()))
    if unseen:
        raise SpecError(f"data: {argument!r}: labels {unseen[:5]} are in no training row")
    return Data(f"npz:{argument}", train, val, test, image_info(train[0], names))


def _pair(x: np.ndarray, y: np.ndarray, path: str, what: str) -> tuple[Tensor, Tensor]:
    if x.dtype.kind not in "fiub" or y.dtype.kind not in "iu":
        raise SpecError(f"data: {path!r}: {what}: x must hold numbers and y whole numbers")
    if y.ndim != 1 or len(x) != len(y) or x.ndim not in (3, 4) or not x.size:
        raise SpecError(
            f"data: {path!r}: {what} have shapes {x.shape}, {y.shape}: "
            "must be [N, H, W] or [N, C, H, W] and [N]"
        )
    inputs = torch.from_numpy(x.astype("float32"))
    if not torch.isfinite(inputs).all():
        raise SpecError(f"data: {path!r}: {what}: x holds NaN or infinity: clean it first")
    if x.dtype == np.uint8:
        inputs = inputs / 255
    return (inputs.unsqueeze(1) if x.ndim == 3 else inputs), torch.from_numpy(y.astype("int64"))


def _names(targets: Tensor, path: str) -> list[str]:
    low, n_classes = int(targets.min()), int(targets.max()) + 1
    if low < 0 or len(torch.unique(targets)) < 2:
        raise SpecError(f"data: {path!r}: y must hold at least 2 classes, numbered from 0")
    return [str(k) for k in range(n_classes)]
