"""What `hpo run --model benchmarks/quality/by_hpo.py:digits` trains, and `:names`."""

from __future__ import annotations

from typing import Any

from benchmarks.quality.problems import PROBLEMS
from benchmarks.quality.training import learn
from hpo import tunable


@tunable(PROBLEMS["digits"].space, "accuracy")
def digits(trial: Any) -> None:
    """The zoo's CNN by the contest's own loop."""
    learn(PROBLEMS["digits"], trial.params, lambda accuracy: trial.report(accuracy=accuracy))


@tunable(PROBLEMS["names"].space, "accuracy")
def names(trial: Any) -> None:
    """The zoo's n-grams by the contest's own loop."""
    learn(PROBLEMS["names"], trial.params, lambda accuracy: trial.report(accuracy=accuracy))
