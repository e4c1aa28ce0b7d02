"""Problems whose trials may fail or explode, as trainings do: formulas that cost nothing.

A loss of None is a failed trial: the training diverged, ran out of memory or of time, or raised.
`explosion`, `cliffs` and `rare_explosion` never fail; their losses jump or grow by many powers of
ten.  In most of the others the best configuration lies beside what fails, as the best learning
rate does.  About 10 to 80 % of a space fails (`python benchmarks/search/failing.py` counts).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hpo.space import Choice, Float, Int, Space

Params = Mapping[str, Any]


@dataclass(frozen=True)
class Failing:
    """One problem.

    Attributes:
        loss: of active parameters, lower is better; None: the trial fails.
        best: the lowest loss there is.
        ceiling: what a search has as long as all of its trials have failed.
    """

    space: Space
    loss: Callable[[Params], float | None]
    best: float
    ceiling: float


def _log(value: float) -> float:
    return math.log10(value)


def _over(value: float, limit: float) -> float:
    return max(0.0, value - limit)


# Diverges

DIVERGES = Space(
    rate=Float(1e-5, 1.0, log=True),
    momentum=Float(0.0, 0.99),
    decay=Float(1e-6, 1e-1, log=True),
    warmup=Float(0.0, 1.0),
    smoothing=Float(0.0, 0.3),
)


def diverges(p: Params) -> float | None:
    """SGD: too large a rate diverges, the sooner the larger the momentum."""
    step = _log(p["rate"]) - _log(1 - p["momentum"])
    if step > -0.45 + 0.3 * p["warmup"]:
        return None
    return (
        0.1
        + 0.05 * (step + 0.55) ** 2
        + 0.3 * (p["momentum"] - 0.85) ** 2
        + 0.03 * (_log(p["decay"]) + 3.5) ** 2
        + 0.1 * (p["warmup"] - 0.3) ** 2
        + 1.5 * (p["smoothing"] - 0.1) ** 2
    )


# Out of memory

MEMORY = Space(
    width=Int(64, 2048, step=64, default=256),
    depth=Int(1, 12, default=2),
    batch_log2=Int(4, 10),
    precision=Choice("fp32", "bf16"),
    rate=Float(1e-5, 1e-1, log=True),
    dropout=Float(0.0, 0.6),
)


def memory(p: Params) -> float | None:
    """A network: the larger the better, until it does not fit."""
    width, depth = p["width"], p["depth"]
    size = 4 if p["precision"] == "fp32" else 2
    if depth * (3 * width * width + 8 * width * 2 ** p["batch_log2"]) * size > 1.5e8:
        return None
    rate = -3.0 + 0.15 * (p["batch_log2"] - 6) - 0.3 * _log(width / 256)
    return (
        2.0 / math.log2(width) + 0.4 / (1 + depth) + 0.004 * depth
        + 0.08 * (_log(p["rate"]) - rate) ** 2
        + 0.4 * (p["dropout"] - 0.15 - 0.1 * _log(width / 64)) ** 2
        + 0.01 * (p["batch_log2"] - 6) ** 2
        + (0.01 if p["precision"] == "bf16" else 0.0)
    )  # fmt: skip


def _best_memory() -> float:
    values = (
        memory(
            {
                "width": width,
                "depth": depth,
                "batch_log2": batch,
                "precision": precision,
                "rate": 10 ** (-3.0 + 0.15 * (batch - 6) - 0.3 * _log(width / 256)),
                "dropout": 0.15 + 0.1 * _log(width / 64),
            }
        )
        for width, depth, batch, precision in itertools.product(
            range(64, 2049, 64), range(1, 13), range(4, 11), ("fp32", "bf16")
        )
    )
    return min(value for value in values if value is not None)


# Raises

RAISES = Space(
    optimizer=Choice("sgd", "adamw", "lamb", "rmsprop", "lion"),
    attention=Choice("eager", "flash", "sdpa"),
    precision=Choice("fp32", "fp16", "bf16"),
    heads=Int(1, 12),
    nesterov=Choice(False, True, when={"optimizer": "sgd"}),
    momentum=Float(0.0, 0.95, when={"optimizer": ("sgd", "rmsprop")}),
    rate=Float(1e-5, 1e-1, log=True),
    clip=Float(0.1, 10.0, log=True),
)


def raises(p: Params) -> float | None:
    """Kernels and optimizers that are not there for every combination."""
    optimizer, precision, heads = p["optimizer"], p["precision"], p["heads"]
    if optimizer == "lion" or (optimizer == "lamb" and precision == "fp16"):
        return None
    if p["attention"] == "flash" and (precision == "fp32" or heads in (5, 7, 9, 10, 11)):
        return None
    rate = {"sgd": -1.5, "adamw": -3.0, "lamb": -2.5, "rmsprop": -3.5}[optimizer]
    return (
        {"sgd": 0.16, "adamw": 0.1, "lamb": 0.12, "rmsprop": 0.14}[optimizer]
        + {"eager": 0.03, "flash": 0.0, "sdpa": 0.01}[p["attention"]]
        + {"fp32": 0.01, "fp16": 0.02, "bf16": 0.0}[precision]
        + 0.003 * abs(heads - 8)
        + 0.05 * (_log(p["rate"]) - rate) ** 2
        + 0.02 * (_log(p["clip"]) - 0.2) ** 2
        + (0.1 * (p["momentum"] - 0.9) ** 2 if "momentum" in p else 0.0)
        - (0.005 if p.get("nesterov") else 0.0)
    )


# Explodes

EXPLODES = Space(
    rate=Float(1e-5, 1e1, log=True, default=1e-4),
    scale=Float(0.01, 100.0, log=True),
    **{f"x{i}": Float(-2.0, 2.0) for i in range(4)},
)


def explosion(p: Params) -> float:
    """Beyond an edge the loss grows a hundredfold for each tenfold of the rate, up to 1e10."""
    step = _log(p["rate"]) + 0.5 * _log(p["scale"])
    bowl = sum((p[f"x{i}"] - 0.3 * i) ** 2 for i in range(4))
    calm = 0.05 + 0.1 * bowl + 0.2 * (step + 1.2) ** 2 + 0.1 * (_log(p["scale"]) - 0.4) ** 2
    return min(1e10, calm * 10 ** min(12.0, 6 * _over(step, -1.0)))


# Mostly fails

MOSTLY = Space(**{f"x{i}": Float(0.0, 1.0, default=0.8) for i in range(5)})


def mostly_fails(p: Params) -> float | None:
    """A corner of the space in which a training runs at all; the default is outside."""
    x = [p[f"x{i}"] for i in range(5)]
    if x[0] > 0.5 or x[1] < 0.35 or x[2] + x[3] > 1.1:
        return None
    return (
        (x[0] - 0.42) ** 2 + (x[1] - 0.45) ** 2 + (x[2] - 0.7) ** 2 + (x[3] - 0.35) ** 2
        + 2 * (x[4] - 0.6 - 0.2 * math.sin(5 * x[2])) ** 2
    )  # fmt: skip


# Islands

ISLANDS = Space(**{f"x{i}": Float(-3.0, 3.0) for i in range(4)})


def islands(p: Params) -> float | None:
    """Several places that fail, and some waves."""
    x = [p[f"x{i}"] for i in range(4)]
    if math.sin(1.7 * x[0] + 0.5) * math.cos(1.3 * x[1]) + 0.5 * math.sin(x[2]) > 0.45:
        return None
    y = [x[0] + 0.8, x[1] - 0.6, x[2] + 1.1, x[3] - 1.4]
    return sum(0.3 * v * v + 0.4 * (1 - math.cos(2.5 * v)) for v in y)


# Cliffs

CLIFFS = Space(
    **{f"x{i}": Float(0.0, 1.0) for i in range(4)}, kind=Choice("a", "b", "c"), n=Int(1, 9)
)


def cliffs(p: Params) -> float:
    """Steps of ten and of ten thousand across two planes; the best lies below both."""
    x = [p[f"x{i}"] for i in range(4)]
    loss = sum((v - t) ** 2 for v, t in zip(x, (0.62, 0.3, 0.55, 0.8), strict=True))
    loss += {"a": 0.05, "b": 0.0, "c": 0.1}[p["kind"]] + 0.01 * abs(p["n"] - 6)
    if x[0] + x[1] > 1.0:
        loss += 10.0
    if x[2] - x[3] > 0.1:
        loss += 1e4
    return 0.01 + loss


# Too slow

SLOW = Space(
    model=Choice("forest", "boosting", "net"),
    trees_log2=Int(3, 12, when={"model": ("forest", "boosting")}),
    depth=Int(2, 16, when={"model": ("forest", "boosting")}),
    shrinkage=Float(0.005, 0.5, log=True, when={"model": "boosting"}),
    width_log2=Int(4, 12, when={"model": "net"}),
    epochs=Int(1, 60, log=True, when={"model": "net"}),
    rate=Float(1e-5, 1e-1, log=True, when={"model": "net"}),
    rows_share=Float(0.1, 1.0),
)


def slow(p: Params) -> float | None:
    """More of everything is better, until the time limit ends the trial."""
    model, rows = p["model"], p["rows_share"]
    if model == "net":
        work = 2 ** (1.5 * p["width_log2"]) * p["epochs"] * rows / 6e4
        loss = (
            0.1 + 0.3 / p["width_log2"] + 0.15 / math.sqrt(p["epochs"])
            + 0.04 * (_log(p["rate"]) + 0.1 * p["width_log2"] + 2.2) ** 2
        )  # fmt: skip
    else:
        work = 2 ** p["trees_log2"] * p["depth"] * rows / 1.2e4
        loss = 0.16 + 0.2 / p["trees_log2"] + 0.0006 * (p["depth"] - 12) ** 2
        if model == "boosting":
            best = 1.2 - 0.25 * p["trees_log2"]
            loss = 0.15 + 0.2 / p["trees_log2"] + 0.001 * (p["depth"] - 6) ** 2
            loss += 0.05 * (_log(p["shrinkage"]) - best) ** 2
    return None if work > 1 else loss + 0.08 * (1 - rows)


def _best_slow() -> float:
    net = (
        {
            "model": "net",
            "width_log2": width,
            "epochs": epochs,
            "rate": 10 ** -(0.1 * width + 2.2),
            "rows_share": rows / 1000,
        }
        for width in range(4, 13)
        for epochs in range(1, 61)
        for rows in range(100, 1001)
    )
    trees = (
        {
            "model": model,
            "trees_log2": n,
            "depth": depth,
            "shrinkage": min(max(10 ** (1.2 - 0.25 * n), 0.005), 0.5),
            "rows_share": rows / 1000,
        }
        for model in ("forest", "boosting")
        for n in range(3, 13)
        for depth in range(2, 17)
        for rows in range(100, 1001)
    )
    losses = map(slow, itertools.chain(net, trees))
    return min(loss for loss in losses if loss is not None)


# Everything at once

EVERYTHING = Space(
    optimizer=Choice("sgd", "adamw", "novograd"),
    rate=Float(1e-6, 1e1, log=True),
    momentum=Float(0.0, 0.99, when={"optimizer": "sgd"}),
    width_log2=Int(4, 11),
    depth=Int(1, 10),
    dropout=Float(0.0, 0.8),
    decay=Float(1e-6, 1.0, log=True),
    batch_log2=Int(3, 9),
)


def everything(p: Params) -> float | None:
    """Raises, runs out of memory, diverges, and grows to 1e8 before it diverges."""
    if p["optimizer"] == "novograd" and p["depth"] > 5:
        return None
    if 2 ** (p["width_log2"] + p["batch_log2"]) * p["depth"] > 2**20:
        return None
    ideal = {"sgd": -1.0, "adamw": -2.8, "novograd": -2.2}[p["optimizer"]]
    step = _log(p["rate"]) - ideal - 0.1 * (p["batch_log2"] - 6)
    step += -0.5 * _log(1 - p["momentum"]) - 0.4 if "momentum" in p else 0.0
    if step > 2.0:
        return None
    loss = (
        {"sgd": 0.11, "adamw": 0.1, "novograd": 0.13}[p["optimizer"]]
        + 0.05 * step**2
        + 0.01 * (p["width_log2"] - 9) ** 2
        + 0.004 * (p["depth"] - 6) ** 2
        + 0.2 * (p["dropout"] - 0.2) ** 2
        + 0.01 * (_log(p["decay"]) + 2.5) ** 2
        + 0.005 * (p["batch_log2"] - 5) ** 2
    )
    return loss * 10 ** (9 * _over(step, 1.0))


# Rosenbrock in a ball

BALL = Space(**{f"x{i}": Float(-2.0, 2.0, default=-1.0) for i in range(5)})


def ball(p: Params) -> float | None:
    """Rosenbrock's valley; what is far from the optimum on one side fails."""
    x = [p[f"x{i}"] for i in range(5)]
    if sum((v - 0.2) ** 2 for v in x) > 8.5:
        return None
    return sum(100 * (b - a * a) ** 2 + (1 - a) ** 2 for a, b in itertools.pairwise(x))


