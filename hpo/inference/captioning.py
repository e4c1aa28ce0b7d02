"""Captions of images, by beam search over an exported decoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpo.inference.inputs import ImageInput, Item, Row, object_schema
from hpo.inference.runtime import Runtime
from hpo.inference.task import Answer, Task

PAD, BEGIN, END, UNKNOWN = range(4)
"""Ids that are no words of a vocabulary."""


class Captioning(Task):
    """Graphs `encoder`: images -> features; `decoder`: words [B, T], features -> logits [B, n]."""

    graphs = ("encoder", "decoder")

    def __init__(self, settings: Mapping[str, Any], files: Mapping[str, Path]) -> None:
        super().__init__(settings, files)
        self.input = ImageInput(settings)
        self.words: list[str] = list(settings["words"])
        self.max_words, self.beam = int(settings["max_words"]), int(settings["beam"])

    def schema(self) -> dict[str, Any]:
        answer = object_schema(
            ["caption", "score"], caption={"type": "string"}, score={"type": "number"}
        )
        return {"input": self.input.schema, "answer": answer}

    def read(self, index: int, item: Item) -> Row:
        return self.input.read(index, item)

    def answer(self, run: Runtime, rows: Sequence[Row]) -> list[Answer]:
        """{"caption", "score": mean log probability of its words}."""
        (features,) = run.run("encoder", *self.input.batch(rows))
        words, scores = beam_search(run, features, self.beam, self.max_words)
        texts = [" ".join(self.words[k] for k in row if k > UNKNOWN) for row in words.tolist()]
        return [
            {"caption": text, "score": score}
            for text, score in zip(texts, scores.tolist(), strict=True)
        ]


def beam_search(
    run: Runtime, features: NDArray[Any], beam: int, max_words: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The best captions by mean log probability of their words, as the training evaluates them.

    Args:
        features: [B, P, width], of the images.
        beam: captions that are followed at a time; 1: always the likeliest word.
    Returns:
        Words [B, T] from BEGIN to END, then PAD, and their scores [B].
    """
    n = len(features)
    words = np.full((n, 1, 1), BEGIN, dtype=np.int64)
    scores = np.zeros((n, 1), dtype=np.float32)
    for _ in range(max_words + 1):
        n_beams = words.shape[1]
        flat = words.reshape(n * n_beams, -1)
        (logits,) = run.run("decoder", flat, features.repeat(n_beams, axis=0))
        gains = _log_softmax(logits).reshape(n, n_beams, -1)
        ended = (words[:, :, -1:] == END) | (words[:, :, -1:] == PAD)
        only_pad = np.full_like(gains[0, 0], -np.inf)
        only_pad[PAD] = 0.0
        totals = (scores[:, :, None] + np.where(ended, only_pad, gains)).reshape(n, -1)
        n_words = gains.shape[2]
        kept = min(beam, n_words)
        best = np.argsort(-totals, axis=1, kind="stable")[:, :kept]
        scores = np.take_along_axis(totals, best, axis=1)
        before = np.take_along_axis(words, (best // n_words)[:, :, None], axis=1)
        words = np.concatenate([before, (best % n_words)[:, :, None]], axis=2)
        if (words[:, :, -1] <= END).all():
            break
    lengths = (words != PAD).sum(axis=2) - 1
    means = scores / lengths.astype(np.float32)
    chosen = means.argmax(axis=1)
    rows = np.arange(n)
    return words[rows, chosen], means[rows, chosen]


def _log_softmax(logits: NDArray[Any]) -> NDArray[np.float32]:
    """Log probabilities of the next word [B, n], none for what is no word."""
    logits = logits.astype(np.float32).copy()
    logits[:, [PAD, BEGIN, UNKNOWN]] = -np.inf
    shifted = logits - logits.max(axis=1, keepdims=True)
    found: NDArray[np.float32] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return found
