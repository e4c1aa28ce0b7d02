"""Every generator that a training may draw from, begun anew: none knows what came before it."""

from __future__ import annotations

import random
from typing import Any

import numpy
import torch


def seed_all(seed: int) -> None:
    """Seeds torch's generators, NumPy's global one and Python's.

    Args:
        seed: 0 to 2**32 - 1.
    """
    torch.manual_seed(seed)
    numpy.random.seed(seed)
    random.seed(seed)


def state() -> dict[str, Any]:
    """Where the generators on the CPU are, as plain data and tensors, for a checkpoint."""
    legacy: Any = numpy.random.get_state(legacy=True)
    kind, keys, position, has_gauss, gauss = legacy
    return {
        "torch": torch.get_rng_state(),
        "numpy": (kind, keys.tolist(), position, has_gauss, gauss),
        "python": random.getstate(),
    }


def set_state(found: dict[str, Any]) -> None:
    """Goes on where `state` was taken."""
    kind, keys, position, has_gauss, gauss = found["numpy"]
    numpy.random.set_state((kind, numpy.array(keys, dtype="uint32"), position, has_gauss, gauss))
    version, words, gauss_next = found["python"]
    random.setstate((version, tuple(words), gauss_next))
    torch.set_rng_state(found["torch"])
