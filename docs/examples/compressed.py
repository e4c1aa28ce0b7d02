"""A search for how to compress a saved CNN: channels to cut, bits a weight, epochs after it.

    hpo export hpo-runs/cnn-tpe/best
    HPO_ARTIFACT=$PWD/hpo-runs/cnn-tpe/best hpo run --model docs/examples/compressed.py:train \
        --objective accuracy --objective size_mb --objective latency_ms --n-trials 30

Every trial is one form of the network, measured on validation rows by its exported graphs; nothing
is written, and the test rows stay unseen.  The saved network has learned from these validation
rows, and a pruned one learns from them once more: its accuracy here is too good, the more so the
longer it was trained on.  `hpo best` shows the Pareto front; what is taken from it is made, tested
once and saved by `hpo compress` with the same shares.
"""

from __future__ import annotations

import os
from typing import Any

from hpo import Choice, Float, Int, Space, tunable

METHODS = {32: (), 8: ("weights",), 4: ("weights4",)}


@tunable(
    Space(
        prune=Float(0.0, 0.9, default=0.0),
        bits=Choice(32, 8, 4),
        fine_tune=Int(1, 5, default=2),
    ),
    "accuracy",
)
def train(trial: Any) -> None:
    from hpo.outcome.compress import measure
    from hpo.outcome.wishes import Wishes

    prune = round(trial.params["prune"], 2)
    wishes = Wishes(
        prune=prune,
        structured=prune > 0,
        methods=METHODS[trial.params["bits"]],
        fine_tune=trial.params["fine_tune"] if prune else None,
        seed=trial.seed,
    )
    found = measure(os.environ["HPO_ARTIFACT"], wishes)
    trial.report(
        accuracy=found.quality.value,
        size_mb=found.n_bytes / 1e6,
        latency_ms=found.latency[1].p50,
    )
