"""Classes of images, texts or numbers; features with their probe; bare outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpo.inference.inputs import Item, Row, input_of, object_schema
from hpo.inference.runtime import Runtime
from hpo.inference.task import Answer, Task

_NUMBER = {"type": "number"}
_VECTOR = {"type": "array", "items": _NUMBER}


def softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Probabilities [B, n] of logits [B, n]."""
    shifted = logits.astype(np.float64)
    shifted = np.exp(shifted - shifted.max(axis=1, keepdims=True))
    probabilities: NDArray[np.float64] = shifted / shifted.sum(axis=1, keepdims=True)
    return probabilities


class Classification(Task):
    """Graph `classifier`: inputs -> logits [B, n_classes]."""

    graphs = ("classifier",)

    def __init__(self, settings: Mapping[str, Any], files: Mapping[str, Path]) -> None:
        super().__init__(settings, files)
        self.input = input_of(settings, files)
        self.names = [str(name) for name in settings.get("class_names") or ()]

    def schema(self) -> dict[str, Any]:
        return {"input": self.input.schema, "answer": object_schema(**self._answer_schema())}

    def _answer_schema(self) -> dict[str, Any]:
        return {
            "required": ["label", "probability", "probabilities"],
            "label": {"type": "string", **({"enum": self.names} if self.names else {})},
            "probability": _NUMBER,
            "probabilities": {"type": "object", "additionalProperties": _NUMBER},
        }

    def read(self, index: int, item: Item) -> Row:
        return self.input.read(index, item)

    def answer(self, run: Runtime, rows: Sequence[Row]) -> list[Answer]:
        (logits,) = run.run("classifier", *self.input.batch(rows))
        return self.classes(logits)

    def classes(self, logits: NDArray[Any]) -> list[Answer]:
        """{"label", "probability", "probabilities": by name} for logits [B, n_classes]."""
        names = self.names or [str(k) for k in range(logits.shape[1])]
        answers = []
        for row in softmax(logits).tolist():
            best = int(np.argmax(row))
            answers.append(
                {
                    "label": names[best],
                    "probability": row[best],
                    "probabilities": dict(zip(names, row, strict=True)),
                }
            )
        return answers


class Features(Classification):
    """Graph `encoder`: inputs -> features [B, D] and the probe's logits [B, n_classes]."""

    graphs = ("encoder",)

    def _answer_schema(self) -> dict[str, Any]:
        schema = super()._answer_schema()
        return {**schema, "required": ["vector", *schema["required"]], "vector": _VECTOR}

    def answer(self, run: Runtime, rows: Sequence[Row]) -> list[Answer]:
        vectors, logits = run.run("encoder", *self.input.batch(rows))
        answers = zip(vectors.tolist(), self.classes(logits), strict=True)
        return [{"vector": vector, **answer} for vector, answer in answers]


class Tensors(Task):
    """Graph `network`: numbers -> its outputs as they are."""

    graphs = ("network",)

    def __init__(self, settings: Mapping[str, Any], files: Mapping[str, Path]) -> None:
        super().__init__(settings, files)
        self.input = input_of(settings, files)
        self.names: list[str] = list(settings["outputs"])

    def schema(self) -> dict[str, Any]:
        outputs = object_schema(self.names, **{name: {} for name in self.names})
        return {"input": self.input.schema, "answer": object_schema(["outputs"], outputs=outputs)}

    def read(self, index: int, item: Item) -> Row:
        return self.input.read(index, item)

    def answer(self, run: Runtime, rows: Sequence[Row]) -> list[Answer]:
        outputs = run.run("network", *self.input.batch(rows))
        by_row = zip(*(output.tolist() for output in outputs), strict=True)
        return [{"outputs": dict(zip(self.names, row, strict=True))} for row in by_row]
