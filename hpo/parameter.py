"""Parameters of a search space: `Float`, `Int`, `Choice`; what each may be and its exact lattice.

Numbers are compared and stepped as decimals (0.1 + 0.2 is 0.3), so that a lattice holds exactly
the points one would write down.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any

from hpo.span import span_problem
from hpo.text import is_fit

When = Mapping[str, Any]
Within = tuple[float | None, float | None]
"""Least and most; None: no such limit."""

MOST_CHOICES = 10_000
"""A Gaussian process has a column for each."""


def decimal(value: float) -> Decimal:
    return Decimal(str(value))


def _plain(value: Any) -> Any:
    """Python's own number for a scalar of NumPy or torch."""
    return value.item() if getattr(value, "ndim", None) == 0 else value


def is_number(value: Any) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return isinstance(value, int) or math.isfinite(value)  # an int may be beyond every float


def as_values(value: Any) -> tuple[Any, ...]:
    """One value or several, as a tuple."""
    return tuple(value) if isinstance(value, list | tuple | set | frozenset) else (value,)


def same(a: Any, b: Any) -> bool:
    """Equality that keeps True and 1 apart."""
    return bool(a == b) and isinstance(a, bool) == isinstance(b, bool)


def among(value: Any, values: Sequence[Any]) -> bool:
    return any(same(value, other) for other in values)


class _Number:
    """A NumPy or torch scalar in a field becomes Python's own number."""

    def __post_init__(self) -> None:
        for each in fields(self):  # type: ignore[arg-type]
            value = getattr(self, each.name)
            if each.name in ("grid", "within") and isinstance(value, list | tuple):
                object.__setattr__(self, each.name, type(value)(map(_plain, value)))
            elif each.name != "when":
                object.__setattr__(self, each.name, _plain(value))


@dataclass(frozen=True)
class Float(_Number):
    """A real number in [low, high].

    >>> Float(1e-4, 1e-1, log=True, within=(0, 1)).within
    (0, 1)

    Args:
        low, high: what is searched unless `--set` says otherwise.
        log: searched on a logarithmic scale; low > 0.
        step: distance of neighbouring values; must divide high - low.
        default: of the model; else the middle of the range.
        grid: values that a grid search takes.
        when: active only if the named parameters have (one of) these values.
        within: hard limits (least, most) of what `--set` may widen the range to; None: no limit.
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None
    default: float | None = None
    grid: Sequence[float] | None = None
    when: When | None = None
    within: Within | None = None


@dataclass(frozen=True)
class Int(_Number):
    """A whole number in [low, high]; arguments as for `Float`."""

    low: int
    high: int
    log: bool = False
    step: int = 1
    default: int | None = None
    grid: Sequence[int] | None = None
    when: When | None = None
    within: Within | None = None


@dataclass(frozen=True, init=False)
class Choice:
    """One of several values (str, int, float, bool or None); the first is the default.

    Args:
        within: of numbers: `--set` may give others from least to most; None: none.
    """

    choices: tuple[Any, ...]
    default: Any
    when: When | None
    within: Within | None

    def __init__(
        self,
        *choices: Any,
        default: Any = ...,
        when: When | None = None,
        within: Within | None = None,
    ) -> None:
        choices, default = tuple(map(_plain, choices)), _plain(default)
        object.__setattr__(self, "choices", choices)
        first = choices[0] if choices else None
        object.__setattr__(self, "default", first if default is ... else default)
        object.__setattr__(self, "when", when)
        object.__setattr__(self, "within", within)


Parameter = Float | Int | Choice


def lattice(parameter: Parameter) -> list[Any] | None:
    """Every value of a parameter with finitely many; None if it is continuous."""
    if isinstance(parameter, Choice):
        return list(parameter.choices)
    if isinstance(parameter, Int):
        return list(range(int(parameter.low), int(parameter.high) + 1, int(parameter.step)))
    if parameter.low == parameter.high:
        return [float(parameter.low)]
    if parameter.step is None:
        return None
    low, step = decimal(parameter.low), decimal(parameter.step)
    n_steps = int((decimal(parameter.high) - low) / step)
    return [float(low + step * k) for k in range(n_steps + 1)]


def n_values(parameter: Parameter) -> int | None:
    """How many values a parameter has, without listing them; None if it is continuous."""
    if isinstance(parameter, Choice):
        return len(parameter.choices)
    if parameter.low == parameter.high:
        return 1
    if parameter.step is None:
        return None
    span = decimal(parameter.high) - decimal(parameter.low)
    return int(span / decimal(parameter.step)) + 1


def grid_values(parameter: Parameter) -> list[Any] | None:
    """The values a grid takes; None for a continuous parameter that declares none."""
    listed = _listed_grid(parameter)
    return lattice(parameter) if listed is None else listed


def n_grid_values(parameter: Parameter) -> int | None:
    """How many values a grid takes, without listing a range; None as for `grid_values`."""
    listed = _listed_grid(parameter)
    return n_values(parameter) if listed is None else len(listed)


def _listed_grid(parameter: Parameter) -> list[Any] | None:
    """The grid's values if they are not simply all that the range has."""
    if isinstance(parameter, Choice):
        return list(parameter.choices)
    if parameter.grid is not None:
        return list(dict.fromkeys(normalize(parameter, value) for value in parameter.grid))
    if isinstance(parameter, Int) and parameter.log:
        low, high = int(parameter.low), int(parameter.high)
        powers = [2**k for k in range(low.bit_length() - 1, high.bit_length()) if low < 2**k < high]
        return list(dict.fromkeys([low, *powers, high]))
    return None


