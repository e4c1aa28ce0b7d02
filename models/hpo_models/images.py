"""What models of images share: shapes, checks, image encoder, augmentation, pictures of results."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from hpo.errors import SpecError
from hpo.model import Data
from hpo_models.cnn import Normalize

_TILE, _MARGIN, _LINE = 144, 8, 15
"""Width of a tile's content, space around it and height of a line of text, in pixels."""


Shapes = tuple[list[tuple[int, int]], list[int]]
"""(H, W) and channels, of several feature maps."""


def feature_shapes(shape: Sequence[int], width: int, depth: int) -> Shapes:
    """Sides and channels of an image and of its maps after 1, ..., depth halvings."""
    sizes = [(math.ceil(shape[1] / 2**k), math.ceil(shape[2] / 2**k)) for k in range(depth + 1)]
    return sizes, [shape[0], *(width * 2**k for k in range(depth))]


def check_pixels(data: Data) -> None:
    """Raises SpecError: pixels outside 0..1, which no sigmoid can give."""
    for images in (split[0] for split in (data.train, data.val) if split and len(split[0])):
        low, high = float(images.min()), float(images.max())
        if low < 0 or high > 1:
            raise SpecError(
                f"data: {data.name!r}: pixels lie in {low:.3g}..{high:.3g}: scale them to 0..1"
            )


class ResidualBlock(nn.Module):
    """Two convolutions and a shortcut, same shape.  Source: He et al. 2016."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.relu(inputs + self.layers(inputs))


class ImageEncoder(nn.Module):
    """Images [B, C, H, W] in 0..1 -> feature map [B, D, h, w] with h, w of at most 8.

    Convolutions that halve the image; the first has `width` channels, the next twice, the others
    four times as many.

    Args:
        info: shape, mean and std of the images.
        n_blocks: residual blocks at the end.
    """

    def __init__(self, info: Mapping[str, Any], width: int, n_blocks: int) -> None:
        super().__init__()
        channels, height, width_px = info["shape"]
        layers: list[nn.Module] = [Normalize(info["mean"], info["std"])]
        k = 0
        while k == 0 or max(height, width_px) > 8:
            out = width * min(2**k, 4)
            layers += [nn.Conv2d(channels, out, 3, padding=1, bias=False)]
            if min(height, width_px) > 1:
                layers += [nn.MaxPool2d(2, ceil_mode=True)]
            layers += [nn.BatchNorm2d(out), nn.ReLU()]
            channels, height, width_px = out, -(-height // 2), -(-width_px // 2)
            k += 1
        layers += [ResidualBlock(channels) for _ in range(n_blocks)]
        self.layers = nn.Sequential(*layers)
        self.shape = (channels, height, width_px)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.layers(images)
        return features


def augment(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Shifts, turns and scales each image [B, C, H, W] by its own draw.

    Args:
        strength: largest shift as a share of the side, and change of scale; 1 radian times it is
            the largest angle.
    """
    draw = torch.rand(4, len(images), generator=generator) * 2 - 1
    draw = strength * draw.to(images.device)
    scale = 1 + draw[0]
    cos, sin = scale * draw[1].cos(), scale * draw[1].sin()
    # The grid's side is 2: a shift of the side's share s is 2 s there.
    rows = (torch.stack((cos, -sin, 2 * draw[2]), 1), torch.stack((sin, cos, 2 * draw[3]), 1))
    grid = functional.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


@dataclass(frozen=True)
class Tile:
    """An image [C, H, W] in 0..1 or none, lines of text in their colours, a frame's colour."""

    image: Tensor | None
    lines: Sequence[tuple[str, str]]
    frame: str | None = None


def tiles_png(tiles: Sequence[Tile], columns: int) -> bytes:
    """A picture of tiles in rows; long lines are wrapped."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(size=_LINE - 3)
    wrapped = [
        [(part, colour) for text, colour in tile.lines for part in textwrap.wrap(text, 22)]
        for tile in tiles
    ]
    width = _TILE + 2 * _MARGIN
    height = _TILE + _LINE * max(map(len, wrapped)) + 2 * _MARGIN
    sheet = Image.new("RGB", (columns * width, -(-len(tiles) // columns) * height), "white")
    draw = ImageDraw.Draw(sheet)
    for k, (tile, lines) in enumerate(zip(tiles, wrapped, strict=True)):
        x, y = k % columns * width + _MARGIN, k // columns * height + _MARGIN
        if tile.image is not None:
            pixels = tile.image.expand(3, -1, -1).permute(1, 2, 0).mul(255).byte().cpu().numpy()
            picture = Image.fromarray(pixels).resize((_TILE, _TILE), Image.Resampling.NEAREST)
            sheet.paste(picture, (x, y))
        if tile.frame:
            box = (x - 3, y - 3, x + _TILE + 2, y + _TILE + 2)
            draw.rectangle(box, outline=tile.frame, width=3)
        top = y + (_TILE if tile.image is not None else (_TILE - _LINE * len(lines)) // 2)
        for line, (text, colour) in enumerate(lines):
            draw.text((x, top + 2 + line * _LINE), text, colour, font=font)
    file = io.BytesIO()
    sheet.save(file, "PNG")
    return file.getvalue()
