"""Which of the confirmed configurations is chosen, what the default is called, and whether the
training seed matters at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from hpo.model import Metrics
from hpo.parameter import Choice
from hpo.pareto import nearest_first
from hpo.storage.noise import CONFIRMED, noise_of

if TYPE_CHECKING:
    from hpo.outcome.confirm import Confirmed
    from hpo.storage.ledger import Ledger
    from hpo.study import ResolvedStudy

DECLARED, MIDDLE = "default", "middle of the ranges"
"""What the default configuration is called; the second where nobody declared one."""
REPEATED = 2
"""So many trainings that came to the same again, at least, are no accident."""
CLOCKS = frozenset({"seconds", "time", "duration", "latency", "ms", "s"})
"""Words of a metric's name that say it is a clock's: it differs whatever the seed."""


def undeclared_defaults(study: ResolvedStudy) -> list[str]:
    """Searched numbers whose default nobody declared, or whose default the study leaves out."""
    own, default = study.model.space.params, study.space.default()
    return [
        name
        for name, parameter in study.space.params.items()
        if not isinstance(parameter, Choice)
        and name in own
        and name in default
        and (isinstance(own[name], Choice) or own[name].default != default[name])
    ]


def reference_of(study: ResolvedStudy) -> str:
    """What the default configuration is called: `MIDDLE` if no number of it was declared."""
    numbers = [n for n, p in study.space.params.items() if not isinstance(p, Choice)]
    undeclared = undeclared_defaults(study)
    return MIDDLE if numbers and len(undeclared) == len(numbers) else DECLARED


def seeds_change_nothing(
    trained: Sequence[tuple[int | None, Sequence[Metrics]]], ledger: Ledger
) -> bool:
    """Whether every configuration has been trained on a fresh seed, and of two repetitions or more
    none differs in any metric from what the configuration came to before.

    Args:
        trained: number of its trial, if it had one, and its metrics by fresh seed.
    """
    n_repeated = 0
    for number, runs in trained:
        searched = {} if number is None else ledger.trial(number).user_attrs.get("metrics")
        found = [*([searched] if searched else []), *runs]
        if not runs or not all(_alike(found[0], other) for other in found[1:]):
            return False
        n_repeated += len(found) - 1
    return n_repeated >= REPEATED


def _alike(a: Metrics, b: Metrics) -> bool:
    """Whether two trainings came to the same, by all that no clock measures."""
    names = {n for n in a.keys() & b.keys() if not CLOCKS & set(n.lower().split("_"))}
    return bool(names) and all(a[name] == b[name] for name in names)


def ranked(study: ResolvedStudy, ledger: Ledger, confirmed: list[Confirmed]) -> list[Confirmed]:
    """Those that keep the constraints first; then by mean, or by nearness to the best of each
    objective, where the default counts only if it is on the front."""

    def kept(c: Confirmed) -> tuple[bool, bool]:
        return not c.feasible, bool(c.breaks(study.constraints))

    if not study.several:
        sign = study.objectives[0].sign
        return sorted(confirmed, key=lambda c: (*kept(c), -sign * c.mean))
    front = ledger.front()
    numbers = [trial.number for trial in front]
    running = [c for c in confirmed if c.number in numbers]
    names = [one.metric for one in study.objectives]
    signs = [one.sign for one in study.objectives]
    means = np.array([[c.mean_of(name) for name in names] for c in running])
    # The others of the front were measured once, by luck too: they say what the best is, no more.
    others = [t.values for t in front if t.number not in {c.number for c in running}]
    rows = np.vstack([means, *(np.array([values]) for values in others)])
    noise = noise_of(ledger.meta, front, ledger.attr(CONFIRMED))
    order = [row for row in nearest_first(rows, signs, noise) if row < len(running)]
    place = {running[row].number: k for k, row in enumerate(order)}
    return sorted(confirmed, key=lambda c: (*kept(c), place.get(c.number, len(place))))
