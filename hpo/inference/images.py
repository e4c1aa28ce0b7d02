"""Picture files as pixels: upright, over white, deep pixels by their range, fitted into a size.

Training data and the inputs of a saved model are read by the same functions, file by file.
"""

from __future__ import annotations

import functools
import io
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image

_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
_MORE_ENDINGS = (
    *(".avif", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".pbm", ".pgm", ".pnm", ".ppm", ".tga"),
)
"""That Pillow reads in some installations."""
UNREAD_ENDINGS = frozenset(
    {
        ".svg",
        ".heic",
        ".heif",
        ".jxl",
        ".psd",
        ".eps",
        ".raw",
        ".cr2",
        ".cr3",
        ".nef",
        ".arw",
        ".dng",
    }
)
"""Of pictures that Pillow does not read without a plugin."""
_HIDDEN = frozenset({"__macosx", "@eadir", "thumbs.db", "desktop.ini"})
_ORIENTATION = 0x0112
_DEPTHS = (255, 1023, 4095, 16383, 65535)
"""Largest values of 8, 10, 12, 14 and 16 bits."""
_BYTE_OF_16_BITS = 256
_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")

Range = tuple[float, float]


@dataclass(frozen=True)
class ImageForm:
    """How a network's images were made of picture files.

    Attributes:
        shape: C, H, W.
        resample: bilinear or bicubic.
        fit: pad, crop or stretch; see `hpo.reading.Reading`.
        version: 1: as hpo 0.1.0 read pictures.
        ranges: of deep pixels in the training data, by kind: what became 0 and 1.
    """

    shape: Sequence[int]
    resample: str = "bilinear"
    fit: str = "stretch"
    version: int = 1
    ranges: Mapping[str, Range] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> ImageForm:
        """Of a bundle's settings; those that hpo 0.1.0 wrote have version 1."""
        ranges = {kind: (low, high) for kind, (low, high) in settings.get("ranges", {}).items()}
        return cls(
            list(settings["shape"]),
            settings.get("resample", "bilinear"),
            settings.get("fit", "stretch"),
            settings.get("reading", 1),
            ranges,
        )


@dataclass(frozen=True)
class Pixels:
    """A picture that was fitted but not yet scaled or padded.

    Attributes:
        values: [h, w] or [h, w, C]; uint8, or float32 where the file has deep pixels.
        kind: `8`, `16` (bits) or `wide`: 32-bit integers and floats.
        low, high: smallest and largest value in the file, of deep pixels.
    """

    values: NDArray[Any]
    kind: str = "8"
    low: float = 0.0
    high: float = 255.0

    @property
    def grey(self) -> bool:
        return self.values.ndim == 2


@dataclass(frozen=True)
class FileRow:
    """A row [C, H, W] of a file of arrays, unscaled.

    Attributes:
        own: what becomes 0 and 1 where the training data tells nothing of it.
    """

    values: NDArray[Any]
    own: Range

    def scaled(self, form: ImageForm) -> NDArray[np.float32]:
        """As the training data was."""
        low, high = form.ranges.get("numbers", self.own)
        values: NDArray[np.float32] = self.values.astype(np.float32) - np.float32(low)
        return values / np.float32(high - low)


@functools.cache
def image_endings() -> tuple[str, ...]:
    """Endings of picture files that can be read here, in lower case."""
    from PIL import Image as images

    images.init()
    formats = images.registered_extensions()
    return (*_ENDINGS, *(end for end in _MORE_ENDINGS if formats.get(end) in images.OPEN))


def is_hidden(name: str) -> bool:
    """Whether a file or folder is none of the user's: `._1.png`, `.DS_Store`, `__MACOSX`."""
    return name.startswith(".") or name.lower() in _HIDDEN


