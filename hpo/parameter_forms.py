"""Forms of one parameter: Optuna's distribution, scikit-optimize's dimension, a draw, JSON, text.

Importing this file imports neither Optuna nor skopt.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hpo.parameter import (
    Choice,
    Float,
    Int,
    Parameter,
    as_values,
    decimal,
    n_values,
    normalize,
    on_lattice,
    same,
)

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


def distribution(p: Parameter) -> BaseDistribution:
    """The parameter as an Optuna distribution."""
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    if isinstance(p, Choice):
        return CategoricalDistribution(p.choices)
    if isinstance(p, Int):
        return IntDistribution(int(p.low), int(p.high), log=p.log, step=int(p.step))
    return FloatDistribution(float(p.low), float(p.high), log=p.log, step=p.step)


def suggest(p: Parameter, name: str, trial: Any) -> Any:
    """Draws the parameter's value from an Optuna trial."""
    if isinstance(p, Choice):
        return trial.suggest_categorical(name, p.choices)
    if isinstance(p, Int):
        return trial.suggest_int(name, int(p.low), int(p.high), log=p.log, step=int(p.step))
    value = trial.suggest_float(name, float(p.low), float(p.high), log=p.log, step=p.step)
    return _on_step(p, value)


def skopt_dimension(p: Parameter, name: str) -> Any:
    """The parameter as a scikit-optimize dimension; a stepped one by lattice index."""
    from skopt.space import Categorical, Integer, Real

    prior = "log-uniform" if not isinstance(p, Choice) and p.log else "uniform"
    if isinstance(p, Choice):
        return Categorical(list(range(len(p.choices))), name=name)
    if (n := n_values(p)) == 1:
        return Categorical([0], name=name)
    if _by_index(p):
        return Integer(0, int(n or 1) - 1, name=name)
    if isinstance(p, Int):
        return Integer(int(p.low), int(p.high), prior=prior, name=name)
    return Real(float(p.low), float(p.high), prior=prior, name=name)


def draw(p: Parameter, rng: Any) -> Any:
    """A uniform value; `rng.random()` is all it needs of the generator."""
    share = float(rng.random())
    n = n_values(p)
    if n is not None and not (isinstance(p, Int) and p.log):
        index = min(int(share * n), n - 1)
        return decode(p, index) if isinstance(p, Choice) else _at(p, index)
    low, high = float(p.low), float(p.high)  # type: ignore[union-attr]
    if isinstance(p, Int):
        low, high = low - 0.5, high + 0.5
        drawn = round(math.exp(math.log(low) + share * (math.log(high) - math.log(low))))
        return int(min(max(drawn, p.low), p.high))
    if p.log:  # type: ignore[union-attr]
        value = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
        return min(max(value, low), high)
    return low + share * (high - low)


def _at(p: Float | Int, index: int) -> Any:
    return normalize(p, decimal(p.low) + decimal(p.step or 0) * index)


def _on_step(p: Float, value: float) -> float:
    """Optuna's floats carry rounding errors on a lattice: the exact neighbour instead."""
    if p.step is None or on_lattice(p, value):
        return value
    index = round((decimal(value) - decimal(p.low)) / decimal(p.step))
    return float(_at(p, index))


def _by_index(p: Parameter) -> bool:
    return (
        not isinstance(p, Choice)
        and p.step is not None
        and not (isinstance(p, Int) and p.step == 1)
    )


def encode(p: Parameter, value: Any) -> Any:
    """A value in the form of `skopt_dimension`."""
    if isinstance(p, Choice):
        return next(i for i, choice in enumerate(p.choices) if same(choice, value))
    if n_values(p) == 1:
        return 0
    if _by_index(p):
        return round((decimal(value) - decimal(p.low)) / decimal(p.step or 1))
    return normalize(p, value)


def decode(p: Parameter, value: Any) -> Any:
    """The value behind one in the form of `skopt_dimension`."""
    if isinstance(p, Choice):
        return p.choices[int(value)]
    if n_values(p) == 1:
        return normalize(p, p.low)
    if _by_index(p):
        return _at(p, int(value))
    if isinstance(p, Int):
        return round(float(value))
    return min(max(float(value), float(p.low)), float(p.high))


def range_text(p: Parameter) -> str:
    """`0.0005 to 0.05, log`; `adamw, sgd`."""
    if isinstance(p, Choice):
        return ", ".join(map(str, p.choices))
    step = (
        f", step {p.step:g}"
        if p.step is not None and not (isinstance(p, Int) and p.step == 1)
        else ""
    )
    return f"{p.low:g} to {p.high:g}{', log' if p.log else ''}{step}"


def condition_text(p: Parameter) -> str:
    """`optimizer is sgd`; empty if the parameter is always active."""
    allowed = {name: " or ".join(map(str, as_values(v))) for name, v in (p.when or {}).items()}
    return ", ".join(f"{name} is {values}" for name, values in allowed.items())


def to_json(p: Parameter) -> dict[str, Any]:
    """The parameter as JSON-able data, without loss."""
    if isinstance(p, Choice):
        data: dict[str, Any] = {"type": "choice", "choices": list(p.choices), "default": p.default}
    else:
        data = {
            "type": "int" if isinstance(p, Int) else "float",
            "low": p.low,
            "high": p.high,
            "log": p.log,
            "step": p.step,
            "default": p.default,
            "grid": None if p.grid is None else list(p.grid),
        }
    if p.within is not None:
        data["within"] = list(p.within)
    data["when"] = {n: list(as_values(v)) for n, v in p.when.items()} if p.when else None
    return data


def from_json(data: Mapping[str, Any]) -> Parameter:
    """The parameter that `to_json` wrote."""
    rest = {key: value for key, value in data.items() if key not in ("type", "choices")}
    if data["type"] == "choice":
        return Choice(*data["choices"], **rest)
    return (Int if data["type"] == "int" else Float)(**rest)


def format_params(params: Mapping[str, Any]) -> str:
    """`lr=0.00123 width=16`"""
    shown = (
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in params.items()
    )
    return " ".join(shown)


def shown_params(params: Mapping[str, Any], fixed: Mapping[str, Any] | None) -> str:
    """A configuration in one line; where nothing is searched, the fixed parameters."""
    if params:
        return format_params(params)
    return f"all fixed: {format_params(fixed)}" if fixed else "no parameters"
