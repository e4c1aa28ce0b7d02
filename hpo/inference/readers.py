"""Items of a request as arrays, within limits: pixels, bytes, lengths, finite numbers."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpo.errors import InputError
from hpo.inference.images import FileRow, ImageForm, Pixels, fitted, open_picture, scaled

MAX_PIXELS = 50_000_000
"""Of an image, before it is decoded: a small file can hold a very large one."""
MAX_BYTES = 64_000_000
"""Of an image's file."""
MAX_CHARACTERS = 100_000
MAX_NUMBERS = 50_000_000
_MOST_DIMENSIONS = 64
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def read_image(index: int, value: Any, form: ImageForm) -> NDArray[np.float32]:
    """An image as the network takes it, [C, H, W].

    Args:
        index: of the item in its request.
        value: a file's bytes, perhaps in base64 (PNG, JPEG, WebP, ...; of an animation the first
            picture), which are read as the training data was, or numbers of the shape as the
            network takes them.
    Raises:
        InputError: no such image, or one beyond the limits.
    """
    if isinstance(value, str):
        value = _from_base64(index, value)
    if isinstance(value, FileRow):
        value = value.scaled(form)
    if not isinstance(value, bytes):
        return read_numbers(index, value, form.shape, "image")
    if len(value) > MAX_BYTES:
        raise InputError(index, f"image: {len(value)} bytes: may hold {MAX_BYTES}: make it smaller")
    if form.shape[0] not in _MODES:
        raise InputError(
            index, f"image: the model takes {form.shape[0]} channels, no picture file: give numbers"
        )
    return scaled(_decode(index, value, form), form)


def _from_base64(index: int, value: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except ValueError:  # of wrong characters or padding
        raise InputError(index, "image: is a text that is no base64: encode the file so") from None


def _decode(index: int, content: bytes, form: ImageForm) -> Pixels:
    from PIL import Image as images
    from PIL import UnidentifiedImageError

    if not content:
        raise InputError(index, "image: is empty: give a PNG, JPEG or WebP file")
    try:
        with open_picture(content) as image:
            n_pixels = image.size[0] * image.size[1]
            if n_pixels > MAX_PIXELS:
                raise InputError(
                    index,
                    f"image: {image.size[0]} x {image.size[1]} pixels: may have "
                    f"{MAX_PIXELS // 10**6} million: make it smaller",
                )
            return fitted(image, form, _MODES[form.shape[0]])
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
