"""What a task answers: the contract of the classes in `hpo.inference.answers.TASKS`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from hpo.inference.inputs import Item, Row
from hpo.inference.runtime import Runtime

Answer = dict[str, Any]


class Task:
    """One use of a deployed model; each row's answer is its own, whatever stands beside it."""

    graphs: ClassVar[tuple[str, ...]] = ()
    """The graphs that its bundle must hold."""

    def __init__(self, settings: Mapping[str, Any], files: Mapping[str, Path]) -> None:
        """Args:
        settings: of the bundle.
        files: its further files, by plain name.
        """
        self.settings, self.files = settings, files

    def schema(self) -> dict[str, Any]:
        """JSON schemas of one input and of one answer: {"input", "answer"}."""
        raise NotImplementedError

    def read(self, index: int, item: Item) -> Row:
        """An item of a request as a row.

        Args:
            index: its place in the request.
        Raises:
            InputError: the item is wrong.
        """
        raise NotImplementedError

    def answer(self, run: Runtime, rows: Sequence[Row]) -> list[Answer]:
        """One answer a row, in order; rows may be of different requests."""
        raise NotImplementedError

    def relate(self, items: Sequence[Item], answers: list[Answer]) -> list[Answer]:
        """What a request's answers say of each other; nothing by default."""
        return answers
