"""The models of a server: what is served under which name, and changed while it runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hpo.errors import SpecError
from hpo.inference.predictor import Predictor
from hpo.serve.batching import Batcher

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Loaded:
    """A model that answers.

    Attributes:
        version: of what is served under this name, 1 the first.
        takes_images: whether an image alone is an item.
    """

    name: str
    path: str
    version: int
    batcher: Batcher
    takes_images: bool

    @property
    def predictor(self) -> Predictor:
        return self.batcher.predictor

    def facts(self) -> dict[str, Any]:
        """What the server tells of it; nothing of where it lies."""
        return {
            "name": self.name,
            "version": self.version,
            **self.predictor.info,
            "schema": self.predictor.schema(),
        }


class Models:
    """By name; `load` replaces what has changed in one step, and requests under way end with the
    model that they began with.

    Args:
        observe: told (model, rows) of each batch.
        threads: cores that one run may use.
    """

    def __init__(self, observe: Callable[[str, int], object], threads: int) -> None:
        self._observe, self._threads = observe, threads
        self.by_name: Mapping[str, Loaded] = {}

    def load(self, wanted: Mapping[str, Mapping[str, Any]]) -> None:
        """Serves what is wanted from now on, and nothing else.

        Args:
            wanted: {"path": bundle, "version": number} by name.
        Raises:
            SpecError: one cannot be opened; nothing is changed then.
        """
        loaded = {}
        for name, spec in wanted.items():
            path, version = str(spec["path"]), int(spec["version"])
            known = self.by_name.get(name)
            if known is not None and (known.path, known.version) == (path, version):
                loaded[name] = known
                continue
            predictor = Predictor.open(path, threads=self._threads)
            batcher = Batcher(predictor, lambda n, name=name: self._observe(name, n))  # type: ignore[misc]
            loaded[name] = Loaded(name, path, version, batcher, predictor.takes("image"))
        self.by_name = loaded


def check_name(name: str) -> str:
    """The name of a model, which stands in addresses.

    Raises:
        SpecError: it cannot.
    """
    if not NAME.fullmatch(name):
        raise SpecError(
            f"model: {name!r} must be 1 to 64 letters, digits, '.', '_' or '-', and begin with "
            "a letter or digit"
        )
    return name