# A rare explosion

RARE = Space(**{f"x{i}": Float(0.0, 1.0) for i in range(6)})


def rare_explosion(p: Params) -> float:
    """A bowl with waves, and a corner of a fiftieth of the space with losses of 1e10."""
    x = [p[f"x{i}"] for i in range(6)]
    if x[0] > 0.85 and x[1] < 0.15:
        return 1e10 * (1 + x[2])
    t = (0.71, 0.33, 0.52, 0.2, 0.8, 0.45)
    return sum(
        (v - c) ** 2 + 0.02 * (1 - math.cos(18 * (v - c))) for v, c in zip(x, t, strict=True)
    )


FAILING: dict[str, Callable[[], Failing]] = {
    "diverges": lambda: Failing(DIVERGES, diverges, 0.1, 2.0),
    "memory": lambda: Failing(MEMORY, memory, _best_memory(), 2.0),
    "raises": lambda: Failing(RAISES, raises, 0.1, 2.0),
    "explosion": lambda: Failing(EXPLODES, explosion, 0.05, 1e10),
    "mostly_fails": lambda: Failing(MOSTLY, mostly_fails, 0.0, 3.0),
    "islands": lambda: Failing(ISLANDS, islands, 0.0, 20.0),
    "cliffs": lambda: Failing(CLIFFS, cliffs, 0.01, 2e4),
    "slow": lambda: Failing(SLOW, slow, _best_slow(), 2.0),
    "everything": lambda: Failing(EVERYTHING, everything, 0.1, 1e10),
    "ball": lambda: Failing(BALL, ball, 0.0, 2e4),
    "rare_explosion": lambda: Failing(RARE, rare_explosion, 0.0, 2e10),
}
"""Name -> the problem."""
