"""Smaller forms of one saved model, measured beside each other, and which of them is taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hpo.outcome.classified import Measure
from hpo.outcome.latency import Latency
from hpo.pareto import front_of

ORIGINAL = "original"
_ALIKE = 1.01
"""Files within one percent of the smallest count as equal: then what packs better wins."""


@dataclass(frozen=True)
class Variant:
    """One form of the model.

    Attributes:
        n_bytes: of its graphs' files; `packed`: of the same in a zip file; `weights`: of the
            numbers stored in them.
        quality: its metric on the validation rows; None if it could not be made or measured.
        drop: how much worse than the original it is there, paired.
        latency: by the rows that pass at once.
        problem: why there is no quality.
    """

    name: str
    pruned: float
    structured: bool
    method: str
    n_bytes: int = 0
    packed: int = 0
    weights: int = 0
    quality: Measure | None = None
    drop: Measure | None = None
    latency: dict[int, Latency] = field(default_factory=dict)
    problem: str = ""

    @property
    def unpacked(self) -> bool:
        """Whether stored weights become floats when it is opened: where nothing else is asked of
        onnxruntime than that, or it computes in integers by operators of their own."""
        return self.method not in ("", "int8-static")


@dataclass(frozen=True)
class Test:
    """The chosen variant beside the original, once, on the test rows."""

    original: Measure
    chosen: Measure
    drop: Measure
    n_rows: int


@dataclass(frozen=True)
class Compression:
    """What `hpo compress` came to.

    Attributes:
        path: of the saved model; `to`: the bundle of the chosen variant, None if none was.
        metric, direction: what variants were judged by.
        n_rows: of the validation split.
        test: None without a chosen variant, or without test rows.
        notes: what a reader has to know, a sentence each.
    """

    path: Path
    model: str
    study: str
    data: str
    metric: str
    direction: str
    max_drop: float
    n_rows: int
    variants: list[Variant]
    chosen: str | None
    to: Path | None = None
    test: Test | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def original(self) -> Variant:
        return self.variants[0]

    @property
    def verdict(self) -> str:
        """What was chosen, and by how much it is smaller."""
        if self.chosen is None:
            return (
                f"No variant loses {self.max_drop:g} of {self.metric} or less: nothing was "
                "written. --max-drop allows more; --fine-tune and a smaller --prune lose less."
            )
        one = next(v for v in self.variants if v.name == self.chosen)
        assert one.drop is not None
        said = (
            f"{one.name}: {self.original.n_bytes / one.n_bytes:.2f} times smaller; it loses "
            f"{signed(one.drop)} of {self.metric} on {self.n_rows} validation rows."
        )
        if one.drop.high is not None and one.drop.high > self.max_drop:
            said += (
                f" The interval reaches beyond {self.max_drop:g}: that it loses more is not "
                "excluded."
            )
        return said

    @property
    def front(self) -> dict[str, list[str]]:
        """Names on the Pareto fronts of the metric with `size` and `latency` of one row."""
        made = [v for v in self.variants if v.quality is not None]
        sign = 1 if self.direction == "maximize" else -1
        amounts = {
            "size": [float(v.n_bytes) for v in made],
            "latency": [v.latency[1].p50 for v in made],
        }
        found = {}
        for name, amount in amounts.items():
            points = np.array([(v.quality.value, a) for v, a in zip(made, amount, strict=True)])  # type: ignore[union-attr]
            found[name] = [
                v.name for v, on in zip(made, front_of(points, (sign, -1)), strict=True) if on
            ]
        return found


def signed(drop: Measure) -> str:
    """`0.002 [-0.004, 0.008]`."""
    value = f"{drop.value:.4g}"
    if drop.low is None or drop.high is None:
        return value
    return f"{value} [{drop.low:.4g}, {drop.high:.4g}]"


def choose(variants: Sequence[Variant], max_drop: float) -> str | None:
    """The smallest variant that loses no more than `max_drop`, the original left out."""
    good = [
        v
        for v in variants
        if v.name != ORIGINAL and v.drop is not None and v.drop.value <= max_drop + 1e-12
    ]
    if not good:
        return None
    smallest = min(v.n_bytes for v in good)
    return min((v for v in good if v.n_bytes <= _ALIKE * smallest), key=lambda v: v.packed).name


def facts_of(found: Compression) -> dict[str, Any]:
    """The same as plain data: what `compression.json` holds and `-f json` prints."""
    facts = asdict(found)
    facts["path"] = str(found.path)
    facts["to"] = None if found.to is None else str(found.to)
    for variant in facts["variants"]:
        variant["latency_ms"] = {str(n): x for n, x in variant.pop("latency").items()}
    return {**facts, "pareto": found.front, "verdict": found.verdict}
