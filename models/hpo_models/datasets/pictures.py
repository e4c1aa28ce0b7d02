"""A user's picture files as one tensor: which can be read, at which size; one file at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hpo.errors import SpecError
from hpo.inference.images import (
    ImageForm,
    Pixels,
    Range,
    fitted,
    open_picture,
    range_of,
    scaled,
    upright_size,
)
from hpo.reading import Reading, Sides, Size, fitting_size, size_text

N_LOOKED_AT = 400
"""Pictures whose sizes decide on the size of all."""
SIDE_OF_VERSION_1 = 32
_MOST_NAMED = 40
"""Broken files that are named one by one."""

Source = Callable[[], Path | bytes]


@dataclass(frozen=True)
class Pictures:
    """Pictures that could be read.

    Attributes:
        images: [N, C, H, W] float32 in 0..1; one channel if all pictures are grey.
        kept: their places among the files that were given.
        form: how they were read; what `Data.info` holds of it is `info`.
        notes: what a reader has to know.
    """

    images: Tensor
    kept: list[int]
    form: ImageForm
    notes: tuple[str, ...] = ()

    @property
    def info(self) -> dict[str, Any]:
        """For `Data.info`, so that a saved model reads its inputs the same way."""
        if self.form.version == 1:
            return {}
        ranges = {kind: list(ends) for kind, ends in self.form.ranges.items()}
        more = {"ranges": ranges} if ranges else {}
        return {"reading": 2, "fit": self.form.fit, **more}


def read_pictures(
    where: str,
    names: Sequence[str],
    sources: Iterable[Source],
    reading: Reading | None,
    resample: str = "bilinear",
    side_of_version_1: int = SIDE_OF_VERSION_1,
) -> Pictures:
    """Reads pictures one by one, keeping no more of each than its share of the tensor.

    Args:
        where: the data, as a message names it.
        names: of the pictures.
        sources: their files, in the same order.
        reading: None: at the size that fits the pictures.
    Raises:
        SpecError: some cannot be read, a line each; or all of them come out alike.
    """
    reading = reading or Reading()
    opened = list(sources)
    size = reading.size or _size_for(opened, reading, side_of_version_1)
    fit = reading.fit if reading.version == 2 else "stretch"
    form = ImageForm((0, *size), resample, fit, reading.version)
    read: list[Pixels] = []
    kept, broken = [], []
    for place, (name, source) in enumerate(zip(names, opened, strict=True)):
        try:
            with open_picture(source()) as image:
                read.append(fitted(image, form))
        except Exception as error:  # decoders raise of every kind on broken files
            broken.append((name, _reason(error)))
        else:
            kept.append(place)
    if broken and not (reading.skip_broken and read):
        raise SpecError(_broken_lines(where, broken, len(opened)))
    n_channels = 1 if all(pixels.grey for pixels in read) else 3
    form = replace(form, shape=(n_channels, *size), ranges=_ranges(read))
    images = torch.empty((len(read), n_channels, *size))
    for row, pixels in zip(images, read, strict=True):
        row.copy_(torch.from_numpy(scaled(pixels, form)))
    _check_different(where, images, [opened[place] for place in kept])
    notes = [_size_note(form)]
    if broken:
        shown = ", ".join(name for name, _ in broken[:3]) + (", ..." if len(broken) > 3 else "")
        notes.append(f"Skips {len(broken)} unreadable file{'s' * (len(broken) != 1)}: {shown}.")
    return Pictures(images, kept, form, tuple(notes))


def sizes_of(sources: Sequence[Source]) -> list[Size]:
    """Sizes of some of the pictures, evenly chosen, by their headers; broken files are left out."""
    found = []
    for k in np.linspace(0, len(sources) - 1, min(N_LOOKED_AT, len(sources))).astype(int):
        try:
            with open_picture(sources[k]()) as image:
                found.append(upright_size(image))
        except Exception:  # it is told of when all are read
            continue
    return found


def _size_for(sources: Sequence[Source], reading: Reading, side_of_version_1: int) -> Size:
    if reading.version == 1:
        return (side_of_version_1, side_of_version_1)
    sizes = sizes_of(sources)
    return fitting_size(sizes, Sides()) if sizes else (SIDE_OF_VERSION_1, SIDE_OF_VERSION_1)


def _reason(error: Exception) -> str:
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "is not a recognised image file"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).partition("\n")[0][:120] or type(error).__name__


def _broken_lines(where: str, broken: Sequence[tuple[str, str]], n: int) -> list[str]:
    lines = [f"data: {name!r} cannot be read: {reason}" for name, reason in broken[:_MOST_NAMED]]
    more = len(broken) - _MOST_NAMED
    if more > 0:
        lines.append(f"data: and {more} more")
    summary = (
        f"data: {where}: {len(broken)} of {n} pictures cannot be read: repair or remove them, or "
        "leave them out with --skip-broken"
    )
    return [*lines, summary]


def _ranges(read: Sequence[Pixels]) -> Mapping[str, Range]:
    """Of deep pixels, by kind: what all pictures lie in."""
    ranges = {}
    for kind in {pixels.kind for pixels in read} - {"8"}:
        ends = [(pixels.low, pixels.high) for pixels in read if pixels.kind == kind]
        lows, highs = zip(*ends, strict=True)
        ranges[kind] = range_of(min(lows), max(highs), kind)
    return ranges


def _check_different(where: str, images: Tensor, sources: Sequence[Source]) -> None:
    """Raises SpecError: different files that all come out as one picture."""
    if len(images) < 2 or any(not torch.equal(image, images[0]) for image in images):
        return
    contents = (_content(source()) for source in sources)
    first = next(contents)
    if any(content != first for content in contents):
        raise SpecError(
            f"data: {where}: all {len(images)} pictures come out alike, though their files "
            "differ: look at them, or convert them to 8-bit PNG"
        )


def _content(source: Path | bytes) -> bytes:
    return source if isinstance(source, bytes) else source.read_bytes()


def _size_note(form: ImageForm) -> str:
    channels, height, width = form.shape
    how = {
        "pad": "aspect kept, padded with black",
        "crop": "aspect kept, cropped",
        "stretch": "stretched",
    }[form.fit]
    colour = "grey" if channels == 1 else "in colour"
    deep = "".join(
        f"; {'16-bit' if kind == '16' else 'deep'} pixels: {low:g}..{high:g} becomes 0..1"
        for kind, (low, high) in sorted(form.ranges.items())
    )
    text = size_text((height, width))
    side = f"{text}x{text}" if "x" not in text else text
    return f"Pictures are read at {side} pixels (height x width), {colour}, {how}{deep}."


def unread_note(endings: Counter[str]) -> tuple[str, ...]:
    """One line for files that are passed over, by their endings."""
    if not endings:
        return ()
    parts = ", ".join(f"{n} {ending or 'without ending'}" for ending, n in endings.most_common(6))
    others = sum(n for _, n in endings.most_common()[6:])
    more = f", {others} others" if others else ""
    return (f"Passed over, no picture files that can be read here: {parts}{more}.",)


def path_sources(paths: Iterable[Path]) -> list[Source]:
    """Files, each opened only when it is wanted."""
    return [lambda path=path: path for path in paths]  # type: ignore[misc]
