"""A grid that a budget can pay for: a few levels of the first parameters, defaults for the rest."""

from __future__ import annotations

from typing import Any

from hpo.parameter import Choice, Float, Parameter, lattice, n_values
from hpo.parameter_forms import draw
from hpo.space import Space
from hpo.space_change import narrow

MOST_LEVELS = 5


def coarse_grid(space: Space, n_points: int) -> dict[str, str]:
    """Settings for `narrow` that leave a grid of at most so many points, and nearly as many.

    What a person does who has only a grid: the parameters, as declared, get two levels each as
    long as the budget lasts, then three, ...; the others stay at their defaults, and so do those
    that conditions of others depend on.
    """
    default = space.default()
    parents = {parent for p in space.params.values() for parent in (p.when or {})}
    values = {name: [value] for name, value in default.items()}
    n = 1
    for n_levels in range(2, MOST_LEVELS + 1):
        for name in default:
            if name in parents:
                continue
            finer = levels(space[name], n_levels, default[name])
            grown = n // len(values[name]) * len(finer)
            if len(finer) > len(values[name]) and grown <= n_points:
                values[name], n = finer, grown
    settings = {name: ",".join(map(str, listed)) for name, listed in values.items()}
    narrow(space, settings)  # rules of the space may forbid what is fixed together: say so now
    return settings


def levels(p: Parameter, n: int, default: Any) -> list[Any]:
    """Up to n values, evenly over the declared grid or the range (its middle parts); sorted.

    >>> from hpo.parameter import Float
    >>> levels(Float(1e-4, 1e0, log=True), 2, 1e-2)
    [0.001, 0.1]
    """
    if isinstance(p, Choice):
        chosen = [default, *(choice for choice in p.choices if choice != default)]
        return chosen[:n]
    listed = list(p.grid) if p.grid else None
    if listed is None and (n_values(p) or n + 1) <= n:
        listed = lattice(p)
    if listed is not None:
        if len(listed) <= n:
            return listed
        return [listed[(2 * i + 1) * len(listed) // (2 * n)] for i in range(n)]
    found = [draw(p, _Share((i + 0.5) / n)) for i in range(n)]
    if isinstance(p, Float) and p.step is None:
        found = [float(f"{value:.3g}") for value in found]
    return sorted(set(found))


class _Share:
    """A generator whose only draw is known."""

    def __init__(self, share: float) -> None:
        self.share = share

    def random(self) -> float:
        return self.share
