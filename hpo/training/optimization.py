"""Optimizers and learning-rate schedules, by the names that parameters give them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import lr_scheduler as schedules

from hpo.errors import SpecError
from hpo.model import ParameterGroup, Params

OPTIMIZERS = ("sgd", "adam", "adamw")
SCHEDULES = ("constant", "cosine", "onecycle", "plateau")


def make_optimizer(
    groups: Sequence[ParameterGroup], params: Params, player: str = ""
) -> torch.optim.Optimizer:
    """The optimizer that the parameters name; AdamW at 1e-3 if they name none.

    Args:
        groups: parameters, and what their learning rate is multiplied by.
        player: whose it is, where several are trained against each other: `lr_PLAYER` and
            `weight_decay_PLAYER` win over `lr` and `weight_decay`.
    Raises:
        SpecError: an unknown optimizer.
    """

    def of_player(name: str, otherwise: float) -> float:
        return float(params.get(f"{name}_{player}", params.get(name, otherwise)))

    name = params.get("optimizer", "adamw")
    lr = of_player("lr", 1e-3)
    parts: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.requires_grad], "lr": lr * factor}
        for parameters, factor in groups
    ]
    parts = [part for part in parts if part["params"]]
    decay = of_player("weight_decay", 0.0)
    # One pass over each parameter instead of a dozen; CPUs too are the faster for it.
    fused = all(_fuses(p) for part in parts for p in part["params"])
    if name == "sgd":
        momentum = float(params.get("momentum", 0.9))
        return torch.optim.SGD(
            parts,
            lr=lr,
            weight_decay=decay,
            momentum=momentum,
            nesterov=momentum > 0,
            fused=fused,
        )
    if name in ("adam", "adamw"):
        kind = torch.optim.Adam if name == "adam" else torch.optim.AdamW
        betas = (float(params.get("beta1", 0.9)), float(params.get("beta2", 0.999)))
        return kind(parts, lr=lr, weight_decay=decay, betas=betas, fused=fused)
    raise SpecError(f"optimizer: {name!r} is unknown: choose from {', '.join(OPTIMIZERS)}")


def _fuses(parameter: nn.Parameter) -> bool:
    return parameter.is_floating_point() and parameter.device.type in ("cpu", "cuda")


class Schedule:
    """The learning rate over all optimizer steps: warm-up, then what `schedule` names.

    `onecycle` warms up over its first 30 % (or `warmup`) and anneals to nearly zero (Smith 2018);
    `cosine` anneals (Loshchilov, Hutter 2017); `plateau` divides by 4 after 3 epochs without a
    better value on the validation split (on the training loss while retraining, which has none).
    `warmup` is the share of the steps in which the rate rises linearly (Goyal et al. 2017).

    Raises:
        SpecError: an unknown schedule.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, params: Params, n_steps: int) -> None:
        name = params.get("schedule", "constant")
        if name not in SCHEDULES:
            raise SpecError(f"schedule: {name!r} is unknown: choose from {', '.join(SCHEDULES)}")
        n_warmup = round(float(params.get("warmup", 0.0)) * n_steps)
        by_step: list[schedules.LRScheduler] = []
        if name == "onecycle":
            by_step.append(_one_cycle(optimizer, params, n_steps))
        elif name == "cosine" and n_warmup:
            warm = schedules.LinearLR(optimizer, 0.01, total_iters=n_warmup)
            rest = schedules.CosineAnnealingLR(optimizer, n_steps - n_warmup)
            by_step.append(schedules.SequentialLR(optimizer, [warm, rest], [n_warmup]))
        elif name == "cosine":
            by_step.append(schedules.CosineAnnealingLR(optimizer, n_steps))
        elif n_warmup:
            by_step.append(schedules.LinearLR(optimizer, 0.01, total_iters=n_warmup))
        self._by_step = by_step
        self._plateau = (
            schedules.ReduceLROnPlateau(optimizer, "max", factor=0.25, patience=3)
            if name == "plateau"
            else None
        )

    def step(self) -> None:
        """After an optimizer step."""
        for schedule in self._by_step:
            schedule.step()

    def end_epoch(self, goodness: float) -> None:
        """After an epoch.

        Args:
            goodness: larger is better.
        """
        if self._plateau is not None:
            self._plateau.step(goodness)

    def state_dict(self) -> dict[str, Any]:
        """As torch's schedulers have it."""
        plateau = None if self._plateau is None else self._plateau.state_dict()
        return {"steps": [s.state_dict() for s in self._by_step], "plateau": plateau}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """As torch's schedulers have it."""
        for schedule, its in zip(self._by_step, state["steps"], strict=True):
            schedule.load_state_dict(its)
        if self._plateau is not None:
            self._plateau.load_state_dict(state["plateau"])


def _one_cycle(
    optimizer: torch.optim.Optimizer, params: Params, n_steps: int
) -> schedules.LRScheduler:
    return schedules.OneCycleLR(
        optimizer,
        max_lr=[group["lr"] for group in optimizer.param_groups],
        total_steps=n_steps,
        pct_start=float(params.get("warmup", 0.0)) or 0.3,
        # A searched momentum stays what it is, and so does a beta1.
        cycle_momentum=params.get("optimizer") != "sgd" and "beta1" not in params,
    )
