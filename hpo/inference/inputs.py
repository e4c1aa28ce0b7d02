"""What a task reads of an item, and rows of it as the arrays of a graph."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hpo.errors import InputError
from hpo.extras import need
from hpo.inference.images import ImageForm
from hpo.inference.readers import read_image, read_numbers, read_text

Item = Mapping[str, Any]
Row = Any
Arrays = tuple[NDArray[Any], ...]
PADDING, UNKNOWN, FIRST = 0, 1, 2
"""Codes of characters: padding, one that the vocabulary lacks, the vocabulary's first."""


class Input(Protocol):
    """One kind of input."""

    schema: dict[str, Any]
    """JSON schema of an item."""

    def read(self, index: int, item: Item) -> Row:
        """Checks an item of a request; raises InputError."""

    def batch(self, rows: Sequence[Row]) -> Arrays:
        """Rows as the inputs of a graph, of a common first dimension."""


def field_of(index: int, item: Any, name: str, others: Sequence[str] = ()) -> Any:
    """A field of an item that has it, and none beside it but `others`.

    Raises:
        InputError: it is missing, or there are more.
    """
    if not isinstance(item, Mapping):
        kind = type(item).__name__
        raise InputError(index, f"input: is {kind}: must be an object with the field {name}")
    unknown = [key for key in item if key != name and key not in others]
    if name not in item or unknown:
        found = ", ".join(map(str, item)) or "nothing"
        raise InputError(index, f"input: has the fields {found[:80]}: must have {name}")
    return item[name]


def object_schema(required: Sequence[str], **properties: Any) -> dict[str, Any]:
    """JSON schema of an object without other properties."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def numbers_schema(shape: Sequence[int], kind: str = "number") -> dict[str, Any]:
    """JSON schema of nested arrays of one shape."""
    schema: dict[str, Any] = {"type": kind}
    for size in reversed(shape):
        schema = {"type": "array", "items": schema, "minItems": size, "maxItems": size}
    return schema


class ImageInput:
    """`{"image": file or numbers}` -> images [B, C, H, W] float32."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.form = ImageForm.of(settings)
        file = {"type": "string", "contentEncoding": "base64"}
        image = {"anyOf": [file, numbers_schema(self.form.shape)]}
        self.schema = object_schema(["image"], image=image)

    def read(self, index: int, item: Item) -> Row:
        return read_image(index, field_of(index, item, "image"), self.form)

    def batch(self, rows: Sequence[Row]) -> Arrays:
        return (np.stack(rows),)


class NumberInput:
    """`{"inputs": nested lists}` -> an array [B, ...] of the model's shape and kind."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.shape: list[int] = list(settings["shape"])
        self.dtype: str = settings.get("dtype", "float32")
        kind = "integer" if np.dtype(self.dtype).kind in "iu" else "number"
        self.schema = object_schema(["inputs"], inputs=numbers_schema(self.shape, kind))

    def read(self, index: int, item: Item) -> Row:
        value = field_of(index, item, "inputs")
        return read_numbers(index, value, self.shape, "inputs", self.dtype)

    def batch(self, rows: Sequence[Row]) -> Arrays:
        return (np.stack(rows),)


def clean(text: str, *, lower: bool, one_space: bool) -> str:
    """A text as the training data has it: composed characters, no space around it.

    Args:
        lower: whether the training data has no upper case.
        one_space: whether it has no white space but single spaces.
    """
    text = unicodedata.normalize("NFC", text)
    if lower:
        text = text.lower()
    return " ".join(text.split()) if one_space else text.strip()


class CharacterInput:
    """`{"text": ...}` -> codes [B, L] int64 of characters, padded with 0 behind."""

    schema = object_schema(["text"], text={"type": "string"})

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.max_length: int = settings["max_length"]
        self.form = {"lower": settings["lower"], "one_space": settings["one_space"]}
        self._codes = {c: code for code, c in enumerate(settings["vocabulary"], start=FIRST)}

    def read(self, index: int, item: Item) -> Row:
        text = clean(read_text(index, field_of(index, item, "text")), **self.form)
        return [self._codes.get(character, UNKNOWN) for character in text[: self.max_length]]

    def batch(self, rows: Sequence[Row]) -> Arrays:
        return (padded(rows, PADDING),)


def padded(rows: Sequence[Sequence[int]], filler: int) -> NDArray[np.int64]:
    """Rows of different lengths as [B, L] with L of at least 1."""
    array = np.full((len(rows), max(1, *map(len, rows))), filler, dtype=np.int64)
    for target, row in zip(array, rows, strict=True):
        target[: len(row)] = row
    return array


class TokenInput:
    """`{"text": ...}` -> token ids and mask [B, T] int64, by the bundle's tokenizer.json."""

    schema = CharacterInput.schema

    def __init__(self, settings: Mapping[str, Any], files: Mapping[str, Path]) -> None:
        need("tokenizers", "input: text", "export")
        from tokenizers import Tokenizer

        self.form = {"lower": settings["lower"], "one_space": settings["one_space"]}
        self.filler: int = settings["filler"]
        self._tokenizer = Tokenizer.from_file(str(files["tokenizer.json"]))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(settings["max_tokens"])

    def read(self, index: int, item: Item) -> Row:
        text = clean(read_text(index, field_of(index, item, "text")), **self.form)
        return list(self._tokenizer.encode(text).ids)

    def batch(self, rows: Sequence[Row]) -> Arrays:
        mask = padded([[1] * len(row) for row in rows], 0)
        return padded(rows, self.filler), mask


def input_of(settings: Mapping[str, Any], files: Mapping[str, Path]) -> Input:
    """The input that a task's settings speak of: `input`: image, characters, tokens, numbers."""
    kind = settings["input"]
    if kind == "image":
        return ImageInput(settings)
    if kind == "characters":
        return CharacterInput(settings)
    if kind == "tokens":
        return TokenInput(settings, files)
    return NumberInput(settings)


def text_form(vocabulary: str) -> dict[str, bool]:
    """Which `clean` leaves texts of these characters as they are."""
    white = [character for character in vocabulary if character.isspace()]
    return {"lower": vocabulary.lower() == vocabulary, "one_space": white in ([], [" "])}
