"""Images that a model makes: reconstructions of images, and new ones from seeds."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpo.errors import InputError
from hpo.inference.inputs import ImageInput, Item, Row, object_schema
from hpo.inference.runtime import Runtime
from hpo.inference.task import Answer, Task

MAX_IMAGES = 256
"""That one item may ask for."""
_CHUNK = 64
_LARGEST_SEED = 2**63 - 1
_PNG = {"type": "string", "contentEncoding": "base64", "contentMediaType": "image/png"}


def png_of(image: NDArray[Any]) -> bytes:
    """An image [C, H, W] in 0..1 as a PNG file; of other than 1 or 3 channels the first."""
    from PIL import Image

    pixels = (image.clip(0, 1) * 255).round().astype(np.uint8)
    pixels = pixels[:3].transpose(1, 2, 0) if len(pixels) >= 3 else pixels[0]
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def _base64(image: NDArray[Any]) -> str:
    return base64.b64encode(png_of(image)).decode()


def read_request(index: int, item: Item) -> tuple[int, int]:
    """Seed and number of `{"seed": 0, "n": 1}`.

    Raises:
        InputError: other fields, or numbers beyond their range.
    """
    if not isinstance(item, Mapping) or set(item) - {"seed", "n"}:
        found = ", ".join(map(str, item)) if isinstance(item, Mapping) else type(item).__name__
        raise InputError(index, f"input: is {found[:80]}: must have the fields seed and n alone")
    seed, n = item.get("seed", 0), item.get("n", 1)
    for name, value, low, high in (("seed", seed, 0, _LARGEST_SEED), ("n", n, 1, MAX_IMAGES)):
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise InputError(index, f"{name}: {str(value)[:40]}: must be an integer {low}..{high}")
    return seed, n


_REQUEST = object_schema(
    [],
    seed={"type": "integer", "minimum": 0, "maximum": _LARGEST_SEED, "default": 0},
    n={"type": "integer", "minimum": 1, "maximum": MAX_IMAGES, "default": 1},
)
_GENERATED = object_schema(["images"], images={"type": "array", "items": _PNG})


def generate(
    run: Runtime, graph: str, latent: int, requests: Sequence[tuple[int, int]]
) -> list[Answer]:
    """{"images": PNGs in base64} for each (seed, n): the same ones for the same seed."""
    noise = [
        np.random.default_rng(seed).standard_normal((n, latent), dtype=np.float32)
        for seed, n in requests
    ]
    joined = np.concatenate(noise)
    images: list[str] = []
    for first in range(0, len(joined), _CHUNK):
        (made,) = run.run(graph, joined[first : first + _CHUNK])
        images += map(_base64, made)
    answers, begin = [], 0
    for _, n in requests:
        answers.append({"images": images[begin : begin + n]})
        begin += n
    return answers


class Generation(Task):
    """Graph `generator`: noise [B, latent] -> images [B, C, H, W] in 0..1."""

    graphs = ("generator",)

    def schema(self) -> dict[str, Any]:
        return {"input": _REQUEST, "answer": _GENERATED}

    def read(self, index: int, item: Item) -> Row:
        return read_request(index, item)

    def answer(self, run: Runtime, rows: Sequence[Row]) -> list[Answer]:
        return generate(run, "generator", self.settings["latent"], rows)


class Reconstruction(Task):
    """Graphs `encoder`: images -> mean codes and log-variances; `decoder`: codes -> images.

    An item is an image, or a seed and a number as for `Generation`.
    """

    graphs = ("encoder", "decoder")

    def __init__(self, settings: Mapping[str, Any], files: Mapping[str, Path]) -> None:
        super().__init__(settings, files)
        self.input = ImageInput(settings)

    def schema(self) -> dict[str, Any]:
        answer = object_schema(["image", "mse"], image=_PNG, mse={"type": "number"})
        return {
            "input": {"anyOf": [self.input.schema, _REQUEST]},
            "answer": {"anyOf": [answer, _GENERATED]},
        }

    def read(self, index: int, item: Item) -> Row:
        made = isinstance(item, Mapping) and bool(item) and not set(item) - {"seed", "n"}
        return read_request(index, item) if made else self.input.read(index, item)

    def answer(self, run: Runtime, rows: Sequence[Row]) -> list[Answer]:
        answers: list[Answer] = [{} for _ in rows]
        seeds = [k for k, row in enumerate(rows) if isinstance(row, tuple)]
        images = [k for k, row in enumerate(rows) if not isinstance(row, tuple)]
        if images:
            given = np.stack([rows[k] for k in images])
            mean, _ = run.run("encoder", given)
            (made,) = run.run("decoder", mean)
            errors = np.square(made - given, dtype=np.float64).reshape(len(given), -1).mean(axis=1)
            for k, image, error in zip(images, made, errors.tolist(), strict=True):
                answers[k] = {"image": _base64(image), "mse": error}
        if seeds:
            latent = self.settings["latent"]
            made_of = generate(run, "decoder", latent, [rows[k] for k in seeds])
            for k, answer in zip(seeds, made_of, strict=True):
                answers[k] = answer
        return answers
