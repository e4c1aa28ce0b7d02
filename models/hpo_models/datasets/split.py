"""Honest splits: stratified, fixed by a seed, checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from hpo.errors import SpecError
from hpo.model import Data


def stratified_split(targets: Tensor, shares: Sequence[float], seed: int) -> list[Tensor]:
    """Row numbers of each part, with every class in every part in its proportion.

    Args:
        targets: [N] int64.
        shares: of each part; they sum to 1.
        seed: of the shuffle within a class.
    Returns:
        One sorted int64 tensor a part; together they are all rows.
    Raises:
        SpecError: a class has fewer rows than there are parts.
    """
    generator = torch.Generator().manual_seed(seed)
    parts: list[list[Tensor]] = [[] for _ in shares]
    for label in torch.unique(targets).tolist():
        rows = torch.nonzero(targets == label).flatten()
        if len(rows) < len(shares):
            raise SpecError(
                f"data: class {label} has {len(rows)} rows: each class needs at least "
                f"{len(shares)}, for training, validation and test"
            )
        rows = rows[torch.randperm(len(rows), generator=generator)]
        ends = [0]
        for k in range(1, len(shares)):
            end = round(sum(shares[:k]) * len(rows))
            ends.append(min(max(end, ends[-1] + 1), len(rows) - (len(shares) - k)))
        for k, part in enumerate(parts):
            part.append(rows[ends[k] : [*ends, len(rows)][k + 1]])
    return [torch.cat(part).sort().values for part in parts]


def image_data(
    name: str,
    inputs: Tensor,
    targets: Tensor,
    class_names: Sequence[str],
    seed: int,
    shares: Sequence[float] = (0.7, 0.15, 0.15),
) -> Data:
    """A classification data set of images, split and described.

    Args:
        inputs: [N, C, H, W] float32, 0..1.
        targets: [N] int64.
    """
    train, val, test = (
        (inputs[rows], targets[rows]) for rows in stratified_split(targets, shares, seed)
    )
    return Data(name, train, val, test, image_info(train[0], class_names))


def image_info(train_inputs: Tensor, class_names: Sequence[str]) -> dict[str, Any]:
    """What a network needs to know; mean and deviation are of the training rows alone."""
    return {
        "n_classes": len(class_names),
        "shape": list(train_inputs.shape[1:]),
        "class_names": list(class_names),
        "mean": train_inputs.mean(dim=(0, 2, 3)).tolist(),
        "std": train_inputs.std(dim=(0, 2, 3)).clamp_min(1e-6).tolist(),
    }
