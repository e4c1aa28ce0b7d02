"""How well each objective of a study repeats, by what has been measured more than once."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from hpo.model import Metrics
from hpo.objectives import LATENCY, LATENCY_SD
from hpo.storage.measured import named_values

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from hpo.pareto import Array
    from hpo.storage.meta import StudyMeta

CONFIRMED = "hpo:confirmed_metrics"
"""Study attribute: {"<trial number>:<seed>": metrics} of trainings on fresh seeds."""
LEAST_OF_LATENCY = 0.03
"""Share of itself that a latency differs by from process to process, however well it is measured
in one of them."""


def noise_of(
    meta: StudyMeta, trials: Sequence[FrozenTrial], confirmed: Mapping[str, Metrics] | None
) -> Array:
    """[K] standard deviation of one measurement of each objective; 0 where nothing is known.

    From trainings of one configuration on several seeds; that of `latency_ms` also from its repeats
    within each trial.

    Args:
        trials: COMPLETE ones.
        confirmed: the study's attribute `CONFIRMED`.
    """
    by_configuration: dict[str, list[Metrics]] = {}
    for key, metrics in (confirmed or {}).items():
        by_configuration.setdefault(key.partition(":")[0], []).append(metrics)
    found = []
    for objective in meta.objectives:
        name = objective.metric
        runs = [[m[name] for m in group if name in m] for group in by_configuration.values()]
        noise = _pooled(runs)
        if name == LATENCY:
            noise = max(noise, _of_latency(meta, trials))
        found.append(noise)
    return np.array(found)


def noise_text(noise: Mapping[str, float]) -> str:
    """A sentence of what does not count; empty if no noise is known.

    >>> noise_text({"latency_ms": 0.0074})
    'Differences within noise count as none (standard deviations: latency_ms 0.0074).'
    """
    listed = ", ".join(f"{name} {sd:.2g}" for name, sd in noise.items())
    said = f"Differences within noise count as none (standard deviations: {listed})."
    return said if noise else ""


def _pooled(groups: Iterable[Sequence[float]]) -> float:
    """Standard deviation within groups of values."""
    several = [group for group in groups if len(group) > 1]
    n_free = sum(len(group) - 1 for group in several)
    squares = sum(statistics.variance(group) * (len(group) - 1) for group in several)
    return float((squares / n_free) ** 0.5) if n_free else 0.0


def _of_latency(meta: StudyMeta, trials: Sequence[FrozenTrial]) -> float:
    values = [value for t in trials if (value := named_values(meta, t).get(LATENCY)) is not None]
    if not values:
        return 0.0
    repeats = [t.user_attrs.get("metrics", {}).get(LATENCY_SD) for t in trials]
    squares = [sd**2 for sd in repeats if sd is not None]
    within = statistics.fmean(squares) ** 0.5 if squares else 0.0
    return max(within, LEAST_OF_LATENCY * statistics.median(values))
