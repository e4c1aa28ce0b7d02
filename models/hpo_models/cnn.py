"""Convolutional image classifier.  Source: LeCun et al. 1998; blocks after Simonyan 2015."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from hpo.deployment import Deployment, classifier_of_images
from hpo.model import Classifier, Data, Params, Split
from hpo.space import Choice, Float, Int, Space
from hpo_models.limits import BATCH, DECAY, LAYERS, MOMENTUM, RATE, SHARE, STRENGTH, WIDTH

_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU}
_CHUNKS = 4
"""A batch is augmented in so many parts, each with its own random draw."""


class Normalize(nn.Module):
    """Inputs [B, C, H, W] in 0..1 to zero mean and unit deviation by channel."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: list[float], std: list[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, inputs: Tensor) -> Tensor:
        return (inputs - self.mean) / self.std


def _norm(name: str, channels: int) -> nn.Module:
    if name == "batch":
        return nn.BatchNorm2d(channels)
    if name == "group":
        groups = next(g for g in (8, 4, 2, 1) if channels % g == 0)
        return nn.GroupNorm(groups, channels)
    return nn.Identity()


def _block(channels: int, width: int, kernel: int, params: Params) -> list[nn.Module]:
    """Convolution, halving, norm, activation: [B, channels, H, W] -> [B, width, H/2, W/2]."""
    return [
        nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=params["norm"] == "none"),
        nn.MaxPool2d(2),  # before norm and activation: they cost a quarter then
        _norm(params["norm"], width),
        _ACTIVATIONS[params["activation"]](),
    ]


class CNN(Classifier):
    """Convolutional image classifier: depth, width, kernel, norm, augmentation, optimizer."""

    task = "image classification"
    datasets = ("digits", "mnist", "fashionmnist", "cifar10", "imagefolder:", "npz:", "hf:")
    n_trials = 20
    epochs = 5
    timeout_s = 25
    space = Space(
        lr=Float(5e-4, 5e-2, log=True, default=5e-3, grid=(1e-3, 5e-3, 2e-2), within=RATE),
        optimizer=Choice("adamw", "sgd"),
        momentum=Float(
            0.5, 0.98, default=0.9, grid=(0.9,), when={"optimizer": "sgd"}, within=MOMENTUM
        ),
        weight_decay=Float(1e-5, 1e-1, log=True, default=1e-2, grid=(1e-4, 1e-2), within=DECAY),
        batch_size=Choice(64, 32, 128, within=BATCH),
        schedule=Choice("onecycle", "cosine", "constant"),
        depth=Int(2, 4, default=2, within=LAYERS),
        width=Int(8, 24, log=True, default=16, within=WIDTH),
        kernel=Choice(3, 5, 7),
        norm=Choice("batch", "group", "none"),
        activation=Choice("relu", "gelu", "silu"),
        dropout=Float(0.0, 0.5, default=0.0, grid=(0.0, 0.25), within=SHARE),
        label_smoothing=Float(0.0, 0.2, default=0.0, grid=(0.0, 0.1), within=SHARE),
        augment=Choice("shift", "affine", "none"),
        strength=Float(
            0.03,
            0.2,
            default=0.08,
            grid=(0.08,),
            when={"augment": ("shift", "affine")},
            within=STRENGTH,
        ),
    )

    def build(self, params: Params, data: Data) -> nn.Module:
        """Blocks of growing width, global features, one linear layer: logits [B, n_classes]."""
        channels, height, width_px = data.info["shape"]
        layers: list[nn.Module] = [Normalize(data.info["mean"], data.info["std"])]
        for k in range(params["depth"]):
            if min(height, width_px) < 2:
                break
            width = params["width"] * (2 if k else 1)
            # Only the first kernel is searched: there it is cheap, later 5 x 5 costs threefold.
            layers += _block(channels, width, params["kernel"] if k == 0 else 3, params)
            channels, height, width_px = width, height // 2, width_px // 2
        if height * width_px > 64:  # keep the head small whatever the images' size
            layers.append(nn.AdaptiveAvgPool2d(4))
            height = width_px = 4
        layers += [
            nn.Flatten(),
            nn.Dropout(params["dropout"]),
            nn.Linear(channels * height * width_px, data.info["n_classes"]),
        ]
        return nn.Sequential(*layers)

    def prepare(self, batch: Split, params: Params, generator: torch.Generator) -> Split:
        """Shifts, or turns and scales, the images; one draw for each quarter of the batch."""
        if params["augment"] == "none":
            return batch
        inputs, targets = batch
        change = _shifted if params["augment"] == "shift" else _turned
        # Not the global generator: to seed that one notes for a GPU to come who did so, each time.
        seed = int(torch.randint(2**31, (1,), generator=generator))
        draws = torch.Generator().manual_seed(seed)
        parts = [change(part, params["strength"], draws) for part in inputs.chunk(_CHUNKS)]
        return torch.cat(parts), targets

    def deployment(self, net: nn.Module, params: Params, info: Mapping[str, Any]) -> Deployment:
        return classifier_of_images(net, info)


def _between(low: float, high: float, generator: torch.Generator) -> float:
    return torch.empty(1).uniform_(low, high, generator=generator).item()


def _shift(images: Tensor, strength: float, generator: torch.Generator) -> tuple[int, int]:
    """Pixels to the right and down, up to that share of the sides."""
    height, width = images.shape[-2:]
    dx, dy = strength * width, strength * height
    right = round(_between(-dx, dx, generator))
    return right, round(_between(-dy, dy, generator))


def _shifted(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Images [B, C, H, W] moved by whole pixels, with 0 where there were none."""
    _between(0.0, 0.0, generator)  # an angle of 0, so that draws are those of v2.RandomAffine
    right, down = _shift(images, strength, generator)
    # A negative pad cuts off what is moved out of sight.
    return functional.pad(images, (right, -right, down, -down))


def _turned(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Images [B, C, H, W] turned, moved and scaled."""
    from torchvision.transforms.v2 import InterpolationMode  # takes 2 s, and few need it
    from torchvision.transforms.v2.functional import affine

    angle = _between(-100 * strength, 100 * strength, generator)
    shift = _shift(images, strength, generator)
    scale = _between(1 - strength, 1 + strength, generator)
    turned: Tensor = affine(
        images, angle, list(shift), scale, [0.0, 0.0], InterpolationMode.BILINEAR, fill=[0.0]
    )
    return turned
