"""`imagefolder:PATH`: one's own images, `PATH/CLASS/*.png`, split 70/15/15 by class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional

from hpo.errors import SpecError
from hpo.inference.readers import in_mode
from hpo.model import Data
from hpo_models.datasets.split import image_data

ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
SIDE = 32
"""Images are resized to SIDE x SIDE pixels, in colour unless all of them are grey."""


def load(argument: str, seed: int) -> Data:
    """Raises SpecError: no class folders, an empty class, an unreadable image."""
    root = Path(argument)
    if not root.is_dir():
        raise SpecError(f"data: {argument!r} is no folder: name one that holds CLASS/*.png")
    folders = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    if len(folders) < 2:
        raise SpecError(
            f"data: {argument!r} holds {len(folders)} class folders: needs at least 2, CLASS/*.png"
        )
    images: list[Image.Image] = []
    labels: list[int] = []
    for label, folder in enumerate(folders):
        files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in ENDINGS)
        if len(files) < 3:
            raise SpecError(
                f"data: class {folder.name!r} holds {len(files)} images: needs at least 3, "
                "for training, validation and test"
            )
        images += [_read(file) for file in files]
        labels += [label] * len(files)
    names = [folder.name for folder in folders]
    inputs = tensor_of(images)
    return image_data(f"imagefolder:{argument}", inputs, torch.tensor(labels), names, seed)


def tensor_of(images: Sequence[Image.Image]) -> Tensor:
    """Images of any size and mode as [N, C, SIDE, SIDE] float32 in 0..1."""
    grey = all(image.mode in ("L", "1") or image.mode.startswith("I") for image in images)
    return torch.stack([_tensor(in_mode(image, "L" if grey else "RGB")) for image in images])


def _read(file: Path) -> Image.Image:
    try:
        with Image.open(file) as image:
            image.load()
            return image.copy()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise SpecError(f"data: {str(file)!r} is no readable image ({error}): remove it") from None


def _tensor(image: Image.Image) -> Tensor:
    resized = functional.resize(image, [SIDE, SIDE], antialias=True)
    tensor: Tensor = functional.to_dtype(
        functional.pil_to_tensor(resized), torch.float32, scale=True
    )
    return tensor
