"""How long graphs take, all in turns, so that what else the machine does hits all alike."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from hpo.inference.runtime import session_of
from hpo.outcome.deployed import Deployed
from hpo.outcome.quality import Graphs

BATCHES = (1, 32)
N_ROUNDS = 100
MOST_S = 2.0
"""Of one variant and batch size; the rounds are fewer then, five at least."""
_N_LEAST = 5


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one pass through every graph, on one core.

    Attributes:
        n: passes measured.
    """

    p50: float
    p99: float
    n: int


def latencies(
    deployed: Deployed, variants: Mapping[str, Graphs], unpacked: Collection[str]
) -> dict[str, dict[int, Latency]]:
    """Of each variant, by the number of rows that pass at once.

    Args:
        variants: graphs by the variant's name.
        unpacked: variants whose weights become floats when they are opened.
    """
    sessions = {
        variant: {
            name: session_of(content, 1, variant in unpacked) for name, content in graphs.items()
        }
        for variant, graphs in variants.items()
    }
    found: dict[str, dict[int, Latency]] = {name: {} for name in variants}
    for n in BATCHES:
        feeds = {
            name: dict(
                zip(graph.inputs, (c[:n].numpy() for c in deployed.rows(graph, n)), strict=True)
            )
            for name, graph in deployed.deployment.graphs.items()
        }
        taken: dict[str, list[float]] = {name: [] for name in variants}
        began = time.perf_counter()
        for turn in range(N_ROUNDS + 1):
            for variant, graphs in sessions.items():
                started = time.perf_counter()
                for name, session in graphs.items():
                    session.run(None, feeds[name])
                if turn:  # the first one warms up
                    taken[variant].append(1000 * (time.perf_counter() - started))
            spent = time.perf_counter() - began
            if turn >= _N_LEAST and spent > MOST_S * len(variants):
                break
        for variant, values in taken.items():
            p50, p99 = np.percentile(values, (50, 99))
            found[variant][n] = Latency(float(p50), float(p99), len(values))
    return found
