"""What a saved model is to be compressed by, as a user says it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hpo.errors import SpecError
from hpo.outcome.quantization import METHODS

ALIASES = {"int8": ("int8-static", "int8-dynamic")}
DEFAULT = ("int8-static", "int8-dynamic", "weights")


@dataclass(frozen=True)
class Wishes:
    """What is to be tried.

    Attributes:
        prune: share of the weights, or of the channels, that go; 0: none.
        structured: channels.
        methods: of METHODS; each is tried with and without pruning.
        max_drop: of the metric that may be lost.
        fine_tune: epochs after pruning; None: half of the model's own.
        seed: of the training after pruning.
    """

    prune: float = 0.0
    structured: bool = False
    methods: tuple[str, ...] = DEFAULT
    max_drop: float = 0.005
    fine_tune: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        problems = []
        if not 0 <= self.prune < 1:
            problems.append(f"prune: {self.prune}: must be a share, 0 < share < 1")
        if self.structured and not self.prune:
            problems.append("structured: says how to prune: add --prune 0.5")
        if not (math.isfinite(self.max_drop) and self.max_drop >= 0):
            problems.append(f"max-drop: {self.max_drop}: must be 0 or more, in the metric's unit")
        if self.fine_tune is not None and self.fine_tune < 0:
            problems.append(f"fine-tune: {self.fine_tune}: must be 0 epochs or more")
        if self.fine_tune is not None and not self.prune:
            problems.append("fine-tune: follows pruning: add --prune 0.5")
        for method in self.methods:
            if method not in METHODS:
                choices = ", ".join((*ALIASES, *METHODS))
                problems.append(f"quantize: {method!r} is unknown: choose from {choices}")
        if problems:
            raise SpecError(problems)


def methods_of(names: Sequence[str], prune: float) -> tuple[str, ...]:
    """What `--quantize` asks for; without it all common ways, or none beside `--prune`."""
    if not names:
        return () if prune else DEFAULT
    found = [method for name in names for method in ALIASES.get(name, (name,))]
    return tuple(dict.fromkeys(found))
