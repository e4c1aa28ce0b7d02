"""Hyperparameter optimization for PyTorch: what a model file needs, and `load` for the result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hpo.errors import HpoError, SpecError
from hpo.model import Classifier, Data, Model, Objective, tunable
from hpo.space import Choice, Float, Int, Space

if TYPE_CHECKING:
    from hpo.outcome.artifact import load

__version__ = "0.1.0"
__all__ = [
    "Choice",
    "Classifier",
    "Data",
    "Float",
    "HpoError",
    "Int",
    "Model",
    "Objective",
    "Space",
    "SpecError",
    "load",
    "tunable",
]


def __getattr__(name: str) -> Any:
    # Lazy: `load` needs torch, and `hpo --help` must not pay for it.
    if name == "load":
        from hpo.outcome.artifact import load

        return load
    raise AttributeError(f"module 'hpo' has no attribute {name!r}")
