"""Items of a request as arrays, within limits: pixels, bytes, lengths, finite numbers."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hpo.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

MAX_PIXELS = 50_000_000
"""Of an image, before it is decoded: a small file can hold a very large one."""
MAX_BYTES = 64_000_000
"""Of an image's file."""
MAX_CHARACTERS = 100_000
MAX_NUMBERS = 50_000_000
_MOST_DIMENSIONS = 64
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_BYTE_OF_16_BITS = 256


def in_mode(image: Image.Image, mode: str) -> Image.Image:
    """An image in another mode; its 16-bit greys are scaled, where Pillow alone clips them."""
    if image.mode.startswith("I"):
        grey = np.asarray(image).astype(np.int64) // _BYTE_OF_16_BITS
        from PIL import Image as images

        image = images.fromarray(grey.clip(0, 255).astype(np.uint8))
    return image.convert(mode)


def read_image(
    index: int, value: Any, shape: Sequence[int], resample: str = "bilinear"
) -> NDArray[np.float32]:
    """An image as the network takes it, [C, H, W].

    Args:
        index: of the item in its request.
        value: a file's bytes, perhaps in base64 (PNG, JPEG, WebP, ...; of an animation the first
            picture), which are resized and scaled to 0..1, or numbers of the shape as the network
            takes them.
        shape: C, H, W.
        resample: bilinear or bicubic, as the training data was.
    Raises:
        InputError: no such image, or one beyond the limits.
    """
    if isinstance(value, str):
        value = _from_base64(index, value)
    if not isinstance(value, bytes):
        return read_numbers(index, value, shape, "image")
    if len(value) > MAX_BYTES:
        raise InputError(index, f"image: {len(value)} bytes: may hold {MAX_BYTES}: make it smaller")
    if shape[0] not in _MODES:
        raise InputError(
            index, f"image: the model takes {shape[0]} channels, no picture file: give numbers"
        )
    image = _decode(index, value)
    pixels = np.asarray(_resized(in_mode(image, _MODES[shape[0]]), shape, resample))
    return (pixels.reshape(*shape[1:], shape[0]).transpose(2, 0, 1) / 255).astype(np.float32)


def _from_base64(index: int, value: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except ValueError:  # of wrong characters or padding
        raise InputError(index, "image: is a text that is no base64: encode the file so") from None


def _resized(image: Image.Image, shape: Sequence[int], resample: str) -> Image.Image:
    from PIL import Image as images

    filters = {"bilinear": images.Resampling.BILINEAR, "bicubic": images.Resampling.BICUBIC}
    size = (shape[2], shape[1])
    return image if image.size == size else image.resize(size, filters[resample])


def _decode(index: int, content: bytes) -> Image.Image:
    import warnings

    from PIL import Image as images
    from PIL import UnidentifiedImageError

    if not content:
        raise InputError(index, "image: is empty: give a PNG, JPEG or WebP file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the limit here is its own
            image = images.open(io.BytesIO(content))
            n_pixels = image.size[0] * image.size[1]
            if n_pixels > MAX_PIXELS:
                raise InputError(
                    index,
                    f"image: {image.size[0]} x {image.size[1]} pixels: may have "
                    f"{MAX_PIXELS // 10**6} million: make it smaller",
                )
            image.load()
    except InputError:
        raise
    except Exception as error:  # decoders raise of every kind on broken files
        reason = str(error).partition("\n")[0].replace("<_io.BytesIO object at ", "<")[:120]
        if isinstance(error, UnidentifiedImageError):
            reason = "no format that is known"
        if isinstance(error, images.DecompressionBombError):  # Pillow's own limit, on opening
            reason = f"more than {MAX_PIXELS // 10**6} million pixels"
        raise InputError(
            index, f"image: cannot be decoded ({reason}): give a whole PNG, JPEG or WebP file"
        ) from None
    return image


def read_numbers(
    index: int, value: Any, shape: Sequence[int], name: str, dtype: str = "float32"
) -> NDArray[Any]:
    """Nested lists as an array of the shape.

    Raises:
        InputError: other things than numbers, another shape, NaN or infinity.
    """
    expected = f"must be numbers of shape {list(shape)}"
    if isinstance(value, list) and (outline := _outline(value)) != list(shape):
        raise InputError(index, f"{name}: has the shape {outline}: {expected}")
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError):
        raise InputError(index, f"{name}: is ragged: {expected}") from None
    if array.size > MAX_NUMBERS or array.dtype.kind not in "fiub":
        found = type(value).__name__ if array.ndim == 0 else f"a list of {array.dtype.name}"
        raise InputError(index, f"{name}: is {found}: {expected}")
    if list(array.shape) != list(shape):
        raise InputError(index, f"{name}: has the shape {list(array.shape)}: {expected}")
    with np.errstate(over="ignore"):
        cast = array.astype(dtype)
    if not np.isfinite(cast.astype(np.float64)).all():
        raise InputError(
            index, f"{name}: holds NaN, infinity or what {dtype} cannot hold: {expected}"
        )
    if np.dtype(dtype).kind in "iu" and not (cast == array).all():
        raise InputError(index, f"{name}: holds fractions: {expected}, whole ones")
    return cast


def _outline(value: Any) -> list[int]:
    """The shape of nested lists by the first of each: millions of wrong ones cost nothing so."""
    sizes: list[int] = []
    while isinstance(value, list) and len(sizes) <= _MOST_DIMENSIONS:
        sizes.append(len(value))
        value = value[0] if value else None
    return sizes


def read_text(index: int, value: Any) -> str:
    """A text of a sane length.

    Raises:
        InputError: no text, or too long.
    """
    if not isinstance(value, str):
        raise InputError(index, f"text: is {type(value).__name__}: must be a text")
    if len(value) > MAX_CHARACTERS:
        raise InputError(
            index, f"text: {len(value)} characters: may have {MAX_CHARACTERS}: shorten it"
        )
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise InputError(index, "text: holds half a character (a lone surrogate): write it whole")
    return value
