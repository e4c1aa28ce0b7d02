"""How spaces change: by the command line, and what a study's history survives."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hpo.errors import SpecError
from hpo.parameter import (
    Choice,
    Float,
    Int,
    Parameter,
    among,
    as_values,
    decimal,
    default_value,
    is_number,
    limit_problem,
    limits,
    normalize,
    on_lattice,
    problems_of,
    value_problem,
)
from hpo.space import Space

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def narrow(space: Space, settings: Mapping[str, str]) -> tuple[Space, dict[str, Any]]:
    """A space by what a user says on the command line: narrower, or wider within hard limits.

    Args:
        settings: `{"lr": "1e-3"}` fixes, `"16..64"` is a range, `"1e-3,1e-2"` and `"sgd,adamw"`
            are just these values.
    Returns:
        The space of what is left to search, and the fixed values by name.
    Raises:
        SpecError: with every problem, a line each.
    """
    problems: list[str] = []
    fixed: dict[str, Any] = {}
    narrowed = dict(space.params)
    for name, text in settings.items():
        if name not in space:
            problems.append(f"set {name}: {text!r}: no such parameter{space._suggest(name)}")
            continue
        try:
            part = _part(space[name], text.strip())
        except ValueError as error:
            problems.append(f"set {name}: {text!r}: {error}")
            continue
        if isinstance(part, Float | Int | Choice):
            narrowed[name] = part
        else:
            fixed[name] = part[0]
    if problems:
        raise SpecError(problems)
    return _without(space, narrowed, fixed)


def _part(p: Parameter, text: str) -> Parameter | tuple[Any]:
    """The parameter as the text has it, or the one value it is fixed to in a tuple."""
    low, dots, high = text.partition("..")
    if high.startswith("."):
        raise ValueError("three dots: write LOW..HIGH, with a digit before a point")
    if isinstance(p, Choice):
        if dots and all(map(is_number, p.choices)):
            return _between(p, _float(low), _float(high))
        values = [_choice(p, one.strip()) for one in text.split(",")]
        kept = tuple(c for c in p.choices if among(c, values))
        listed = replace_choice(p, kept + tuple(v for v in values if not among(v, p.choices)))
    elif dots:
        return _range(p, _number(p, low), _number(p, high))
    else:
        values = [_number(p, one) for one in text.split(",")]
        default = default_value(p)
        default = default if among(default, values) else values[0]
        listed = Choice(*values, default=default, when=p.when)
    if len(values) == 1:
        return (values[0],)
    if problems := problems_of(listed):
        raise ValueError("; ".join(problems))
    return listed


def _between(p: Choice, low: float, high: float) -> Choice:
    """The choices that are numbers from low to high."""
    kept = tuple(choice for choice in p.choices if low <= choice <= high)
    if not kept:
        raise ValueError(f"none of {', '.join(map(str, p.choices))} is in {low:g}..{high:g}")
    return replace_choice(p, kept)


def replace_choice(p: Choice, choices: tuple[Any, ...]) -> Choice:
    """The same parameter with other choices; its default is kept where it can be."""
    default = p.default if among(p.default, choices) else choices[0]
    return Choice(*choices, default=default, when=p.when, within=p.within)


def _choice(p: Choice, text: str) -> Any:
    by_text = {str(choice): choice for choice in p.choices}
    lowered = {str(choice).lower(): choice for choice in p.choices}
    for table, key in ((by_text, text), (lowered, text.lower())):
        if key in table:
            return table[key]
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    for choice in p.choices:  # 1e-3 for 0.001
        if is_number(choice) and choice == value:
            return choice
    if p.within is None or math.isnan(value):
        least, most = limits(p)
        other = "" if p.within is None else f", nor a number in {least:g}..{most:g}"
        raise ValueError(f"{text!r} is not one of {', '.join(by_text)}{other}")
    if problem := limit_problem(p, value):
        raise ValueError(problem)
    return int(value) if all(isinstance(choice, int) for choice in p.choices) else value


def _float(text: str) -> float:
    """The number that a text has; what Python takes beside it is more often a slip."""
    if not _NUMBER.fullmatch(text.strip()):
        raise ValueError(f"{text.strip()!r} must be a number, LOW..HIGH or A,B,C")
    value = float(text)
    if math.isinf(value) or (value == 0 and re.search("[1-9]", text.lower().partition("e")[0])):
        raise ValueError(f"{text.strip()!r} is beyond what a float can hold")
    return value


def _number(p: Float | Int, text: str) -> Any:
    value = _float(text)
    if problem := limit_problem(p, value):
        raise ValueError(problem)
    if p.log and value <= 0:
        raise ValueError(f"{value:g} must be above 0: the parameter is on a log scale")
    return normalize(p, int(text) if text.strip().lstrip("+-").isdigit() else value)


def _range(p: Float | Int, low: Any, high: Any) -> Float | Int:
    grid: Any = None if p.grid is None else tuple(v for v in p.grid if low <= v <= high) or None
    part = replace(p, low=low, high=high, grid=grid, default=None)
    if problems := problems_of(part):
        raise ValueError("; ".join(problems))
    if value_problem(part, default_value(p)) is None:
        part = replace(part, default=default_value(p))
    return part


def _without(
    space: Space, narrowed: dict[str, Parameter], fixed: dict[str, Any]
) -> tuple[Space, dict[str, Any]]:
    """Takes fixed parameters out and resolves the conditions and rules that named them."""
    problems: list[str] = []
    params: dict[str, Parameter] = {}
    dropped: set[str] = set()
    given = dict(fixed)
    for name in space.order:
        p = narrowed[name]
        when = {parent: as_values(values) for parent, values in (p.when or {}).items()}
        never = [
            parent
            for parent, values in when.items()
            if parent in dropped
            or (parent in fixed and not among(fixed[parent], values))
            or (parent in params and not _can_be(params[parent], values))
        ]
        if never:
            dropped.add(name)
            if name in given:
                problems.append(
                    f"set {name}: {given[name]!r}: never active, its condition on {never[0]} "
                    "cannot hold: drop it"
                )
                fixed.pop(name)
            continue
        left = {
            parent: tuple(v for v in values if value_problem(params[parent], v) is None)
            for parent, values in when.items()
            if parent in params
        }
        if name not in fixed:
            params[name] = replace_when(p, left or None)
        elif left:
            problems.append(
                f"set {name}: {given[name]!r}: active only when {', '.join(left)} allow it: "
                f"fix {', '.join(left)} too"
            )
    rules = []
    for rule in space.forbidden:
        rest = _rest_of_rule(rule, params, fixed, dropped)
        if rest == {}:
            problems.append(f"set: these values together are forbidden by the rule {dict(rule)!r}")
        elif rest is not None:
            rules.append(rest)
    if problems:
        raise SpecError(problems)
    ordered = {name: params[name] for name in space.names if name in params}
    return Space.of(ordered, rules), {n: fixed[n] for n in space.names if n in fixed}


def _can_be(p: Parameter, values: tuple[Any, ...]) -> bool:
    return any(value_problem(p, value) is None for value in values)


def replace_when(p: Parameter, when: Mapping[str, Any] | None) -> Parameter:
    """The same parameter under another condition."""
    if isinstance(p, Choice):
        return Choice(*p.choices, default=p.default, when=when, within=p.within)
    return replace(p, when=when)


def _rest_of_rule(
    rule: Mapping[str, Any],
    params: Mapping[str, Parameter],
    fixed: Mapping[str, Any],
    dropped: set[str],
) -> dict[str, Any] | None:
    """What is left of a rule after fixing; None if it can no longer match."""
    rest: dict[str, Any] = {}
    for name, values in rule.items():
        if name in dropped or (name in fixed and not among(fixed[name], as_values(values))):
            return None
        if name in params:
            possible = tuple(v for v in as_values(values) if value_problem(params[name], v) is None)
            if not possible:
                return None
            rest[name] = possible
    return rest


def changes(old: Space, new: Space) -> tuple[list[str], list[str]]:
    """What a study's history does and does not survive.

    Returns:
        (breaking, compatible): lines for people.  Compatible are a wider range of the same kind
        and more choices; all else is breaking.
    """
    breaking: list[str] = []
    compatible: list[str] = []
    for name in old.names:
        if name not in new:
            breaking.append(f"{name}: removed")
            continue
        broken, kept = _parameter_changes(old[name], new[name])
        breaking += [f"{name}: {line}" for line in broken]
        compatible += [f"{name}: {line}" for line in kept]
    breaking += [f"{name}: added" for name in new.names if name not in old]
    if old.to_json()["forbidden"] != new.to_json()["forbidden"]:
        gone = [r for r in old.to_json()["forbidden"] if r not in new.to_json()["forbidden"]]
        more = [r for r in new.to_json()["forbidden"] if r not in old.to_json()["forbidden"]]
        compatible += [f"forbidden: no longer {rule}" for rule in gone]
        breaking += [f"forbidden: now also {rule}" for rule in more]
    return breaking, compatible


def _conditions(p: Parameter) -> dict[str, list[Any]]:
    return {name: list(as_values(values)) for name, values in (p.when or {}).items()}


def _parameter_changes(old: Parameter, new: Parameter) -> tuple[list[str], list[str]]:
    if type(old) is not type(new):
        return [f"was {type(old).__name__}, is {type(new).__name__}"], []
    if _conditions(old) != _conditions(new):
        return [f"condition was {old.when}, is {new.when}"], []
    if isinstance(old, Choice) and isinstance(new, Choice):
        gone = [c for c in old.choices if not among(c, new.choices)]
        more = [c for c in new.choices if not among(c, old.choices)]
        return (
            [f"choice {choice!r} removed" for choice in gone],
            [f"choice {choice!r} added" for choice in more],
        )
    assert not isinstance(old, Choice) and not isinstance(new, Choice)
    broken = [
        f"{what} was {before}, is {after}"
        for what, before, after in (("log", old.log, new.log), ("step", old.step, new.step))
        if before != after
    ]
    was, now = f"{old.low}..{old.high}", f"{new.low}..{new.high}"
    if new.low > old.low or new.high < old.high:
        broken.append(f"range was {was}, is narrower: {now}")
    elif new.step is not None and not broken and not on_lattice(new, old.low):
        broken.append(f"range was {was}, is {now}: the steps no longer meet the old values")
    elif (new.low, new.high) != (old.low, old.high):
        return broken, [f"range was {was}, is wider: {now}"]
    return broken, []


def carried_over(space: Space, params: Mapping[str, Any]) -> dict[str, Any] | None:
    """A point of another space in this one: numbers at the nearest value that there is,
    parameters that it lacks at their defaults, those that only it has left out.

    Returns:
        The point, active parameters only; None if it has a choice that there is not, or if a
        rule forbids it.
    """
    point: dict[str, Any] = {}
    for name in space.order:
        if not space.is_active(name, point):
            continue
        p = space[name]
        if name not in params:
            point[name] = default_value(p)
        elif isinstance(p, Choice):
            value = _nearest_choice(p, params[name])
            if not among(value, p.choices):
                return None
            point[name] = normalize(p, value)
        elif not is_number(params[name]):
            return None
        else:
            point[name] = _nearest(p, params[name])
    if space.is_forbidden(point):
        return None
    return {name: point[name] for name in space.names if name in point}


def _nearest_choice(p: Choice, value: Any) -> Any:
    """The choice nearest to a number, where all are numbers; else the value as it is."""
    if not is_number(value) or not all(map(is_number, p.choices)):
        return value
    return min(p.choices, key=lambda choice: abs(choice - value))


def _nearest(p: Float | Int, value: float) -> Any:
    value = min(max(value, p.low), p.high)
    step = p.step or (1 if isinstance(p, Int) else None)
    if step is None or on_lattice(p, value):
        return normalize(p, value)
    n_steps = round((decimal(value) - decimal(p.low)) / decimal(step))
    return normalize(p, decimal(p.low) + decimal(step) * n_steps)
