"""Figures of a network itself, whatever it is for: parameters, size, latency."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from hpo.model import Metrics

N_WARMUP = 3
MEASURED_S = 0.02
N_LEAST, N_MOST = 5, 200


def sizes_of(net: nn.Module) -> Metrics:
    """`params`: trainable parameters.  `size_mb`: megabytes (10^6 bytes) of its state."""
    state = net.state_dict().values()
    n_bytes = sum(t.numel() * t.element_size() for t in state if isinstance(t, torch.Tensor))
    n_params = sum(p.numel() for p in net.parameters() if p.requires_grad)
    return {"params": float(n_params), "size_mb": n_bytes / 1e6}


def latency_ms(forward: Callable[[], Any], device: str) -> float:
    """Median duration of a call, milliseconds, after some that warm up; takes a few hundredths of
    a second, or five calls."""
    for _ in range(N_WARMUP):
        forward()
    _wait(device)
    durations: list[float] = []
    begun = time.perf_counter()
    while len(durations) < N_MOST:
        started = time.perf_counter()
        forward()
        _wait(device)
        ended = time.perf_counter()
        durations.append(ended - started)
        if len(durations) >= N_LEAST and ended - begun > MEASURED_S:
            break
    return 1000 * statistics.median(durations)


def _wait(device: str) -> None:
    """A GPU's calls return before their work is done."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
