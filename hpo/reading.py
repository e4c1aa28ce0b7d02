"""How a data reference's picture files are read: `imagefolder:PATH?size=48x64&skip_broken=1`.

The options are part of the reference, so that the search, the retraining, `hpo rerun` and `hpo
evaluate` read the same pixels, and studies that read others are different studies.
"""

from __future__ import annotations

import math
import re
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from hpo.errors import SpecError

FITS = ("pad", "crop", "stretch")
PICTURES = ("imagefolder", "captions", "hf")
"""Forms of data that may be picture files."""
_OPTIONS = re.compile(r"\w+=[\w.]+(&\w+=[\w.]+)*")
_SIZE = re.compile(r"(\d{1,5})(?:x(\d{1,5}))?")
_STEP = 8
"""Chosen sides are multiples of it, where the pictures differ in size."""

Size = tuple[int, int]
"""Height, width."""


@dataclass(frozen=True)
class Sides:
    """Sides of images, in pixels, that a model takes.

    Attributes:
        least, most: the model works within these.
        usual: pictures of more than `usual * usual` pixels are made smaller, unless the user
            names a size.
    """

    least: int = 8
    usual: int = 48
    most: int = 512

    def problem(self, size: Size, model: str) -> str:
        """Why a model does not take images of this size; '' if it does."""
        if self.least <= min(size) and max(size) <= self.most:
            return ""
        return (
            f"{size[0]} x {size[1]} pixels: {model} takes images of {self.least} to {self.most} "
            "pixels a side"
        )


@dataclass(frozen=True)
class Reading:
    """Options of a reference.

    Attributes:
        size: of the images; None: chosen by the pictures.
        fit: `pad` keeps the aspect and adds black, `crop` keeps it and cuts, `stretch` does not.
        skip_broken: leave out files that cannot be read, instead of refusing all.
        version: 1: as hpo 0.1.0 read pictures: stretched to one size, not turned upright, deep
            pixels clipped.  Saved models of that time go on so.
    """

    size: Size | None = None
    fit: str = "pad"
    skip_broken: bool = False
    version: int = 2

    def __str__(self) -> str:
        options = []
        if self.size is not None:
            options.append("size=" + size_text(self.size))
        if self.fit != "pad":
            options.append(f"fit={self.fit}")
        if self.skip_broken:
            options.append("skip_broken=1")
        if self.version != 2:
            options.append(f"reading={self.version}")
        return "&".join(options)


@dataclass(frozen=True)
class Look:
    """What a glance at a data set tells.

    Attributes:
        n_train: training rows, about.
        sizes: of some of its pictures; none if it has no picture files.
    """

    n_train: int
    sizes: Sequence[Size] = field(default=())


def size_text(size: Size) -> str:
    """`64` or, height first, `48x64`."""
    return str(size[0]) if size[0] == size[1] else f"{size[0]}x{size[1]}"


def size_of(text: str) -> Size:
    """The inverse of `size_text`.

    Raises:
        SpecError: another form, or 0.
    """
    found = _SIZE.fullmatch(text.strip())
    size = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if min(size) < 1:
        raise SpecError(
            f"image_size: {text!r}: must be a side in pixels, or height and width: 64 or 48x64"
        )
    return size


def reading_of(argument: str) -> tuple[str, Reading | None]:
    """A reference's argument as a path and its options; None if it has none.

    Raises:
        SpecError: an unknown option or value.
    """
    path, mark, text = argument.rpartition("?")
    if not mark or not _OPTIONS.fullmatch(text):
        return argument, None
    reading = Reading()
    for option in text.split("&"):
        name, _, value = option.partition("=")
        if name == "size":
            reading = replace(reading, size=size_of(value))
        elif name == "fit" and value in FITS:
            reading = replace(reading, fit=value)
        elif name == "skip_broken" and value in ("0", "1"):
            reading = replace(reading, skip_broken=value == "1")
        elif name == "reading" and value in ("1", "2"):
            reading = replace(reading, version=int(value))
        else:
            raise SpecError(
                f"data: {option!r} in {argument!r} is unknown: choose from size=64, size=48x64, "
                f"{', '.join(f'fit={fit}' for fit in FITS)}, skip_broken=1"
            )
    return path, reading


def with_reading(reference: str, reading: Reading) -> str:
    """The reference with these options and no others."""
    kind, _, argument = reference.partition(":")
    options = str(reading)
    return f"{kind}:{reading_of(argument)[0]}{'?' if options else ''}{options}"


def as_stored(reference: str, of_version_1: bool = True) -> str:
    """A stored reference as it is written today: without options it is of hpo 0.1.0.

    Args:
        of_version_1: whether a reference without options is of that time.
    """
    kind, _, argument = reference.partition(":")
    if kind not in PICTURES or not of_version_1 or reading_of(argument)[1] is not None:
        return reference
    return with_reading(reference, Reading(version=1))


def fitting_size(sizes: Sequence[Size], sides: Sides) -> Size:
    """The size for pictures of these sizes: theirs, or smaller with about their median aspect."""
    commonest, n = Counter(sizes).most_common(1)[0]
    height, width = (statistics.median(size[k] for size in sizes) for k in (0, 1))
    if 2 * n > len(sizes):
        height, width = commonest
    scale = min(1.0, sides.usual / math.sqrt(height * width))
    alike = 2 * n > len(sizes) and scale == 1.0
    most = min(sides.most, 4 * sides.usual)

    def side(pixels: float) -> int:
        rounded = round(pixels) if alike else _STEP * round(pixels * scale / _STEP)
        return max(sides.least, min(most, rounded))

    return side(height), side(width)
