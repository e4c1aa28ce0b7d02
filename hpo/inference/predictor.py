"""A bundle that answers: items in, one answer an item out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hpo.errors import SpecError
from hpo.inference.answers import TASKS, check_finite
from hpo.inference.bundle import Bundle
from hpo.inference.inputs import Item, Row
from hpo.inference.runtime import OnnxRuntime, Runtime
from hpo.inference.task import Answer

BATCH = 64
"""Rows that pass the graphs at a time."""
_SHOWN = ("model", "study", "data", "metric", "test", "versions", "created", "kind")


class Predictor:
    """Answers by a bundle.

    >>> predictor = Predictor.open("hpo-runs/cnn-tpe/best/export/onnx")
    >>> predictor.predict([{"image": Path("seven.png").read_bytes()}])
    [{'label': '7', 'probability': 0.99, 'probabilities': {'0': 0.0, ...}}]
    """

    def __init__(
        self,
        name: str,
        settings: Mapping[str, Any],
        files: Mapping[str, Path],
        run: Runtime,
        info: Mapping[str, Any],
    ) -> None:
        """Args:
            name: the task, a key of TASKS.
            settings: of the task.
            files: its further files, by plain name.
            run: what runs the graphs.
            info: facts to tell.
        Raises:
            SpecError: a task that this version does not know, or settings that it cannot use.
        """
        if name not in TASKS:
            raise SpecError(f"task: {name!r} is unknown: choose from {', '.join(TASKS)}")
        self.task, self.settings, self.run = name, settings, run
        self.info: dict[str, Any] = {"task": name, **info}
        try:
            self._task = TASKS[name](settings, files)
        except (KeyError, TypeError, ValueError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise SpecError(
                f"settings: do not fit the task {name} ({reason}): export again"
            ) from None

    @classmethod
    def open(cls, path: str | Path, *, threads: int = 1) -> Predictor:
        """Opens a bundle in ONNX.

        Args:
            path: the folder that `hpo export` printed.
            threads: cores that one run may use.
        Raises:
            SpecError: no bundle there, a damaged one, or one that does not answer.
        """
        bundle = Bundle.open(path)
        missing = [g for g in _graphs_of(bundle.task) if g not in bundle.graphs]
        if missing:
            raise SpecError(
                f"path: {str(path)!r} lacks the graph {', '.join(missing)} of {bundle.task}: "
                "export the model again"
            )
        files = {name: bundle.file(name) for name in bundle.facts["sha256"]}
        info = {name: bundle.facts[name] for name in _SHOWN}
        try:
            run = OnnxRuntime(bundle, threads)
            predictor = cls(bundle.task, bundle.settings, files, run, info)
            predictor.predict(predictor.examples())
        except SpecError:
            raise
        except Exception as error:  # whatever settings that do not fit the graphs lead to
            reason = str(error).partition("\n")[0][:200]
            raise SpecError(
                f"path: {str(path)!r} does not answer ({type(error).__name__}: {reason}): "
                "export the model again"
            ) from None
        return predictor

    def schema(self) -> dict[str, Any]:
        """JSON schemas of one input and one answer: {"input", "answer"}."""
        return self._task.schema()

    def takes(self, field: str) -> bool:
        """Whether an item may be an object with that field alone: "image", "text", "seed"."""
        schema = self.schema()["input"]
        forms = schema.get("anyOf") or schema.get("oneOf") or [schema]
        return any(
            field in form.get("properties", {}) and set(form.get("required", ())) <= {field}
            for form in forms
        )

    def examples(self) -> list[Item]:
        """An item of each kind that the model takes."""
        found: list[Item] = [{"text": "a text"}] if self.takes("text") else []
        for field in ("image", "inputs"):
            if self.takes(field):
                found.append({field: np.zeros(self.settings["shape"], dtype=int).tolist()})
        return found or [{"seed": 0}]

    def read(self, item: Item, index: int = 0) -> Row:
        """An item checked and prepared, for `answer`.

        Args:
            index: its place in the request, for the error.
        Raises:
            InputError: the item is wrong.
        """
        return self._task.read(index, item)

    def answer(self, rows: Sequence[Row]) -> list[Answer]:
        """One answer a row, in order, whatever stands beside it; in batches."""
        answers: list[Answer] = []
        for first in range(0, len(rows), BATCH):
            answers += self._task.answer(self.run, rows[first : first + BATCH])
        return answers

    def predict(self, items: Sequence[Item]) -> list[Answer]:
        """One answer an item, in order.

        Raises:
            InputError: an item is wrong, or has no finite answer; `index` says which, and nothing
                is answered.
        """
        answers = self.answer([self.read(item, index) for index, item in enumerate(items)])
        for index, answer in enumerate(answers):
            check_finite(index, answer)
        return self.relate(items, answers)

    def relate(self, items: Sequence[Item], answers: list[Answer]) -> list[Answer]:
        """What one request's answers say of each other: scores between its images and texts.

        Args:
            items: of the request; only their fields' names matter.
        """
        return self._task.relate(items, answers)


def _graphs_of(task: str) -> tuple[str, ...]:
    return TASKS[task].graphs if task in TASKS else ()