def open_picture(file: str | Path | bytes) -> Image.Image:
    """A picture whose header alone is read.

    Raises:
        Exception: of many kinds, on files that are no pictures.
    """
    from PIL import Image as images

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", images.DecompressionBombWarning)
        return images.open(io.BytesIO(file) if isinstance(file, bytes) else file)


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Height and width as the picture is shown."""
    width, height = image.size
    return (width, height) if _orientation(image) >= 5 else (height, width)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # damaged EXIF data does not damage the picture
        return 1


def fitted(image: Image.Image, form: ImageForm, mode: str | None = None) -> Pixels:
    """An opened picture decoded and resized; closes nothing.

    Args:
        mode: L, RGB or RGBA; None: L of a grey picture, else RGB.
    Raises:
        Exception: of many kinds, on damaged files; ValueError on NaN and infinity.
    """
    size = (form.shape[1], form.shape[2])
    if form.version == 1:
        grey = image.mode in ("L", "1") or image.mode.startswith("I")
        plain = in_mode(image, mode or ("L" if grey else "RGB"))
        return Pixels(np.asarray(_stretched(plain, size, form.resample)))
    # A JPEG is decoded at a fraction of its size where that leaves enough pixels.
    image.draft(None, (2 * max(size), 2 * max(size)))
    image.load()
    turned = _upright(image)
    if turned.mode.startswith("I") or turned.mode == "F":
        return _deep(turned, image.format, size, form)
    plain = _over_white(turned) if mode != "RGBA" else turned
    plain = plain.convert(mode or ("L" if plain.mode in ("L", "1") else "RGB"))
    return Pixels(np.asarray(_resized(plain, size, form)))


def _upright(image: Image.Image) -> Image.Image:
    from PIL import ImageOps

    if not 2 <= _orientation(image) <= 8:
        return image
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # EXIF data that can be read in part
        return image


def _over_white(image: Image.Image) -> Image.Image:
    """Without transparency: what is behind the picture is white."""
    from PIL import Image as images

    if image.mode not in _ALPHA and "transparency" not in image.info:
        return image
    grey = image.mode in ("L", "LA", "La")
    layer = image.convert("RGBA")
    white = images.new("RGBA", layer.size, "white")
    return images.alpha_composite(white, layer).convert("L" if grey else "RGB")


def _deep(image: Image.Image, format: str | None, size: tuple[int, int], form: ImageForm) -> Pixels:
    from PIL import Image as images

    values = np.asarray(image).astype(np.float32)
    if not np.isfinite(values).all():
        raise ValueError("holds NaN or infinity")
    bits_16 = image.mode.startswith("I;16") or (image.mode == "I" and format == "PNG")
    made = np.asarray(_resized(images.fromarray(values), size, form))
    return Pixels(made, "16" if bits_16 else "wide", float(values.min()), float(values.max()))


def _resized(image: Image.Image, size: tuple[int, int], form: ImageForm) -> Image.Image:
    """Of `size` or, where the aspect is kept by `pad`, within it."""
    height, width = size
    if form.fit == "stretch":
        return _stretched(image, size, form.resample)
    shares = (height / image.height, width / image.width)
    if form.fit == "pad":
        scale = min(shares)
        inner = [max(1, round(side * scale)) for side in (image.height, image.width)]
        return _stretched(image, (min(inner[0], height), min(inner[1], width)), form.resample)
    scale = max(shares)
    kept_w, kept_h = width / scale, height / scale
    left, top = (image.width - kept_w) / 2, (image.height - kept_h) / 2
    box = (max(0.0, left), max(0.0, top), min(image.width, left + kept_w), 0.0)
    box = (*box[:3], min(image.height, top + kept_h))
    return image.resize((width, height), _filter(form.resample), box)


def _stretched(image: Image.Image, size: tuple[int, int], resample: str) -> Image.Image:
    wanted = (size[1], size[0])
    return image if image.size == wanted else image.resize(wanted, _filter(resample))


def _filter(resample: str) -> Any:
    from PIL import Image as images

    return {"bilinear": images.Resampling.BILINEAR, "bicubic": images.Resampling.BICUBIC}[resample]


def in_mode(image: Image.Image, mode: str) -> Image.Image:
    """An image in another mode as hpo 0.1.0 read it: of 16-bit greys the upper byte."""
    if image.mode.startswith("I"):
        grey = np.asarray(image).astype(np.int64) // _BYTE_OF_16_BITS
        from PIL import Image as images

        image = images.fromarray(grey.clip(0, 255).astype(np.uint8))
    return image.convert(mode)


def range_of(low: float, high: float, kind: str = "wide") -> Range:
    """What becomes 0 and 1 of numbers that lie in low..high.

    `kind` 16: as many bits as the values need.  Else 0..1 as they are, a depth of bits where they
    fill more than half of it, or low..high.
    """
    if kind != "16" and low >= 0 and high <= 1:
        return (0.0, 1.0)
    depth = next((depth for depth in _DEPTHS if high <= depth), None)
    if depth is None or low < 0 or (kind != "16" and 2 * high < depth):
        return (low, high if high > low else low + 1)
    return (0.0, float(depth))


def scaled(pixels: Pixels, form: ImageForm) -> NDArray[np.float32]:
    """[C, H, W] in 0..1, padded with 0."""
    channels, height, width = form.shape
    values = pixels.values
    low, high = (0.0, 255.0)
    if pixels.kind != "8":
        own = (0.0, 65535.0) if pixels.kind == "16" else range_of(pixels.low, pixels.high)
        low, high = form.ranges.get(pixels.kind, own)
    share = (values.astype(np.float32) - np.float32(low)) / np.float32(max(high - low, 1e-12))
    share = share.clip(0.0, 1.0)
    share = share[:, :, None] if share.ndim == 2 else share
    image = np.zeros((channels, height, width), np.float32)
    top, left = (height - share.shape[0]) // 2, (width - share.shape[1]) // 2
    place = image[:, top : top + share.shape[0], left : left + share.shape[1]]
    place[:] = share.transpose(2, 0, 1)
    return image


def channels_first(rows: NDArray[Any]) -> NDArray[Any]:
    """[N, H, W], [N, C, H, W] or, told by its shape, [N, H, W, C] as [N, C, H, W]."""
    if rows.ndim == 3:
        return np.ascontiguousarray(rows)[:, None]
    colours = (1, 3, 4)
    if rows.shape[3] in colours and rows.shape[1] not in colours:
        return np.ascontiguousarray(rows.transpose(0, 3, 1, 2))
    return np.ascontiguousarray(rows)


def number_range(low: float, high: float, kind: str) -> Range:
    """What becomes 0 and 1 of an array's numbers that lie in low..high; 0..1 if none is meant.

    Args:
        kind: NumPy's letter of the array: f floats, i, u or b whole numbers.
    """
    if low < 0 or high <= 1 or high > _DEPTHS[-1]:
        return (0.0, 1.0)
    if kind == "f" and not _DEPTHS[0] / 2 < high <= _DEPTHS[0]:
        return (0.0, 1.0)
    return (0.0, float(next(depth for depth in _DEPTHS if high <= depth)))
