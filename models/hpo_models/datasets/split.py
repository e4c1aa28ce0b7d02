"""Honest splits: stratified, fixed by a seed, checked; images and texts of a split, described."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from hpo.errors import SpecError
from hpo.model import Data
from hpo_models.text import encode, vocabulary_of


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


def image_info(
    train_inputs: Tensor, class_names: Sequence[str], read: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What a network needs to know; mean and deviation are of the training rows alone.

    Args:
        read: how picture files become images; see `hpo.inference.images.ImageForm`.
    """
    return {
        "n_classes": len(class_names),
        "shape": list(train_inputs.shape[1:]),
        "class_names": list(class_names),
        "mean": train_inputs.mean(dim=(0, 2, 3)).tolist(),
        "std": train_inputs.std(dim=(0, 2, 3)).clamp_min(1e-6).tolist(),
        **({"reading": 2} if read is None else read),
    }


def text_data(
    name: str,
    parts: Sequence[tuple[Sequence[str], Sequence[int]]],
    class_names: Sequence[str],
    max_length: int,
) -> Data:
    """A classification data set of texts, described.

    Args:
        parts: texts and targets of the training, validation and test rows.
        max_length: longer texts are cut to so many characters.
    Returns:
        Codes [N, L] int64 and targets [N] int64 of each part.  The vocabulary is of all rows: a
        character that no training row holds stays untrained, but can be decoded.
    """
    texts = [text for part, _ in parts for text in part]
    vocabulary, longest = vocabulary_of(texts), min(max(map(len, texts)), max_length)
    train, val, test = (
        (encode(part, vocabulary, longest), torch.tensor(targets, dtype=torch.int64))
        for part, targets in parts
    )
    info = {
        "n_classes": len(class_names),
        "class_names": list(class_names),
        "vocabulary": vocabulary,
        "max_length": longest,
    }
    return Data(name, train, val, test, info)
