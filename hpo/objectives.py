"""What a study searches by and what a trial has to keep to, as a user writes them.

`accuracy`, `latency_ms`, `score:maximize`; `params<=200000`.  An objective or a constraint is of a
metric that the model reports, or of a figure that the service takes of every trained network.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hpo.errors import SpecError
from hpo.model import Objective

FIGURES = ("params", "size_mb", "latency_ms")
"""Taken of a trained network by the service: trainable parameters, megabytes of its state,
milliseconds of one row's forward pass."""
_LOW = (
    "loss", "mse", "mae", "rmse", "fid", "rank", "kl", "nll", "perplexity", "error", "latency",
    "seconds", "ms", "mb", "params",
)  # fmt: skip
_HIGH = (
    "accuracy", "acc", "f1", "precision", "recall", "auc", "bleu", "chrf", "exact", "elbo", "r2",
    "coverage", "score", "ndcg",
)  # fmt: skip
"""Words in a metric's name that say which way is better."""
_LINE = re.compile(r"\s*([^\s<>=:]+)\s*(<=|>=|<|>)\s*(\S+)\s*")


@dataclass(frozen=True)
class Constraint:
    """A bound that a trial's metric has to keep."""

    metric: str
    operator: Literal["<=", ">=", "<", ">"]
    bound: float

    def __str__(self) -> str:
        return f"{self.metric}{self.operator}{self.bound:.12g}"

    def violation(self, value: float) -> float:
        """By how much the value breaks it, as Optuna wants it: kept if zero or less.

        >>> Constraint("params", "<=", 10.0).violation(12.0)
        2.0
        """
        over = value - self.bound if self.operator[0] == "<" else self.bound - value
        if over == 0 and len(self.operator) == 1:  # on the bound, which is not in
            return math.ulp(self.bound) or math.ulp(0.0)
        return over


def objectives_of(texts: Sequence[str], own: Objective) -> tuple[Objective, ...]:
    """The objectives that a user named; the model's own if there are none.

    Args:
        texts: `NAME`, `NAME:minimize` or `NAME:maximize`.
        own: the model's.
    Raises:
        SpecError: with every problem, a line each.
    """
    found, problems = [], []
    for text in texts:
        name, colon, direction = (part.strip() for part in text.partition(":"))
        if not colon:
            direction = own.direction if name == own.metric else _direction(name)
        if not re.fullmatch(r"[^\s<>=:,]+", name):
            problems.append(f"objectives: {text!r}: write NAME, NAME:minimize or NAME:maximize")
        elif direction in ("minimize", "maximize"):
            found.append(Objective(name, "minimize" if direction == "minimize" else "maximize"))
        elif colon:
            problems.append(
                f"objectives: {text!r}: {direction!r} is no direction: write {name}:minimize or "
                f"{name}:maximize"
            )
        else:
            problems.append(
                f"objectives: {text!r}: which way is better is not known: write {name}:minimize "
                f"or {name}:maximize"
            )
    names = [one.metric for one in found]
    for name in dict.fromkeys(name for name in names if names.count(name) > 1):
        problems.append(f"objectives: {name!r} is named twice: drop one")
    if problems:
        raise SpecError(problems)
    return tuple(found) or (own,)


def _direction(name: str) -> str:
    """Which way is better by the words of a metric's name; nothing if they do not say."""
    words = name.lower().split("_")
    low, high = any(w in _LOW for w in words), any(w in _HIGH for w in words)
    return "" if low == high else "minimize" if low else "maximize"


def constraints_of(texts: Sequence[str]) -> tuple[Constraint, ...]:
    """The constraints that a user named.

    Args:
        texts: `NAME<=NUMBER`, or with >=, <, >.
    Raises:
        SpecError: with every problem, a line each.
    """
    found, problems = [], []
    for text in texts:
        match = _LINE.fullmatch(text)
        bound = _number(match[3]) if match else math.nan
        if match is None or not math.isfinite(bound):
            problems.append(
                f"constraints: {text!r}: write NAME<=NUMBER, or with >=, < or > ('params<=200000')"
            )
            continue
        operator: Any = match[2]
        one = Constraint(match[1], operator, bound)
        if one in found:
            problems.append(f"constraints: {text!r} is named twice: drop one")
        found.append(one)
    if problems:
        raise SpecError(problems)
    return tuple(found)


def _number(text: str) -> float:
    try:
        return float(text.replace("_", ""))
    except ValueError:
        return math.nan


def guide_of(objectives: Iterable[Objective], own: Objective) -> Objective:
    """What epochs are compared by: the first objective that a network has at every epoch.

    Args:
        own: the model's, for a study that searches by figures of the trained network alone.
    """
    return next((one for one in objectives if one.metric not in FIGURES), own)


def figures_in(names: Iterable[str]) -> tuple[str, ...]:
    """Those of the names that the service measures, in its order."""
    wanted = set(names)
    return tuple(name for name in FIGURES if name in wanted)


def violations(constraints: Iterable[Constraint], metrics: Mapping[str, Any]) -> list[float]:
    """By how much each constraint is broken; none may be missing among the metrics."""
    return [one.violation(float(metrics[one.metric])) for one in constraints]
