"""`mnist`, `fashionmnist`, `cifar10`: whole data sets that torchvision downloads.

They lie in `~/.cache/hpo-data` (HPO_DATA).  Their own test split is the test split; validation
is a stratified tenth of their training split.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hpo.errors import SpecError
from hpo.model import Data
from hpo.reading import Look
from hpo_models.datasets.split import image_info, stratified_split


def load_mnist(argument: str, seed: int) -> Data:
    """60,000 + 10,000 digits, [N, 1, 28, 28].  Source: LeCun, Cortes, Burges 1998."""
    return _load("MNIST", seed)


def load_fashionmnist(argument: str, seed: int) -> Data:
    """60,000 + 10,000 clothes, [N, 1, 28, 28].  Source: Xiao, Rasul, Vollgraf 2017."""
    return _load("FashionMNIST", seed)


def load_cifar10(argument: str, seed: int) -> Data:
    """50,000 + 10,000 photographs, [N, 3, 32, 32].  Source: Krizhevsky 2009."""
    return _load("CIFAR10", seed)


def look_mnist(argument: str) -> Look:
    return Look(54_000, [(28, 28)])


def look_fashionmnist(argument: str) -> Look:
    return Look(54_000, [(28, 28)])


def look_cifar10(argument: str) -> Look:
    return Look(45_000, [(32, 32)])


def _load(name: str, seed: int) -> Data:
    from torchvision import datasets

    root = Path(os.environ.get("HPO_DATA", "~/.cache/hpo-data")).expanduser()
    kind = getattr(datasets, name)
    try:
        learn, test = (kind(str(root), train=train, download=True) for train in (True, False))
    except (OSError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0][:160]
        raise SpecError(
            f"data: {name} is not in {str(root)!r} and cannot be downloaded ({reason}): "
            "put it there, or use --data digits, npz:PATH or imagefolder:PATH"
        ) from None
    inputs, targets = _tensors(learn)
    train, val = stratified_split(targets, (0.9, 0.1), seed)
    split = (inputs[train], targets[train])
    info = image_info(split[0], [str(c) for c in learn.classes])
    return Data(name.lower(), split, (inputs[val], targets[val]), _tensors(test), info)


def _tensors(data: Any) -> tuple[Tensor, Tensor]:
    images = torch.as_tensor(data.data)
    inputs = images.unsqueeze(1) if images.dim() == 3 else images.permute(0, 3, 1, 2)
    return inputs.float() / 255, torch.as_tensor(data.targets, dtype=torch.int64)
