"""Figures of a network itself, whatever it is for: parameters, size, latency."""

from __future__ import annotations

import contextlib
import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from hpo.model import Metrics

N_WARMUP = 3
ROUND_S, ROUND_CALLS = 0.003, 5
"""A round of calls takes at least so long, and at least so many calls."""
LEAST_S, MOST_S = 0.3, 1.0
"""How long rounds are repeated: until several agree, within these seconds."""
N_AGREE, AGREE = 5, 0.03
"""So many rounds within this share of the fastest one are enough."""


@dataclass(frozen=True)
class Latency:
    """How long a call takes.

    Attributes:
        ms: the median call of the least disturbed round, milliseconds.
        sd: standard deviation of `ms` over repeats; nan if there was time for one round only.
    """

    ms: float
    sd: float


def sizes_of(net: nn.Module) -> Metrics:
    """`params`: trainable parameters.  `size_mb`: megabytes (10^6 bytes) of its state."""
    state = net.state_dict().values()
    n_bytes = sum(t.numel() * t.element_size() for t in state if isinstance(t, torch.Tensor))
    n_params = sum(p.numel() for p in net.parameters() if p.requires_grad)
    return {"params": float(n_params), "size_mb": n_bytes / 1e6}


def latency(forward: Callable[[], Any], device: str, threads: int = 1) -> Latency:
    """Measures a call so that it repeats: on a fixed number of threads, after calls that warm up.

    Other processes only ever make a call slower, for milliseconds or seconds at a time.  So many
    short rounds are measured, each by its median, and the fastest round counts.  Takes 0.3 to 1 s,
    or five calls.
    """
    with _threads(threads):
        for _ in range(N_WARMUP):
            forward()
        _wait(device)
        rounds: list[float] = []
        begun = time.perf_counter()
        while not rounds or not _enough(rounds, time.perf_counter() - begun):
            rounds.append(_round(forward, device))
    half = len(rounds) // 2
    gap = abs(min(rounds[:half]) - min(rounds[half:])) if half else math.nan
    return Latency(1000 * min(rounds), 1000 * gap / math.sqrt(2))


def latency_ms(forward: Callable[[], Any], device: str) -> float:
    """The milliseconds of `latency`."""
    return latency(forward, device).ms


def _round(forward: Callable[[], Any], device: str) -> float:
    durations: list[float] = []
    begun = ended = time.perf_counter()
    while len(durations) < ROUND_CALLS or ended - begun < ROUND_S:
        started = time.perf_counter()
        forward()
        _wait(device)
        ended = time.perf_counter()
        durations.append(ended - started)
    return statistics.median(durations)


def _enough(rounds: list[float], spent_s: float) -> bool:
    near = sum(one <= min(rounds) * (1 + AGREE) for one in rounds)
    return spent_s >= (LEAST_S if near >= N_AGREE else MOST_S)


@contextlib.contextmanager
def _threads(n: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _wait(device: str) -> None:
    """A GPU's calls return before their work is done."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
