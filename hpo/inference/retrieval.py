"""Images and texts as vectors of one space, and which of them belong together."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hpo.errors import InputError
from hpo.inference.captioning import BEGIN, END, PAD, UNKNOWN
from hpo.inference.inputs import ImageInput, Item, Row, object_schema, padded
from hpo.inference.readers import read_text
from hpo.inference.runtime import Array, Runtime
from hpo.inference.task import Answer, Task

MAX_WORDS = 40
"""Longer texts are cut, as those of training are."""
_NUMBER = {"type": "number"}
_VECTOR = {"type": "array", "items": _NUMBER}


class Retrieval(Task):
    """Graphs `images`: images -> unit vectors; `texts`: words, letters -> unit vectors.

    An item is an image, a text, or both; the score of an image and a text is their cosine.
    """

    graphs = ("images", "texts")

    def __init__(self, settings: Mapping[str, Any], files: Mapping[str, Path]) -> None:
        super().__init__(settings, files)
        self.input = ImageInput(settings)
        self._ids = {word: k for k, word in enumerate(settings["words"])}

    def schema(self) -> dict[str, Any]:
        image, text = self.input.schema["properties"]["image"], {"type": "string"}
        kinds = [
            object_schema(["image"], image=image),
            object_schema(["text"], text=text),
            object_schema(["image", "text"], image=image, text=text),
        ]
        pair = object_schema(["item", "score"], item={"type": "integer"}, score=_NUMBER)
        one = object_schema(
            ["vector"],
            vector=_VECTOR,
            scores={"type": "array", "items": pair},
        )
        both = object_schema(
            ["image_vector", "text_vector", "score"],
            image_vector=_VECTOR,
            text_vector=_VECTOR,
            score=_NUMBER,
        )
        return {"input": {"anyOf": kinds}, "answer": {"anyOf": [one, both]}}

    def read(self, index: int, item: Item) -> Row:
        """(image or None, (words, letters) or None)."""
        fields = set(item) if isinstance(item, Mapping) else set()
        if not fields or fields - {"image", "text"}:
            raise InputError(index, "input: must have the field image, text or both, and no other")
        image = self.input.read(index, {"image": item["image"]}) if "image" in item else None
        text = self._read_text(index, item["text"]) if "text" in item else None
        return image, text

    def _read_text(self, index: int, value: Any) -> tuple[list[int], list[int]]:
        found = re.findall(r"[\w']+", read_text(index, value).lower())[:MAX_WORDS]
        if not found:
            raise InputError(index, "text: holds no word: write one")
        words = [BEGIN, *(self._ids.get(word, UNKNOWN) for word in found), END]
        return words, [ord(letter) for letter in f" {' '.join(found)} "]

    def answer(self, run: Runtime, rows: Sequence[Row]) -> list[Answer]:
        images = [k for k, (image, _) in enumerate(rows) if image is not None]
        texts = [k for k, (_, text) in enumerate(rows) if text is not None]
        of_images: dict[int, Array] = {}
        of_texts: dict[int, Array] = {}
        if images:
            (vectors,) = run.run("images", *self.input.batch([rows[k][0] for k in images]))
            of_images = dict(zip(images, vectors, strict=True))
        if texts:
            columns = (padded([rows[k][1][side] for k in texts], PAD) for side in (0, 1))
            (vectors,) = run.run("texts", *columns)
            of_texts = dict(zip(texts, vectors, strict=True))
        return [_answer(of_images.get(k), of_texts.get(k)) for k in range(len(rows))]

    def relate(self, items: Sequence[Item], answers: list[Answer]) -> list[Answer]:
        """Each image's scores with the request's texts, and each text's with its images.

        `scores` holds {"item": place in the request, "score"}, the best first.
        """
        single = [k for k, answer in enumerate(answers) if "vector" in answer]
        images = [k for k in single if "image" in items[k]]
        texts = [k for k in single if "text" in items[k]]
        if not images or not texts:
            return answers
        a, b = (np.array([answers[k]["vector"] for k in kind]) for kind in (images, texts))
        table = a @ b.T
        for kind, others, scores in ((images, texts, table), (texts, images, table.T)):
            for k, row in zip(kind, scores.tolist(), strict=True):
                pairs = [{"item": o, "score": s} for o, s in zip(others, row, strict=True)]
                answers[k]["scores"] = sorted(pairs, key=lambda pair: -pair["score"])
        return answers


def _answer(image: Array | None, text: Array | None) -> Answer:
    if image is not None and text is not None:
        vectors = {"image_vector": image.tolist(), "text_vector": text.tolist()}
        return {**vectors, "score": float(image @ text)}
    found = image if image is not None else text
    assert found is not None
    return {"vector": found.tolist()}
