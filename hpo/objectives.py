"""A study's objectives and constraints, as a user writes them.

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

LATENCY, LATENCY_SD = "latency_ms", "latency_ms_sd"
FIGURES = ("params", "size_mb", LATENCY)
"""Taken of a trained network by the service: trainable parameters, megabytes of its state,
milliseconds of one row's forward pass, beside which `latency_ms_sd` says how well it repeats."""
_LOW = (
    "loss", "losses", "error", "errors", "err", "mse", "rmse", "mae", "mape", "smape", "fid", "kid",
    "kl", "nll", "bce", "perplexity", "ppl", "bpc", "bpd", "wer", "cer", "eer", "ece", "brier",
    "hinge", "crossentropy", "divergence", "deviance", "regret", "lpips", "rank", "latency",
    "runtime", "seconds", "ms", "memory", "mb", "gb", "bytes", "params", "flops", "macs",
)  # fmt: skip
_HIGH = (
    "accuracy", "acc", "f1", "precision", "recall", "sensitivity", "specificity", "auc", "auroc",
    "auprc", "map", "ap", "mrr", "ndcg", "bleu", "chrf", "rouge", "meteor", "cider", "exact",
    "elbo", "r2", "coverage", "kappa", "mcc", "iou", "miou", "dice", "psnr", "ssim", "likelihood",
    "throughput", "reward",
)  # fmt: skip
_REVERSED = ("neg", "negative", "minus", "inverse", "inv")
"""Words in a metric's name that say which way is better, and those that turn it round.  `score`
says it too, unless another word does (`brier_score`)."""
_PREFIX = re.compile(r"(?:train|valid|val|test|eval|dev)(?=[a-z])")
_NAME = re.compile(r"[^\s<>=:,]+")
_LINE = re.compile(r"\s*([^\s<>=:]+)\s*(<=|>=|<|>)\s*(\S+)\s*")


@dataclass(frozen=True)
class Objective:
    """The metric a study searches by, and which way is better.

    >>> Objective("val_loss").direction, Objective("utility:maximize").direction
    ('minimize', 'maximize')

    Args:
        metric: its name; `NAME:minimize` and `NAME:maximize` say the direction too.
        direction: by default what the name says.
    Raises:
        SpecError: the name does not say which way is better, or it is no name.
    """

    metric: str
    direction: Literal["maximize", "minimize"] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.direction is None:
            name, direction = _read(self.metric)
            object.__setattr__(self, "metric", name)
            object.__setattr__(self, "direction", direction)
        elif self.direction not in ("maximize", "minimize"):
            raise SpecError(f"direction: {self.direction!r} must be 'maximize' or 'minimize'")

    def __str__(self) -> str:
        return f"{self.metric}:{self.direction}"

    @property
    def goal(self) -> str:
        """`minimize val_loss`."""
        return f"{self.direction} {self.metric}"

    @property
    def sign(self) -> int:
        """+1 if larger is better, else -1."""
        return 1 if self.direction == "maximize" else -1


def declared_objective(declared: object) -> Objective:
    """The objective that a model declares, as an `Objective` or as a text.

    Raises:
        SpecError: it is neither, or its name is none.
    """
    if isinstance(declared, Objective):
        _read(str(declared))
        return declared
    return Objective(declared)  # type: ignore[arg-type]


def _read(text: object) -> tuple[str, str]:
    """The name and the direction that a user wrote as `NAME` or `NAME:DIRECTION`."""
    if not isinstance(text, str):
        raise SpecError(
            f"objective: {text!r:.60} must be one metric's name: write 'NAME:minimize' or "
            "'NAME:maximize'; further ones are given by --objective"
        )
    name, colon, direction = (part.strip() for part in text.partition(":"))
    if not _NAME.fullmatch(name):
        raise SpecError(f"objective: {text!r}: write NAME, NAME:minimize or NAME:maximize")
    if not colon:
        direction = direction_of(name)
    elif direction.lower() in ("min", "max"):
        direction = f"{direction.lower()}imize"
    if direction in ("minimize", "maximize"):
        return name, direction
    known = f"{direction!r} is no direction" if colon else "which way is better is not known"
    raise SpecError(f"objective: {text!r}: {known}: write {name}:minimize or {name}:maximize")


def direction_of(name: str) -> str:
    """Which way is better by the words of a metric's name; empty if they do not say.

    >>> direction_of("valid/logLoss"), direction_of("neg_mean_squared_error"), direction_of("speed")
    ('minimize', '', '')
    """
    parts = re.split(r"[^a-z0-9]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower())
    parts += [name.lower()] if name.isalnum() else []
    words = {form for part in parts for form in _forms(part)}
    if {"cross", "entropy"} <= words:
        words.add("crossentropy")
    if words & set(_REVERSED) or name.startswith(("-", "1-")):
        return ""
    low, high = bool(words & set(_LOW)), bool(words & set(_HIGH))
    if not low and not high:
        return "maximize" if "score" in words else ""
    return "" if low == high else "minimize" if low else "maximize"


def _forms(word: str) -> set[str]:
    """`valacc1` as `valacc1`, `valacc`, `acc1` and `acc`; `logloss` as `loss` too."""
    bare = word.rstrip("0123456789")
    forms = {word, bare} | {_PREFIX.sub("", form, count=1) for form in (word, bare)}
    forms |= {end for end in _ENDINGS for form in forms if form.endswith(end)}
    return forms


_ENDINGS = ("loss", "error", "perplexity", "latency", "accuracy", "precision", "recall")


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
        try:
            known = text.strip() == own.metric  # the model's word goes before its name's
            found.append(own if known else Objective(text))
        except SpecError as error:
            problems += [f"objectives{line.removeprefix('objective')}" for line in error.problems]
    names = [one.metric for one in found]
    for name in dict.fromkeys(name for name in names if names.count(name) > 1):
        problems.append(f"objectives: {name!r} is named twice: drop one")
    if problems:
        raise SpecError(problems)
    return tuple(found) or (own,)


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
