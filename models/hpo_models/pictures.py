"""Tensors as pictures: what the image models show."""

from __future__ import annotations

import io

from torch import Tensor


def grid_png(images: Tensor, columns: int, scale: int = 2) -> bytes:
    """The images row by row in a grid, as a PNG file.

    Args:
        images: [N, C, H, W], 0..1; what lies outside is clipped.  If C is neither 1 nor 3, the
            first 3 channels, or the first one, are shown.
        columns: images in a row.
        scale: sides of the square that shows one pixel.
    """
    from PIL import Image
    from torchvision.utils import make_grid

    shown = images[:, : 3 if images.shape[1] >= 3 else 1].detach().float().cpu().clamp(0, 1)
    grid = make_grid(shown, columns, pad_value=1.0)
    pixels = (grid * 255).round().byte().permute(1, 2, 0)  # [H, W, 3]
    pixels = pixels.repeat_interleave(scale, dim=0).repeat_interleave(scale, dim=1)
    file = io.BytesIO()
    Image.fromarray(pixels.numpy()).save(file, "PNG")
    return file.getvalue()
