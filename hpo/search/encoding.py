"""Points of a space as rows of numbers, for surrogate models and their candidates.

| symbol | meaning |
|---|---|
| P | parameters of the space with more than one value |
| x [N, P] | positions: a number's place in its range, 0 to 1, on its scale; a choice's index |
| z [N, F] | features: positions, choices one column a value, inactive parameters at one place |
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpo.parameter import Choice, Int, Parameter, n_values, normalize
from hpo.parameter_forms import decode, encode
from hpo.space import Space

Rows = NDArray[np.float64]
MIDDLE = 0.5
"""Where an inactive number stands, so that two points that both lack it do not differ by it."""


class _Column:
    """One parameter: its positions, their lattice, its features."""

    def __init__(self, name: str, p: Parameter) -> None:
        self.name = name
        self.p = p
        self.choice = isinstance(p, Choice)
        self.n = n_values(p)  # None: continuous
        self.log = not isinstance(p, Choice) and p.log
        if not isinstance(p, Choice):
            self.low, self.high = self._scaled(float(p.low)), self._scaled(float(p.high))

    def _scaled(self, value: float) -> float:
        return math.log(value) if self.log else value

    def position(self, value: Any) -> float:
        """Where a value stands."""
        if self.choice:
            return float(encode(self.p, value))
        return (self._scaled(float(value)) - self.low) / (self.high - self.low)

    def value(self, position: float) -> Any:
        """The value there, exactly on its lattice."""
        if isinstance(self.p, Choice):
            return self.p.choices[round(position)]
        if self.n is not None and not self.log:
            index = round(position * (self.n - 1))
            step = isinstance(self.p, Int) and self.p.step == 1
            return int(self.p.low) + index if step else decode(self.p, index)
        number = self.low + position * (self.high - self.low)
        number = math.exp(number) if self.log else number
        number = min(max(number, float(self.p.low)), float(self.p.high))
        return normalize(self.p, round(number) if isinstance(self.p, Int) else number)

    def snap(self, positions: Rows) -> Rows:
        """The nearest positions that there are."""
        if self.choice:
            return np.clip(np.rint(positions), 0, self.n - 1)  # type: ignore[operator]
        positions = np.clip(positions, 0.0, 1.0)
        if self.n is None:
            return positions
        if not self.log:
            return np.rint(positions * (self.n - 1)) / (self.n - 1)
        values = np.rint(np.exp(self.low + positions * (self.high - self.low)))
        return (np.log(values) - self.low) / (self.high - self.low)

    def of_shares(self, shares: Rows) -> Rows:
        """Positions of equally probable values, from numbers in [0, 1)."""
        if self.n is None:
            return shares
        if not self.log or self.choice:
            index: Rows = np.minimum(np.floor(shares * self.n), self.n - 1)
            return index if self.choice else np.divide(index, self.n - 1)
        assert isinstance(self.p, Int)
        low, high = math.log(self.p.low - 0.5), math.log(self.p.high + 0.5)
        values = np.clip(np.rint(np.exp(low + shares * (high - low))), self.p.low, self.p.high)
        return np.asarray((np.log(values) - self.low) / (self.high - self.low))


class Encoding:
    """Between a space's points and rows of positions and features.

    Attributes:
        columns: the parameters with more than one value, in the space's order.
        groups: [F] the parameter that each feature belongs to, as its index.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self.single = {name: space[name] for name in space.order if n_values(space[name]) == 1}
        self.columns = [
            _Column(name, space[name]) for name in space.order if name not in self.single
        ]
        self._index = {column.name: i for i, column in enumerate(self.columns)}
        self.groups = np.array(
            [i for i, c in enumerate(self.columns) for _ in range(self._width(c))], dtype=int
        )
        self.default = self.encode(space.default())

    @staticmethod
    def _width(column: _Column) -> int:
        return int(column.n or 1) if column.choice else 1

    def encode(self, point: Mapping[str, Any]) -> Rows:
        """[P] positions of a point; NaN where a parameter is inactive."""
        return np.array(
            [c.position(point[c.name]) if c.name in point else math.nan for c in self.columns]
        )

    def decode(self, x: Rows) -> dict[str, Any]:
        """The active point at the positions [P]."""
        known = ~np.isnan(self.default)
        if np.array_equal(x[known], self.default[known]):  # exactly, despite rounding
            return self.space.default()
        point: dict[str, Any] = {}
        for name in self.space.order:
            if self.space.is_active(name, point):
                if name in self.single:
                    p = self.single[name]
                    point[name] = p.choices[0] if isinstance(p, Choice) else normalize(p, p.low)
                else:
                    i = self._index[name]
                    point[name] = self.columns[i].value(float(x[i]))
        return {name: point[name] for name in self.space.names if name in point}

    def of_shares(self, shares: Rows) -> Rows:
        """[N, P] positions of equally probable points, from numbers in [0, 1)."""
        found = [c.of_shares(shares[:, i]) for i, c in enumerate(self.columns)]
        return np.stack(found, axis=1)

    def snap(self, x: Rows) -> Rows:
        """[N, P] the nearest positions that there are."""
        return np.stack([c.snap(x[:, i]) for i, c in enumerate(self.columns)], axis=1)

    def active(self, x: Rows) -> NDArray[np.bool_]:
        """[N, P] which parameters count, given the positions of those they depend on."""
        found = np.ones(x.shape, dtype=bool)
        if not self.space.has_conditions:
            return found
        for name in self.space.order:
            if name not in self._index:
                continue
            for parent, values in self.space.conditions(name).items():
                if parent not in self._index:  # it has one value, which the condition allows
                    continue
                j = self._index[parent]
                at = [self.columns[j].position(value) for value in values]
                holds = np.isclose(x[:, [j]], np.array(at)[None, :], atol=1e-9).any(axis=1)
                found[:, self._index[name]] &= holds & found[:, j]
        return found

    def features(self, x: Rows) -> Rows:
        """[N, F] what a surrogate sees; the distance of two different choices is 1."""
        active = self.active(x)
        parts = []
        for i, column in enumerate(self.columns):
            if column.choice:
                index = np.where(active[:, i], x[:, i], column.position(column.p.default))
                parts.append((index[:, None] == np.arange(int(column.n or 1))) / math.sqrt(2))
            else:
                parts.append(np.where(active[:, i], x[:, i], MIDDLE)[:, None])
        return np.concatenate(parts, axis=1)

    def features_of(self, points: Iterable[Mapping[str, Any]]) -> Rows:
        """[N, F] the features of points."""
        return self.features(np.array([np.nan_to_num(self.encode(point)) for point in points]))

    def forbidden(self, x: Rows) -> NDArray[np.bool_]:
        """[N] whether a rule of the space forbids the point."""
        if not self.space.forbidden:
            return np.zeros(len(x), dtype=bool)
        return np.array([self.space.is_forbidden(self.decode(row)) for row in x], dtype=bool)
