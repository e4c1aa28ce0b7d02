"""`captions:PATH`: one's own pictures with captions, `PATH/captions.csv` with image,caption.

`image` is a file's path within PATH; an image may have several rows.  Split 70/15/15 by image, so
that no picture is in two parts, not even under two names.
"""

from __future__ import annotations

import csv
import re
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hpo.errors import SpecError
from hpo.model import Data
from hpo.reading import Look, reading_of
from hpo_models.datasets.pictures import path_sources, read_pictures, sizes_of

PAD, BEGIN, END, UNKNOWN = range(4)
"""Ids that are no words of a vocabulary."""
SIDE_OF_VERSION_1 = 48
MAX_WORDS = 40
"""Longer captions are cut."""


def load(argument: str, seed: int) -> Data:
    """Options of the argument as in `hpo.reading`.

    Raises:
        SpecError: no captions.csv, a missing column or image, an empty caption, ...
    """
    argument, reading = reading_of(argument)
    rows = _read_table(Path(argument) / "captions.csv", argument)
    names = _names(rows, argument)
    read = read_pictures(
        f"{argument!r}: captions.csv",
        names,
        path_sources(Path(argument) / name for name in names),
        reading,
        "bicubic",
        SIDE_OF_VERSION_1,
    )
    pixels = dict(zip((names[place] for place in read.kept), read.images, strict=True))
    rows = [(name, text) for name, text in rows if name in pixels]
    images = torch.stack([pixels[name] for name, _ in rows])
    # Equal pictures have equal keys, and rows of one key stay together.
    key_of = {name: str(zlib.crc32(picture.numpy().tobytes())) for name, picture in pixels.items()}
    n_images = len(set(key_of.values()))
    if n_images < 3:
        raise SpecError(
            f"data: {argument!r}: captions.csv names {n_images} different images: needs at least "
            "3, for training, validation and test"
        )
    n_held_out = max(1, round(0.15 * n_images))
    parts = split_by_hash([key_of[name] for name, _ in rows], n_held_out, n_held_out, seed)
    data = caption_data(
        f"captions:{argument}", images, [text for _, text in rows], parts, read.info
    )
    files = {
        part: tuple(rows[row][0] for row in of)
        for part, of in zip(("train", "val", "test"), parts, strict=True)
    }
    return replace(data, notes=read.notes, names=files)


def look(argument: str) -> Look:
    """How many training rows there are, and sizes of the pictures."""
    argument, _ = reading_of(argument)
    rows = _read_table(Path(argument) / "captions.csv", argument)
    files = [Path(argument) / name for name in _names(rows, argument)]
    return Look(round(0.7 * len(rows)), sizes_of(path_sources(files)))


def caption_data(
    name: str,
    images: Tensor,
    texts: Sequence[str],
    parts: Sequence[Sequence[int]],
    read: Mapping[str, Any] | None = None,
) -> Data:
    """Images and their texts, split and described.

    The columns are images [N, C, H, W] in 0..1; words [N, T] int64, from BEGIN to END, then PAD;
    letters [N, L] int64, the whole text's code points with a space at either end, then 0.

    Args:
        texts: words with a space between them; at least one word each.
        parts: row numbers of the training, validation and test rows.  The vocabulary is of the
            training rows alone, the most frequent word first; other words are UNKNOWN.
        read: how picture files become images; see `hpo.inference.images.ImageForm`.
    """
    counts = Counter(word for row in parts[0] for word in texts[row].split())
    specials = ["<pad>", "<begin>", "<end>", "<unknown>"]
    vocabulary = specials + sorted(counts, key=lambda word: (-counts[word], word))
    ids = {word: k for k, word in enumerate(vocabulary)}
    words = padded(
        [[BEGIN, *(ids.get(word, UNKNOWN) for word in text.split()), END] for text in texts]
    )
    letters = padded([[ord(letter) for letter in f" {text} "] for text in texts])
    train, val, test = (
        tuple(column[torch.tensor(part)] for column in (images, words, letters)) for part in parts
    )
    info = {
        "shape": list(images.shape[1:]),
        "mean": train[0].mean(dim=(0, 2, 3)).tolist(),
        "std": train[0].std(dim=(0, 2, 3)).clamp_min(1e-6).tolist(),
        "words": vocabulary,
        "max_words": words.shape[1] - 2,
        **({"reading": 2} if read is None else read),
    }
    return Data(name, train, val, test, info)


def texts_of(letters: Tensor) -> list[str]:
    """The texts behind a column of letters [N, L]."""
    return ["".join(map(chr, row[row > 0].tolist())).strip() for row in letters]


def split_by_hash(keys: Sequence[str], n_val: int, n_test: int, seed: int) -> list[list[int]]:
    """Row numbers of training, validation and test, in the order of a hash of their keys.

    Args:
        keys: of the rows; rows with one key come into one part.
        n_val: keys in the validation part.
        n_test: keys in the test part.
    """
    order = sorted(set(keys), key=lambda key: (zlib.crc32(f"{seed} {key}".encode()), key))
    rank = {key: k for k, key in enumerate(order)}
    parts: list[list[int]] = [[], [], []]
    for row in sorted(range(len(keys)), key=lambda row: rank[keys[row]]):
        k = rank[keys[row]]
        parts[2 if k < n_test else 1 if k < n_test + n_val else 0].append(row)
    return parts


def padded(rows: Sequence[Sequence[int]]) -> Tensor:
    """Rows of ids as [N, longest] int64, 0 behind."""
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)


def _read_table(file: Path, argument: str) -> list[tuple[str, str]]:
    """(image, caption) by row; captions in lower case, without punctuation."""
    if not file.is_file():
        raise SpecError(
            f"data: {argument!r}: holds no captions.csv: write one with the columns image,caption"
        )
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines)
            columns = list(reader.fieldnames or ())
            missing = {"image", "caption"} - set(columns)
            rows = [] if missing else list(reader)
    except UnicodeDecodeError:
        raise SpecError(f"data: {argument!r}: captions.csv is not UTF-8: save it so") from None
    except csv.Error as error:
        raise SpecError(
            f"data: {argument!r}: captions.csv is no CSV file ({error}): save it as CSV"
        ) from None
    if missing:
        raise SpecError(
            f"data: {argument!r}: captions.csv lacks the column {', '.join(sorted(missing))} "
            f"(it has {', '.join(columns) or 'none'}): its first line must be "
            "image,caption"
        )
    if not rows:
        raise SpecError(f"data: {argument!r}: captions.csv has no rows: write image,caption rows")
    found = []
    for number, row in enumerate(rows, start=1):
        words = re.findall(r"[\w']+", (row["caption"] or "").lower())[:MAX_WORDS]
        if not words or not row["image"]:
            raise SpecError(
                f"data: {argument!r}: row {number} of captions.csv lacks an image or words: "
                "complete or remove it"
            )
        found.append((row["image"], " ".join(words)))
    return found


def _names(rows: Sequence[tuple[str, str]], argument: str) -> list[str]:
    """The images that the rows name, once each.

    Raises:
        SpecError: some are not there, a line each.
    """
    names = sorted({name for name, _ in rows})
    missing = [name for name in names if not (Path(argument) / name).is_file()]
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise SpecError(
            f"data: {argument!r}: no image {', '.join(map(repr, missing[:5]))}{more}, which "
            "captions.csv names: add the file or remove its rows"
        )
    return names
