"""Rows of other data, made like those that a network was trained on: by its classes, sizes, codes.

What a network was told of its training data (`Data.info`) is all that it takes: numbers are
normalised by the training rows' statistics inside of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from hpo.errors import SpecError
from hpo.model import Split
from hpo_models.datasets.captions import BEGIN, END, UNKNOWN, padded, texts_of
from hpo_models.text import UNKNOWN as UNKNOWN_CHARACTER
from hpo_models.text import decode, encode

Info = Mapping[str, Any]
_GREY = (0.299, 0.587, 0.114)
"""What red, green and blue add to grey, as Pillow has it (ITU-R 601)."""
_FAR = 10.0
"""Deviations between two means that no other data explains, but another scale."""


def as_trained(split: Split, info: Info, trained: Info, by_class: bool) -> tuple[Split, list[str]]:
    """The split as a network takes it that was trained on rows described by `trained`.

    Args:
        split: rows that `info` describes.
        by_class: whether a class that the network does not know is refused; else all targets are
            left out then.
    Returns:
        The rows, and what was changed, a sentence each.
    Raises:
        SpecError: they are of another kind, scale or shape, or of unknown classes.
    """
    notes: list[str] = []
    if "words" in trained:
        if "words" not in info:
            raise SpecError(
                "data: has no captions, which the network was trained on: see captions:"
            )
        words, more = _words(split[2], trained)
        return (_images(split[0], trained, notes), words, split[2]), notes + more
    if "vocabulary" in trained:
        columns = _codes(split, info, trained, notes)
    elif "shape" in trained:
        columns = (_images(split[0], trained, notes), *split[1:])
    else:
        columns = split
    if len(columns) > 1:
        targets = _targets(columns[1], info, trained, by_class)
        if targets is None:
            notes.append("Some of its classes are unknown to the network: they were left out.")
            return columns[:1], notes
        columns = (columns[0], targets, *columns[2:])
    return columns, notes


def texts(split: Split, info: Info) -> list[str] | None:
    """The rows' texts, where they hold one: captions, or the characters of the first column."""
    if "words" in info and len(split) == 3:
        return texts_of(split[2])
    vocabulary = info.get("vocabulary")
    if isinstance(vocabulary, str) and split[0].dtype == torch.int64 and split[0].dim() == 2:
        return decode(split[0], vocabulary)
    return None


def _targets(targets: Tensor, info: Info, trained: Info, by_class: bool) -> Tensor | None:
    """By the names of the classes; None if one is unknown and need not be known."""
    known, names = _class_names(trained), _class_names(info)
    if not known:
        return targets
    occur = torch.unique(targets).tolist()
    unknown = [names[k] if k < len(names) else str(k) for k in occur]
    unknown = [name for name in unknown if name not in known]
    if unknown and by_class:
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        raise SpecError(
            f"data: classes {', '.join(map(repr, unknown[:5]))}{more} are unknown to the network, "
            f"which knows {_listed(known)}: rename them, or leave out their rows"
        )
    if unknown:
        return None
    place = torch.zeros(max(occur, default=0) + 1, dtype=torch.int64)
    for k in occur:
        place[k] = known.index(names[k])
    return place[targets]


def _class_names(info: Info) -> list[str]:
    return [str(name) for name in info.get("class_names") or range(int(info.get("n_classes", 0)))]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _images(images: Tensor, trained: Info, notes: list[str]) -> Tensor:
    """Of the shape that the network takes: grey or in colour, resized."""
    channels, height, width = trained["shape"]
    if images.dim() != 4 or not images.dtype.is_floating_point:
        raise SpecError(f"data: has no images, and the network takes {channels}x{height}x{width}")
    was = "x".join(map(str, images.shape[1:]))
    if images.shape[1] == 1:
        images = images.expand(-1, channels, -1, -1)
    elif images.shape[1] == 3 and channels == 1:
        weights = torch.tensor(_GREY).view(1, 3, 1, 1)
        images = (images * weights).sum(dim=1, keepdim=True)
    elif images.shape[1] != channels:
        raise SpecError(
            f"data: images have {images.shape[1]} channels, and the network takes {channels}: "
            "give them as many"
        )
    if tuple(images.shape[2:]) != (height, width):
        images = functional.interpolate(
            images, (height, width), mode="bilinear", antialias=True, align_corners=False
        )
    now = f"{channels}x{height}x{width}"
    if now != was:
        notes.append(f"Images were made {now} of {was}, channels by height by width.")
    statistics = zip(trained.get("mean", ()), trained.get("std", ()), strict=True)
    for k, (mean, std) in enumerate(statistics):
        found = float(images[:, k].mean())
        if abs(found - mean) > _FAR * max(std, 1e-3):
            raise SpecError(
                f"data: pixels have a mean of {found:.3g}, and the training rows {mean:.3g} ± "
                f"{std:.3g}: scale them alike"
            )
    return images.contiguous()


def _codes(split: Split, info: Info, trained: Info, notes: list[str]) -> Split:
    """Columns of characters, encoded with the network's own vocabulary."""
    if texts(split[:1], info) is None:
        raise SpecError("data: has no texts, which the network was trained on")
    vocabulary, longest = trained["vocabulary"], trained["max_length"]
    read = [decode(column, info["vocabulary"]) if column.dim() == 2 else None for column in split]
    columns = tuple(
        column if found is None else encode(found, vocabulary, longest)
        for column, found in zip(split, read, strict=True)
    )
    first = read[0] or []
    n_cut = sum(len(text) > longest for text in first)
    if n_cut:
        notes.append(f"{n_cut} texts were cut to {longest} characters, which the network takes.")
    real = columns[0] > 0
    unknown = float((columns[0] == UNKNOWN_CHARACTER).sum() / real.sum().clamp_min(1))
    if unknown:
        notes.append(f"{unknown:.1%} of the characters are in no training text, and so unknown.")
    return columns


def _words(letters: Tensor, trained: Info) -> tuple[Tensor, list[str]]:
    """Ids of captions' words in the network's own vocabulary, and what is said of it."""
    ids = {word: k for k, word in enumerate(trained["words"])}
    captions = [text.split() for text in texts_of(letters)]
    most = trained["max_words"]
    rows = [
        [BEGIN, *(ids.get(word, UNKNOWN) for word in caption[:most]), END] for caption in captions
    ]
    said = [word for caption in captions for word in caption]
    unknown = sum(word not in ids for word in said) / max(1, len(said))
    notes = [f"{unknown:.1%} of the words are in no training caption."] if unknown else []
    n_cut = sum(len(caption) > most for caption in captions)
    if n_cut:
        notes.append(f"Captions whose loss is of their first {most} words alone: {n_cut}.")
    return padded(rows), notes
