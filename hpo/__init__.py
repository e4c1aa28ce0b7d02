"""Hyperparameter optimization for PyTorch.

For a model file: `Model`, `Classifier`, `Data`, `tunable`, `Space`, `Float`, `Int`, `Choice`.
To run and look at studies: `run`, `resume`, `retrain`, `open_study`, `studies`, `load`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hpo.errors import HpoError, SpecError
from hpo.model import Classifier, Data, Model, Objective, tunable
from hpo.space import Choice, Float, Int, Space

if TYPE_CHECKING:
    from hpo.api.client import Client
    from hpo.api.result import StudyResult
    from hpo.api.run import resume, retrain, run
    from hpo.api.study import Asked, Study, Trial, open_study, studies
    from hpo.outcome.artifact import load
    from hpo.study import StudySpec

__version__ = "0.1.0"
_LAZY = {
    "Asked": "hpo.api.study",
    "Client": "hpo.api.client",
    "Study": "hpo.api.study",
    "StudyResult": "hpo.api.result",
    "StudySpec": "hpo.study",
    "Trial": "hpo.api.study",
    "load": "hpo.outcome.artifact",
    "open_study": "hpo.api.study",
    "resume": "hpo.api.run",
    "retrain": "hpo.api.run",
    "run": "hpo.api.run",
    "studies": "hpo.api.study",
}
__all__ = [
    "Asked",
    "Choice",
    "Classifier",
    "Client",
    "Data",
    "Float",
    "HpoError",
    "Int",
    "Model",
    "Objective",
    "Space",
    "SpecError",
    "Study",
    "StudyResult",
    "StudySpec",
    "Trial",
    "load",
    "open_study",
    "resume",
    "retrain",
    "run",
    "studies",
    "tunable",
]


def __getattr__(name: str) -> Any:
    # Lazy: these need torch, Optuna or pandas, and `hpo --help` must not pay for them.
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'hpo' has no attribute {name!r}")