def default_value(parameter: Parameter) -> Any:
    """The declared default, or the middle of the range on its lattice."""
    if isinstance(parameter, Choice) or parameter.default is not None:
        return normalize(parameter, parameter.default)
    low, high = float(parameter.low), float(parameter.high)
    middle = math.sqrt(low * high) if parameter.log else (low + high) / 2
    if isinstance(parameter, Int) and parameter.log:
        return int(min(max(round(middle), parameter.low), parameter.high))
    if parameter.step is None:
        return min(max(middle, low), high)
    step = decimal(parameter.step)
    n_steps = int((decimal(middle) - decimal(parameter.low)) / step)
    return normalize(parameter, decimal(parameter.low) + step * n_steps)


def normalize(parameter: Parameter, value: Any) -> Any:
    """The value in the parameter's own type: 16.0 is 16 for an `Int`, 1 is 1.0 for a `Float`."""
    if isinstance(parameter, Choice):
        return next(choice for choice in parameter.choices if same(choice, value))
    return int(value) if isinstance(parameter, Int) else float(value)


def value_problem(parameter: Parameter, value: Any) -> str | None:
    """Why the parameter can't have this value, or None."""
    if isinstance(parameter, Choice):
        if among(value, parameter.choices):
            return None
        return f"{value!r} is not one of {', '.join(map(repr, parameter.choices))}"
    if problem := _number_problem(parameter, value):
        return problem
    if not parameter.low <= value <= parameter.high:
        return f"{value!r} lies outside {parameter.low}..{parameter.high}"
    return _step_problem(parameter, value)


def limit_problem(parameter: Parameter, value: Any) -> str | None:
    """Why `--set` can't give the parameter this number, or None; its range is a proposal only."""
    if problem := _number_problem(parameter, value):
        return problem
    least, most = limits(parameter)
    if value < least or value > most:
        shown = int(value) if _is_whole(parameter) else value
        bounds = f"at least {least:g}" if math.isinf(most) else f"within {least:g}..{most:g}"
        return f"{shown!r} must be {bounds if math.isfinite(least) else f'at most {most:g}'}"
    return _step_problem(parameter, value)


def limits(parameter: Parameter) -> tuple[float, float]:
    """The hard limits that a parameter declares, infinite where it declares none."""
    least, most = parameter.within or (None, None)
    return -math.inf if least is None else least, math.inf if most is None else most


def _number_problem(parameter: Parameter, value: Any) -> str | None:
    if not is_number(value):
        return f"{value!r} must be a finite number"
    if _is_whole(parameter) and value != int(value):
        return f"{value!r} must be a whole number"
    return None


def _is_whole(parameter: Parameter) -> bool:
    if isinstance(parameter, Choice):
        return all(isinstance(choice, int) for choice in parameter.choices)
    return isinstance(parameter, Int)


def _step_problem(parameter: Parameter, value: Any) -> str | None:
    if isinstance(parameter, Choice):
        return None
    if parameter.step is not None and not on_lattice(parameter, value):
        return f"{value!r} is not {parameter.low} plus a multiple of the step {parameter.step}"
    return None


def on_lattice(parameter: Float | Int, value: Any) -> bool:
    """Whether a value within the range is a whole number of steps from low."""
    step = decimal(parameter.step or 1)
    return (decimal(value) - decimal(parameter.low)) % step == 0


def problems_of(parameter: Any) -> list[str]:
    """Every reason why the parameter cannot work, taken by itself."""
    if isinstance(parameter, Choice):
        return _choice_problems(parameter)
    if not isinstance(parameter, Float | Int):
        return [f"{parameter!r:.60} is not a parameter: {_meant(parameter)}"]
    if not isinstance(parameter.log, bool):
        form = f"{type(parameter).__name__}({parameter.low!r}, {parameter.high!r}"
        return [f"log {parameter.log!r} must be True or False: write {form}, log=True) or step=..."]
    found = _range_problems(parameter) or _limit_problems(parameter)
    if found:
        return found
    if parameter.default is not None and (problem := value_problem(parameter, parameter.default)):
        found.append(f"default {problem}: choose one within")
    return found + _grid_problems(parameter)


