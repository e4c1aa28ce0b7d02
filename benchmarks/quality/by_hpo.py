"""What `hpo run --model benchmarks/quality/by_hpo.py:train` trains."""

from __future__ import annotations

from typing import Any

from benchmarks.quality.training import SPACE, learn
from hpo import tunable


@tunable(SPACE, "accuracy")
def train(trial: Any) -> None:
    """The zoo's CNN by the contest's own loop."""
    learn(trial.params, lambda accuracy: trial.report(accuracy=accuracy))
