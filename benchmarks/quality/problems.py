"""What the contest's searches have to train: networks of the zoo, on data that come with packages.

Parameters have no defaults, for the peers have none: nobody knows more.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hpo import Choice, Float, Int, Space

if TYPE_CHECKING:
    import torch

    from hpo.model import Classifier, Data


@dataclass(frozen=True)
class Problem:
    """A network, its data, and the space to search.

    Attributes:
        title: for pictures.
        drawn: times the target's error, up to which pictures reach.
        fixed: parameters of the network that are not searched.
        data: training and validation rows.
        optimizer: of a network and parameters.
    """

    name: str
    title: str
    drawn: float
    epochs: int
    space: Space
    fixed: Mapping[str, Any]
    model: Callable[[], Classifier]
    data: Callable[[], Data]
    optimizer: Callable[[torch.nn.Module, Mapping[str, Any]], torch.optim.Optimizer]


def _cnn() -> Classifier:
    from hpo_models.cnn import CNN

    return CNN()


@functools.cache
def _digits() -> Data:
    """2,000 training and 1,500 validation rows, all of them training rows of the zoo's `digits`, at
    half the resolution."""
    import torch
    from hpo_models.datasets.digits import load
    from torch.nn import functional

    data = load("", 0)
    order = torch.randperm(len(data.train[0]), generator=torch.Generator().manual_seed(0))
    inputs = functional.avg_pool2d(data.train[0], 2)
    train, val = ((inputs[rows], data.train[1][rows]) for rows in (order[:2_000], order[2_000:]))
    info = {**data.info, "shape": list(inputs.shape[1:])}
    return replace(data, train=train, val=val, test=None, info=info)


def _sgd(net: torch.nn.Module, params: Mapping[str, Any]) -> torch.optim.Optimizer:
    import torch

    return torch.optim.SGD(
        net.parameters(),
        lr=params["lr"],
        momentum=params["momentum"],
        nesterov=params["momentum"] > 0,
        weight_decay=params["weight_decay"],
    )


def _names_net() -> Classifier:
    from hpo_models.cross_lingual import CrossLingual

    return CrossLingual()


@functools.cache
def _names() -> Data:
    """5,500 training and 5,549 validation rows, drawn from those two parts of `cldr-things`."""
    import torch
    from hpo_models.datasets.cldr import load_things

    data = load_things("", 0)
    inputs = torch.cat([data.train[0], data.val[0]])
    targets = torch.cat([data.train[1], data.val[1]])
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(0))
    train, val = ((inputs[rows], targets[rows]) for rows in (order[:5_500], order[5_500:]))
    return replace(data, train=train, val=val, test=None)


def _adamw(net: torch.nn.Module, params: Mapping[str, Any]) -> torch.optim.Optimizer:
    import torch

    return torch.optim.AdamW(
        net.parameters(), lr=params["lr"], weight_decay=params["weight_decay"], fused=True
    )


PROBLEMS = {
    problem.name: problem
    for problem in (
        Problem(
            "digits",
            "CNN on digits, 1 s a training",
            drawn=3.0,
            epochs=9,
            space=Space(
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
            ),
            fixed={"depth": 2, "augment": "shift", "strength": 0.08},
            model=_cnn,
            data=_digits,
            optimizer=_sgd,
        ),
        Problem(
            "names",
            "n-grams on names, 5 s a training",
            drawn=1.4,
            epochs=18,
            space=Space(
                lr=Float(1e-4, 1e-1, log=True),
                weight_decay=Float(1e-4, 10.0, log=True),
                batch_size=Choice(64, 128, 256),
                letters=Choice("latin", "own"),
                longest=Int(1, 6),
                dropped=Float(0.0, 0.8),
                size=Int(16, 128, log=True),
                hidden=Int(16, 256, log=True),
                dropout=Float(0.0, 0.8),
                label_smoothing=Float(0.0, 0.3),
            ),
            fixed={"encoder": "ngrams", "alignment": 0.0},
            model=_names_net,
            data=_names,
            optimizer=_adamw,
        ),
    )
}
