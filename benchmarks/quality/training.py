"""What every contestant trains: the zoo's CNN on handwritten digits, by a plain loop of its own."""

from __future__ import annotations

import functools
import json
import os
import time
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hpo import Choice, Float, Int, Space

if TYPE_CHECKING:
    from hpo.model import Data

EPOCHS = 9
LOG = "QUALITY_LOG"
"""The environment variable that names the file where each epoch's accuracy is noted."""
SPACE = Space(
    lr=Float(1e-4, 1.0, log=True),
    momentum=Float(0.0, 0.98),
    weight_decay=Float(1e-6, 1e-1, log=True),
    batch_size=Choice(32, 64, 128),
    width=Int(6, 24, log=True),
    kernel=Choice(3, 5, 7),
    norm=Choice("batch", "group", "none"),
    activation=Choice("relu", "gelu", "silu"),
    dropout=Float(0.0, 0.6),
    label_smoothing=Float(0.0, 0.3),
)
"""Written out once more in Ray Tune's own terms in `by_ray.py`.  No defaults: nobody knows more."""
_FIXED = {"depth": 2, "augment": "shift", "strength": 0.08}
_N_TRAIN = 2_000


@functools.cache
def digits() -> Data:
    """2,000 training and 1,500 validation rows, all of them training rows of the zoo's `digits`, at
    half the resolution."""
    from dataclasses import replace

    import torch
    from hpo_models.datasets.digits import load
    from torch.nn import functional

    data = load("", 0)
    order = torch.randperm(len(data.train[0]), generator=torch.Generator().manual_seed(0))
    parts = (order[:_N_TRAIN], order[_N_TRAIN:])
    inputs = functional.avg_pool2d(data.train[0], 2)
    train, val = ((inputs[rows], data.train[1][rows]) for rows in parts)
    info = {**data.info, "shape": list(inputs.shape[1:])}
    return replace(data, train=train, val=val, test=None, info=info)


def learn(point: dict[str, Any], report: Callable[[float], None]) -> float:
    """Trains once, from the same first weights and in the same order whoever calls.

    Args:
        point: of SPACE.
        report: is told the validation accuracy after each epoch, and may raise to end the training.
    Returns:
        The validation accuracy after the last epoch, which is what the training is worth.
    """
    import torch
    from hpo_models.cnn import CNN
    from torch.nn import functional

    torch.set_num_threads(1)
    torch.manual_seed(0)
    data, model, params = digits(), CNN(), {**point, **_FIXED}
    (inputs, targets), val, size = data.train, data.val, params["batch_size"]
    net = model.build(params, data).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(
        net.parameters(),
        lr=params["lr"],
        momentum=params["momentum"],
        nesterov=params["momentum"] > 0,
        weight_decay=params["weight_decay"],
    )
    n_batches = len(inputs) // size
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, params["lr"], EPOCHS * n_batches, cycle_momentum=False
    )
    generator = torch.Generator().manual_seed(0)
    key, accuracy = uuid.uuid4().hex[:8], 0.0
    for epoch in range(1, EPOCHS + 1):
        net.train()
        order = torch.randperm(len(inputs), generator=generator)[: n_batches * size]
        for rows in order.split(size):
            batch = model.prepare((inputs[rows], targets[rows]), params, generator)
            images = batch[0].contiguous(memory_format=torch.channels_last)
            loss = functional.cross_entropy(
                net(images), batch[1], label_smoothing=params["label_smoothing"]
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        net.eval()
        with torch.no_grad():
            images = val[0].contiguous(memory_format=torch.channels_last)
            accuracy = (net(images).argmax(1) == val[1]).double().mean().item()
        _note(key, epoch, accuracy)
        report(accuracy)
    return accuracy


def _note(key: str, epoch: int, accuracy: float) -> None:
    if LOG in os.environ:
        line = json.dumps([time.time(), key, epoch, accuracy]) + "\n"
        file = os.open(os.environ[LOG], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(file, line.encode())  # whole, whoever else writes
        os.close(file)
