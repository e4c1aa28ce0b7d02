"""Data parallelism: two ranks train as one does with twice the batch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = """
import json, sys
import torch
from torch import distributed
from tests.training.test_training import Linear, blobs, weights
from hpo.training.loop import Training, TrainSettings

rank, size, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
if size > 1:
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/ranks", rank=rank, world_size=size
    )
params = {"lr": 0.05, "batch_size": 64 // size, "schedule": "cosine", "grad_clip": 0.5}
settings = TrainSettings(epochs=3, seed=1, accumulate=2)
training = Training(Linear(), params, blobs(), settings)
history = [training.run_epoch() for _ in range(3)]
print(json.dumps([history, weights(training).tolist()]))
"""


def together(size: int, folder: Path) -> list[Any]:
    """What each rank found: its history and its weights."""
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(rank), str(size), str(folder)],
            cwd=Path(__file__).parents[2],
            env={"PYTHONPATH": ".:models", "GLOO_SOCKET_IFNAME": "lo", "PATH": "/usr/bin:/bin"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]
    said = [rank.communicate(timeout=120) for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0] * size, said[0][1][-2000:]
    return [json.loads(out.strip().splitlines()[-1]) for out, _ in said]


def test_two_workers_train_as_one_with_twice_the_batch(tmp_path: Path) -> None:
    ((history, weights),) = together(1, tmp_path)
    for other_history, other_weights in together(2, tmp_path):
        assert other_weights == pytest.approx(weights, abs=1e-5)
        for row, other in zip(history, other_history, strict=True):
            assert other == pytest.approx(row, abs=1e-5)
