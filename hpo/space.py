"""Search spaces: one declaration gives Optuna distributions, exact grids and skopt dimensions.

Importing this file imports neither Optuna nor skopt.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from hpo import parameter_forms as forms
from hpo.errors import SpecError
from hpo.parameter import (
    Choice,
    Float,
    Int,
    Parameter,
    among,
    as_values,
    default_value,
    grid_values,
    lattice,
    n_grid_values,
    n_values,
    normalize,
    problems_of,
    value_problem,
)

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

__all__ = ["Choice", "Float", "Int", "Parameter", "Space"]

MAX_SIZE = 1_000_000
"""A space with more points than this is not enumerated."""
_RANDOM_TRIES = 10_000

Params = Mapping[str, Any]


class Space:
    """Named parameters, their conditions, and combinations that must not be tried.

    >>> space = Space(
    ...     optimizer=Choice("sgd", "adamw"),
    ...     momentum=Float(0.0, 0.9, step=0.3, when={"optimizer": "sgd"}),
    ... )
    >>> space.grid_size()
    5

    Args:
        forbidden: rules such as `{"optimizer": "sgd", "depth": (4, 5)}`; a point that matches
            all entries of a rule is never proposed.
        params: `Float`, `Int` or `Choice` by name.
    Raises:
        SpecError: with every problem of the whole space, a line each.
    """

    def __init__(
        self, *unnamed: Any, forbidden: Sequence[Mapping[str, Any]] = (), **params: Parameter
    ) -> None:
        if unnamed:
            form = "Space.of({...})" if isinstance(unnamed[0], dict) else "Space(lr=Float(...))"
            raise SpecError(f"space: {unnamed[0]!r:.60} has no name: write {form}")
        self._build(params, forbidden)

    @classmethod
    def of(
        cls, params: Mapping[str, Parameter], forbidden: Sequence[Mapping[str, Any]] = ()
    ) -> Space:
        """A space from a mapping, for names that clash with Python's."""
        space = cls.__new__(cls)
        space._build(params, forbidden)
        return space

    def _build(self, params: Mapping[str, Parameter], forbidden: Sequence[Params]) -> None:
        self._params = dict(params)
        self.forbidden: tuple[Params, ...] = tuple(dict(rule) for rule in forbidden)
        problems = [
            f"{name}: {problem}" for name, p in params.items() for problem in problems_of(p)
        ]
        problems += [
            f"{name!r}: must be a Python identifier: rename it"
            for name in params
            if not name.isidentifier()
        ]
        if problems:
            raise SpecError(problems)
        self._defaults = {name: default_value(p) for name, p in params.items()}
        self._when: dict[str, dict[str, tuple[Any, ...]]] = {
            name: {parent: as_values(v) for parent, v in (p.when or {}).items()}
            for name, p in params.items()
        }
        problems = self._condition_problems()
        if problems:
            raise SpecError(problems)
        self.order: tuple[str, ...] = self._sorted()
        problems = self._rule_problems()
        if problems:
            raise SpecError(problems)

    # What it holds

    @property
    def names(self) -> tuple[str, ...]:
        """Parameters as declared."""
        return tuple(self._params)

    @property
    def params(self) -> Mapping[str, Parameter]:
        """Parameters by name."""
        return MappingProxyType(self._params)

    @property
    def has_conditions(self) -> bool:
        """Whether some parameter is not always active."""
        return any(self._when.values())

    def conditions(self, name: str) -> Mapping[str, tuple[Any, ...]]:
        """The values that other parameters must have for this one to count."""
        return self._when[name]

    def __getitem__(self, name: str) -> Parameter:
        return self._params[name]

    def __len__(self) -> int:
        return len(self._params)

    def __iter__(self) -> Iterator[str]:
        return iter(self._params)

    def __contains__(self, name: object) -> bool:
        return name in self._params

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Space) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash(json.dumps(self.to_json(), sort_keys=True))

    def __repr__(self) -> str:
        return f"Space({', '.join(f'{name}={p!r}' for name, p in self._params.items())})"

    # Checks at construction

    def _condition_problems(self) -> list[str]:
        problems = []
        for name, when in self._when.items():
            for parent, values in when.items():
                if parent not in self._params:
                    hint = self._suggest(parent)
                    problems.append(f"{name}: when names {parent!r}, which is no parameter{hint}")
                    continue
                problems += [
                    f"{name}: when {parent}={value!r} can never be: {problem}"
                    for value in values
                    if (problem := value_problem(self._params[parent], value))
                ]
                if not values:
                    problems.append(f"{name}: when {parent} lists no value: give one")
        return problems or self._cycle_problems()

    def _cycle_problems(self) -> list[str]:
        for name in self._params:
            seen, waiting = set(), [name]
            while waiting:
                for parent in self._when[waiting.pop()]:
                    if parent == name:
                        return [f"{name}: its condition depends on itself: break the cycle"]
                    if parent not in seen:
                        seen.add(parent)
                        waiting.append(parent)
        return []

    def _sorted(self) -> tuple[str, ...]:
        ordered: list[str] = []

        def place(name: str) -> None:
            if name not in ordered:
                for parent in self._when[name]:
                    place(parent)
                ordered.append(name)

        for name in self._params:
            place(name)
        return tuple(ordered)

    def _rule_problems(self) -> list[str]:
        problems = []
        for rule in self.forbidden:
            shown = json.dumps(rule, default=str)
            if not rule:
                problems.append("forbidden: an empty rule forbids everything: drop it")
            for name, values in rule.items():
                if name not in self._params:
                    hint = self._suggest(name)
                    problems.append(f"forbidden {shown}: {name!r} is no parameter{hint}")
                    continue
                problems += [
                    f"forbidden {shown}: {name}={value!r} can never be: {problem}"
                    for value in as_values(values)
                    if (problem := value_problem(self._params[name], value))
                ]
        if not problems and self.is_forbidden(self.default()):
            problems.append("forbidden: a rule matches the default point: change one of them")
        return problems

    def _suggest(self, name: str) -> str:
        near = get_close_matches(name, self._params, n=1)
        return f": did you mean {near[0]!r}?" if near else f": choose from {', '.join(self.names)}"

    # Points

    def is_active(self, name: str, params: Params) -> bool:
        """Whether a parameter counts, given its parents' values in `params`."""
        return all(
            parent in params and among(params[parent], values)
            for parent, values in self._when[name].items()
        )

    def is_forbidden(self, params: Params) -> bool:
        """Whether a point matches a rule; a rule on an inactive parameter does not match."""
        return any(
            all(n in params and among(params[n], as_values(v)) for n, v in rule.items())
            for rule in self.forbidden
        )

    def default(self) -> dict[str, Any]:
        """The default point, active parameters only."""
        point: dict[str, Any] = {}
        for name in self.order:
            if self.is_active(name, point):
                point[name] = self._defaults[name]
        return self._declared_order(point)

    def _declared_order(self, point: Params) -> dict[str, Any]:
        return {name: point[name] for name in self._params if name in point}

    def validate(self, params: Params) -> list[str]:
        """Every reason why this is not an allowed point; empty if it is one."""
        problems = [
            f"{name}: {params[name]!r}: no such parameter{self._suggest(name)}"
            for name in params
            if name not in self._params
        ]
        for name in self.order:
            active = self.is_active(name, params)
            if name in params and not active:
                problems.append(f"{name}: {params[name]!r} given, but its condition does not hold")
            elif active and name not in params:
                problems.append(f"{name}: missing: give a value")
            elif active and (problem := value_problem(self._params[name], params[name])):
                problems.append(f"{name}: {problem}")
        if not problems and self.is_forbidden(params):
            problems.append(f"{dict(params)!r}: forbidden by a rule of the space")
        return problems

    def key(self, params: Params) -> str:
        """Canonical text of a point: equal points have equal keys."""
        known = {
            name: normalize(self._params[name], value)
            if name in self._params and not value_problem(self._params[name], value)
            else value
            for name, value in params.items()
        }
        return json.dumps(known, sort_keys=True)

    def size(self) -> int | None:
        """Number of allowed points; None if continuous or more than a million."""
        return sum(1 for _ in self.points()) if self.finite else None

    @cached_property
    def finite(self) -> bool:
        """Whether the values of all parameters have at most a million combinations."""
        sizes = [n_values(parameter) for parameter in self._params.values()]
        return None not in sizes and math.prod(n or 1 for n in sizes) <= MAX_SIZE

    def points(self) -> Iterator[dict[str, Any]]:
        """Every allowed point, the last parameter changing fastest; none unless `finite`."""
        return self._walk(self._lattices) if self.finite else iter(())

    @cached_property
    def _lattices(self) -> dict[str, list[Any]]:
        return {name: lattice(p) or [] for name, p in self._params.items()}

    def _walk(self, values: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
        """All allowed points over the values listed by name."""

        def extend(index: int, point: dict[str, Any]) -> Iterator[dict[str, Any]]:
            if index == len(self.order):
                if not self.is_forbidden(point):
                    yield self._declared_order(point)
                return
            name = self.order[index]
            if not self.is_active(name, point):
                yield from extend(index + 1, point)
                return
            for value in values[name]:
                yield from extend(index + 1, {**point, name: value})

        return extend(0, {})

    def grid(self) -> list[dict[str, Any]]:
        """Every point of the grid once, active parameters only.

        Raises:
            SpecError: a continuous parameter declares no grid values, or there are more than a
                million points.
        """
        if (size := self.grid_size()) > MAX_SIZE:
            largest = max(self._params, key=lambda name: n_grid_values(self._params[name]) or 0)
            raise SpecError(
                f"grid: {size:,} points are more than {MAX_SIZE:,}: give values with "
                f"--set {largest}=A,B,C, or choose another sampler"
            )
        return list(self._walk(self._grids()))

    def grid_size(self) -> int:
        """Number of points of the grid, without listing them; an upper bound if more than a million
        combinations would have to be looked at for conditions and rules.

        Raises:
            SpecError: a continuous parameter declares no grid values.
        """
        self._check_grid()
        sizes = {name: n_grid_values(p) or 1 for name, p in self._params.items()}
        looked_at = {name for rule in self.forbidden for name in rule}
        looked_at.update(parent for when in self._when.values() for parent in when)
        if math.prod(sizes[name] for name in looked_at) > MAX_SIZE:
            return math.prod(sizes.values())
        values = {
            name: grid_values(p) or [] if name in looked_at else [self._defaults[name]]
            for name, p in self._params.items()
        }
        return sum(
            math.prod(sizes[name] for name in point if name not in looked_at)
            for point in self._walk(values)
        )

    def _grids(self) -> dict[str, list[Any]]:
        return {name: grid_values(p) or [] for name, p in self._params.items()}

    def _check_grid(self) -> None:
        problems = [
            f"{name}: continuous {p.low}..{p.high} has no grid values: give them with "
            f"--set {name}=A,B,C, or declare grid=(...) or step"
            for name, p in self._params.items()
            if isinstance(p, Float) and n_grid_values(p) is None
        ]
        if problems:
            raise SpecError(problems)

    def random(self, rng: Any) -> dict[str, Any]:
        """One allowed point, uniform over the ranges.

        Args:
            rng: a `random.Random` or a `numpy.random.Generator`.
        Raises:
            SpecError: hardly any point is allowed.
        """
        for _ in range(_RANDOM_TRIES):
            point: dict[str, Any] = {}
            for name in self.order:
                if self.is_active(name, point):
                    point[name] = forms.draw(self._params[name], rng)
            if not self.is_forbidden(point):
                return self._declared_order(point)
        raise SpecError("forbidden: the rules leave hardly a point to try: relax them")

    # Other libraries' forms

    def distributions(self) -> dict[str, BaseDistribution]:
        """Optuna distributions of all parameters, active or not."""
        return {name: forms.distribution(p) for name, p in self._params.items()}

    def suggest(self, trial: Any) -> dict[str, Any]:
        """Draws a point from an Optuna trial, active parameters only."""
        point: dict[str, Any] = {}
        for name in self.order:
            if self.is_active(name, point):
                point[name] = forms.suggest(self._params[name], name, trial)
        return self._declared_order(point)

    def skopt_dimensions(self) -> list[Any]:
        """scikit-optimize dimensions in the order of `names`; stepped ones by lattice index."""
        return [forms.skopt_dimension(p, name) for name, p in self._params.items()]

    def to_skopt(self, params: Params) -> list[Any]:
        """A point in the form of `skopt_dimensions`; inactive parameters at their default."""
        return [
            forms.encode(p, params.get(name, self._defaults[name]))
            for name, p in self._params.items()
        ]

    def from_skopt(self, values: Sequence[Any]) -> dict[str, Any]:
        """The active point behind values in the form of `skopt_dimensions`."""
        flat = {
            name: forms.decode(p, value)
            for (name, p), value in zip(self._params.items(), values, strict=True)
        }
        point: dict[str, Any] = {}
        for name in self.order:
            if self.is_active(name, point):
                point[name] = flat[name]
        return self._declared_order(point)

    def to_json(self) -> dict[str, Any]:
        """The space as JSON-able data, without loss."""
        return {
            "params": {name: forms.to_json(p) for name, p in self._params.items()},
            "forbidden": [{n: list(as_values(v)) for n, v in r.items()} for r in self.forbidden],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Space:
        """The space that `to_json` wrote.

        Raises:
            SpecError: it is not one.
        """
        try:
            params = {name: forms.from_json(p) for name, p in data["params"].items()}
            return cls.of(params, data.get("forbidden", ()))
        except (KeyError, TypeError, AttributeError) as error:
            raise SpecError(f"space: not a stored space: {error}") from None

    def fingerprint(self) -> str:
        """16 hex digits that change when what can be proposed changes."""
        bare = self.to_json()
        for parameter in bare["params"].values():
            parameter.pop("default", None)
            parameter.pop("grid", None)
            parameter.pop("within", None)
        return hashlib.sha256(json.dumps(bare, sort_keys=True).encode()).hexdigest()[:16]
