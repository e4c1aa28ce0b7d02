"""`hf:ID`, `hf:ID:CONFIG`, `hf:FOLDER`: a data set of the Hugging Face hub, or one's own folder.

Texts or images with a label.  Its own validation and test splits are taken where it has them with
labels, or else made of its training rows, 15 % each by class.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from hpo.errors import SpecError
from hpo.extras import need
from hpo.model import Data
from hpo.reading import Look, Reading, reading_of
from hpo_models.datasets.csv_texts import MAX_LENGTH
from hpo_models.datasets.pictures import Source, read_pictures, sizes_of
from hpo_models.datasets.split import image_info, stratified_split, text_data

_VALIDATION = ("validation", "valid", "val", "dev")
_LABELS = ("label", "labels", "target", "class", "intent", "topic")
_TEXTS = ("text", "sentence", "content", "question", "utterance", "review")
_HELD_OUT = 0.15

Rows = tuple[list[Any], list[str]]
"""Texts or pictures, and the names of their classes."""


def load(argument: str, seed: int) -> Data:
    """Codes [N, L] of texts or images [N, C, H, W], and targets [N].

    Raises:
        SpecError: it cannot be read, or has no labelled column of texts or images.
    """
    argument, reading = reading_of(argument)
    splits = _read(argument)
    train = splits.get("train") or next(iter(splits.values()))
    inputs, labels = _columns(argument, train.features)
    is_image = type(train.features[inputs]).__name__ == "Image"
    found = [_rows(train, inputs, labels)]
    for names in (_VALIDATION, ("test",)):
        own = next((splits[name] for name in names if name in splits), None)
        found.append(
            _rows(own, inputs, labels) if own is not None and own is not train else ([], [])
        )
    if not is_image:  # what is validated or tested on is not trained on
        held_out = {*found[1][0], *found[2][0]}
        kept = [k for k, text in enumerate(found[0][0]) if text not in held_out]
        found[0] = _part(found[0], kept)
    parts = _split(argument, found, seed)
    class_names = sorted({name for _, names in parts for name in names})
    for name in class_names:
        if name not in parts[0][1]:
            raise SpecError(
                f"data: 'hf:{argument}': no training row is of class {name!r}: take another set"
            )
    targets = [[class_names.index(name) for name in names] for _, names in parts]
    if not is_image:
        rows = [(part[0], of) for part, of in zip(parts, targets, strict=True)]
        return text_data(f"hf:{argument}", rows, class_names, MAX_LENGTH)
    # Without options a reference is of hpo 0.1.0; see `look`.
    reading = reading or Reading(version=1)
    sources = [source for of, _ in parts for source in of]
    shown = [f"image {k}" for k in range(len(sources))]
    read = read_pictures(f"'hf:{argument}'", shown, sources, reading)
    labels_kept = torch.tensor([label for of in targets for label in of])[read.kept]
    ends = torch.tensor([len(of) for of, _ in parts]).cumsum(0)
    part_of = torch.bucketize(torch.tensor(read.kept), ends, right=True)
    train_x, val_x, test_x = (read.images[part_of == k] for k in range(3))
    train_y, val_y, test_y = (labels_kept[part_of == k] for k in range(3))
    info = image_info(train_x, class_names, read.info)
    splits_read = ((train_x, train_y), (val_x, val_y), (test_x, test_y))
    return Data(f"hf:{argument}", *splits_read, info, notes=read.notes)


def look(argument: str) -> Look:
    """How many training rows there are, and sizes of pictures."""
    splits = _read(reading_of(argument)[0])
    train = splits.get("train") or next(iter(splits.values()))
    inputs, _ = _columns(argument, train.features)
    n_own = sum(any(name in splits for name in names) for names in (_VALIDATION, ("test",)))
    n_train = round(len(train) * (1 - _HELD_OUT * (2 - n_own)))
    if type(train.features[inputs]).__name__ != "Image":
        return Look(n_train)
    return Look(n_train, sizes_of([one for one in _sources(train, inputs) if one is not None]))


def _sources(split: Any, column: str) -> list[Source | None]:
    """The pictures of a column, each read only when it is wanted; None where there is none."""
    import datasets

    raw = split.cast_column(column, datasets.Image(decode=False))

    def source(k: int) -> Path | bytes:
        cell = raw[k][column]
        content: bytes | None = cell["bytes"]
        return content if content is not None else Path(cell["path"])

    empty = raw.data.column(column).is_null().to_pylist()
    return [None if empty[k] else lambda k=k: source(k) for k in range(len(split))]  # type: ignore[misc]


def _read(argument: str) -> dict[str, Any]:
    """The splits by name."""
    need("datasets", "data: hf", "hf")
    import datasets
    from huggingface_hub.utils import logging

    datasets.disable_progress_bars()
    logging.set_verbosity_error()
    identifier, _, config = (
        (argument, "", "") if Path(argument).exists() else argument.partition(":")
    )
    try:
        return dict(datasets.load_dataset(identifier, config or None))
    except Exception as error:  # of many kinds, from network, parsers and file formats
        reason = f"{type(error).__name__}: {error}".strip().partition("\n")[0][:200]
        raise SpecError(
            f"data: 'hf:{argument}' cannot be read ({reason}): check the id and the network, or "
            "name a folder of csv, json, parquet or image files"
        ) from None


def _columns(argument: str, features: Any) -> tuple[str, str]:
    """The columns of the inputs and of the labels."""
    kinds = {name: type(feature).__name__ for name, feature in features.items()}
    classes = [name for name, kind in kinds.items() if kind == "ClassLabel"]
    labels = next((name for name in (*_LABELS, *classes) if name in kinds), None)
    images = [name for name, kind in kinds.items() if kind == "Image"]
    texts = [n for n in features if n != labels and getattr(features[n], "dtype", "") == "string"]
    inputs = next((n for n in (*images, *_TEXTS, *texts) if n in kinds and n != labels), None)
    if labels is None or inputs is None:
        missing = "label" if labels is None else "text or image"
        raise SpecError(
            f"data: 'hf:{argument}' has no {missing} column, only {', '.join(kinds)}: rename one "
            "to text and label, or save it as csv:"
        )
    return inputs, labels


def _rows(split: Any, inputs: str, labels: str) -> Rows:
    """Inputs and class names of the rows that have both; equal texts once."""
    feature = split.features[labels]
    is_image = type(split.features[inputs]).__name__ == "Image"
    values = _sources(split, inputs) if is_image else split[inputs]
    targets = split[labels]
    seen: set[str] = set()
    found: Rows = ([], [])
    for value, target in zip(values, targets, strict=True):
        if value is None or target is None or (isinstance(target, int) and target < 0):
            continue
        if isinstance(value, str):
            value = " ".join(value.split())
            if not value or value in seen:
                continue
            seen.add(value)
        found[0].append(value)
        named = hasattr(feature, "int2str")
        found[1].append(feature.int2str(target) if named else str(target))
    return found


def _part(rows: Rows, chosen: Sequence[int]) -> Rows:
    return [rows[0][k] for k in chosen], [rows[1][k] for k in chosen]


def _split(argument: str, found: list[Rows], seed: int) -> list[Rows]:
    """Training, validation and test rows, the missing ones taken from the training rows."""
    names = sorted(set(found[0][1]))
    if len(names) < 2:
        raise SpecError(
            f"data: 'hf:{argument}' has {len(names)} different labels in its training rows: a "
            "classifier needs at least 2"
        )
    missing = [k for k in (1, 2) if not found[k][0]]
    if not missing:
        return found
    shares = (1 - _HELD_OUT * len(missing), *(_HELD_OUT for _ in missing))
    targets = torch.tensor([names.index(name) for name in found[0][1]])
    train, *others = (part.tolist() for part in stratified_split(targets, shares, seed))
    parts = [_part(found[0], train), found[1], found[2]]
    for k, chosen in zip(missing, others, strict=True):
        parts[k] = _part(found[0], chosen)
    return parts