def _meant(value: Any) -> str:
    """The parameter that a value of another kind may stand for."""
    low, high = getattr(value, "low", None), getattr(value, "high", None)
    low, high = getattr(value, "lower", low), getattr(value, "upper", high)
    listed = getattr(value, "choices", getattr(value, "categories", value))
    if is_number(low) and is_number(high):  # of Optuna or Ray
        kind = "Int" if isinstance(low, int) and isinstance(high, int) else "Float"
        log = ", log=True" if getattr(value, "log", False) else ""
        return f"write {kind}({low!r}, {high!r}{log})"
    if isinstance(listed, list | tuple) and listed:
        shown = ", ".join(map(repr, listed))
        if isinstance(listed, tuple) and len(listed) == 2 and all(map(is_number, listed)):
            kind = "Int" if all(isinstance(v, int) for v in listed) else "Float"
            return f"write {kind}({shown}) for a range, Choice({shown}) for these two"
        return f"write Choice({shown})"
    if isinstance(value, str | int | float):
        return f"write Choice({value!r}), or leave it out of the space"
    return "use Float, Int or Choice"


def _grid_problems(parameter: Float | Int) -> list[str]:
    if parameter.grid is None:
        return []
    values = as_values(parameter.grid)
    if not values:
        return ["grid is empty: give values, or leave it out"]
    found = [f"grid value {p}: drop it" for v in values if (p := value_problem(parameter, v))]
    if not found and len({normalize(parameter, v) for v in values}) < len(values):
        found.append(f"grid {list(values)} holds a value twice: drop one")
    return found


def _range_problems(parameter: Float | Int) -> list[str]:
    found = []
    bounds = {"low": parameter.low, "high": parameter.high}
    for name, value in bounds.items():
        if not is_number(value):
            found.append(f"{name} {value!r:.60} must be a finite number")
        elif isinstance(parameter, Int) and value != int(value):
            found.append(f"{name} {value!r} must be whole: use Float, or round it")
    if found:
        return found
    low, high, step = parameter.low, parameter.high, parameter.step
    if low > high:
        found.append(f"low {low} > high {high}: swap them")
    if parameter.log and low <= 0:
        found.append(f"low {low} must be above 0 with log=True: raise it, or drop log")
    if step is not None:
        found += _step_problems(parameter)
    if not found:
        whole = isinstance(parameter, Int)
        problem = span_problem(low, high, step, whole=whole, log=parameter.log)
        found += [problem] if problem else []
    if not found and step is not None and (decimal(high) - decimal(low)) % decimal(step) != 0:
        found.append(f"step {step} does not divide {low}..{high}: change high or step")
    return found


def _step_problems(parameter: Float | Int) -> list[str]:
    step: Any = parameter.step
    if not is_number(step) or step <= 0 or (isinstance(parameter, Int) and step != int(step)):
        kind = "a whole number" if isinstance(parameter, Int) else "a number"
        return [f"step {step!r} must be {kind} above 0"]
    if parameter.log and not (isinstance(parameter, Int) and step == 1):
        return [f"step {step} and log=True exclude each other: drop one"]
    return []


def _limit_problems(parameter: Parameter) -> list[str]:
    within = parameter.within
    if within is None:
        return []
    values = parameter.choices if isinstance(parameter, Choice) else (parameter.low, parameter.high)
    if not all(map(is_number, values)):
        return [f"within {within!r} beside {', '.join(map(repr, values))}: it is for numbers"]
    given = isinstance(within, tuple | list) and len(within) == 2
    if not given or not all(v is None or is_number(v) for v in within):
        return [f"within {within!r} must be (least, most), numbers or None"]
    least, most = limits(parameter)
    if least <= min(values) and max(values) <= most:
        return []
    return [f"within {tuple(within)} does not hold {min(values)}..{max(values)}: widen it"]


def _choice_problems(parameter: Choice) -> list[str]:
    choices = parameter.choices
    if not choices:
        return ["no choices: give at least one"]
    if len(choices) == 1 and isinstance(choices[0], list | tuple | set | frozenset | range | dict):
        listed = ", ".join(map(repr, choices[0]))
        return [f"{choices[0]!r:.60} is one list: write the values alone: Choice({listed:.60})"]
    found = []
    for value in choices:
        odd = not isinstance(value, str | int | float | bool | type(None))
        if odd or (isinstance(value, float) and not math.isfinite(value)):
            found.append(f"choice {value!r:.60} must be text, a finite number, a bool or None")
        elif isinstance(value, str) and not is_fit(value):
            found.append(
                f"choice {value!a:.60} holds a character that cannot be shown or stored: "
                "let a name stand for it"
            )
    if found:
        return found
    if len(choices) > MOST_CHOICES:
        return [f"{len(choices):,} choices are more than {MOST_CHOICES:,}: search an Int instead"]
    before: dict[Any, Any] = {}
    for value in choices:
        if value not in before:
            before[value] = value
        elif type(before[value]) is type(value):
            found.append(f"choice {value!r} stands twice: drop one")
        else:
            pair = f"choices {before[value]!r} and {value!r}"
            found.append(f"{pair} are equal in Python: drop one, or use text")
    found += _limit_problems(parameter)
    if not among(parameter.default, choices):
        found.append(f"default {parameter.default!r} is not a choice: add it, or choose another")
    return found
