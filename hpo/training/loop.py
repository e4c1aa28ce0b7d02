"""The training loop that all class models share: one epoch a step."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hpo.errors import SpecError, TrialError
from hpo.model import Data, Metrics, Model, Params, Split
from hpo.training.precision import Precision

State = dict[str, Tensor]


@dataclass(frozen=True)
class TrainSettings:
    """How to train, apart from what is searched.

    Attributes:
        accumulate: batches whose gradients are summed into one optimizer step.
        grad_clip: largest gradient norm; a searched `grad_clip` wins.
        patience: epochs without a better value before training stops; None: never.
        batch_size: used if the space has no `batch_size`.
    """

    epochs: int
    seed: int = 0
    device: str = "cpu"
    precision: str = "fp32"
    accumulate: int = 1
    grad_clip: float | None = None
    patience: int | None = None
    threads: int = 1
    batch_size: int = 64
    eval_batch_size: int = 512
    channels_last: bool = True


def make_optimizer(net: nn.Module, params: Params) -> torch.optim.Optimizer:
    """The optimizer that the parameters name; AdamW at 1e-3 if they name none.

    Raises:
        SpecError: an unknown optimizer.
    """
    name = params.get("optimizer", "adamw")
    shared = {"lr": params.get("lr", 1e-3), "weight_decay": params.get("weight_decay", 0.0)}
    if name == "sgd":
        momentum = float(params.get("momentum", 0.9))
        return torch.optim.SGD(net.parameters(), **shared, momentum=momentum, nesterov=momentum > 0)
    if name in ("adam", "adamw"):
        kind = torch.optim.Adam if name == "adam" else torch.optim.AdamW
        return kind(net.parameters(), **shared)
    raise SpecError(f"optimizer: {name!r} is unknown: choose from sgd, adam, adamw")


def make_schedule(
    optimizer: torch.optim.Optimizer, params: Params, n_steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """The learning-rate schedule over all optimizer steps.

    `onecycle` warms up over the first 30 % and anneals to nearly zero (Smith 2018); `cosine`
    anneals from the start (Loshchilov, Hutter 2017).

    Raises:
        SpecError: an unknown schedule.
    """
    name = params.get("schedule", "constant")
    schedules = torch.optim.lr_scheduler
    if name == "constant":
        return schedules.ConstantLR(optimizer, factor=1.0)
    if name == "cosine":
        return schedules.CosineAnnealingLR(optimizer, n_steps)
    if name == "onecycle":
        momentum = params.get("optimizer") != "sgd" or params.get("momentum", 0.9) > 0
        return schedules.OneCycleLR(
            optimizer,
            max_lr=float(params.get("lr", 1e-3)),
            total_steps=n_steps,
            cycle_momentum=momentum and params.get("optimizer") != "sgd",
        )
    raise SpecError(f"schedule: {name!r} is unknown: choose from constant, cosine, onecycle")


class Training:
    """A network in training on one data set: start, `run_epoch`, stop.

    On a CPU, the same seed gives the same weights, data order and augmentation.
    """

    def __init__(self, model: Model, params: Params, data: Data, settings: TrainSettings) -> None:
        if settings.device == "cpu":
            torch.set_num_threads(settings.threads)
        torch.manual_seed(settings.seed)
        self.model = model
        self.params = params
        self.settings = settings
        self.train_split = self._place(data.train)
        self.val_split = self._place(data.val)
        self.precision = Precision(settings.precision, settings.device)
        self.net = model.build(params, data).to(settings.device)
        if settings.channels_last and data.train[0].dim() == 4:
            self.net = self.net.to(memory_format=torch.channels_last)
        self.optimizer = make_optimizer(self.net, params)
        n_rows = len(data.train[0])
        self.batch_size = min(int(params.get("batch_size", settings.batch_size)), n_rows)
        # The rest of an epoch that fills no batch is left out: another one each epoch.
        self.n_batches = n_rows // self.batch_size
        n_steps = math.ceil(self.n_batches / settings.accumulate) * settings.epochs
        self.schedule = make_schedule(self.optimizer, params, n_steps)
        self.generator = torch.Generator().manual_seed(settings.seed)
        self.epoch = 0
        self.best_epoch = 0
        self.best_value: float | None = None
        self.best_state: State | None = None

    def _place(self, split: Split) -> Split:
        return tuple(column.to(self.settings.device) for column in split)

    @property
    def finished(self) -> bool:
        """Whether all epochs are done or patience has run out."""
        patience = self.settings.patience
        waited = self.epoch - 1 - self.best_epoch
        out_of_patience = patience is not None and self.epoch > 0 and waited >= patience
        return self.epoch >= self.settings.epochs or out_of_patience

    def run_epoch(self) -> Metrics:
        """Trains one epoch and evaluates on the validation split, if there is one.

        Returns:
            The model's metrics, and `train_loss`.
        Raises:
            TrialError: the loss is NaN or infinite.
        """
        loss = self._train()
        if not math.isfinite(loss):
            raise TrialError(f"diverged: training loss is {loss} in epoch {self.epoch + 1}")
        metrics: Metrics = {"train_loss": loss}
        if len(self.val_split[0]):
            metrics = {**self.evaluate(self.val_split), **metrics}
            self._keep_best(metrics)
        self.epoch += 1
        if self.finished and self.best_state is not None:
            self.net.load_state_dict(self.best_state)
        return metrics

    def state(self) -> dict[str, Any]:
        """All that `load_state` needs to go on as if nothing had happened."""
        return {
            "epoch": self.epoch,
            "best_epoch": self.best_epoch,
            "best_value": self.best_value,
            "best_state": self.best_state,
            "net": self.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.precision.scaler.state_dict(),
            "generator": self.generator.get_state(),
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state_all(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Goes on where `state` was taken.

        Raises:
            Exception: it is of another network or optimizer.
        """
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.precision.scaler.load_state_dict(state["scaler"])
        self.generator.set_state(state["generator"])
        torch.set_rng_state(state["rng"])
        if len(state["cuda_rng"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(state["cuda_rng"])
        self.epoch = state["epoch"]
        self.best_epoch = state["best_epoch"]
        self.best_value = state["best_value"]
        self.best_state = state["best_state"]

    def _train(self) -> float:
        settings = self.settings
        self.net.train()
        order = torch.randperm(len(self.train_split[0]), generator=self.generator)
        order = order[: self.n_batches * self.batch_size].to(settings.device)
        total = torch.zeros((), device=settings.device)
        clip = self.params.get("grad_clip", settings.grad_clip)
        for i, rows in enumerate(torch.split(order, self.batch_size), start=1):
            batch = tuple(column[rows] for column in self.train_split)
            batch = self.model.prepare(batch, self.params, self.generator)
            with self.precision.autocast():
                loss = self.model.loss(self.net, self._layout(batch), self.params)
            # Equal batches: the mean of their losses is the loss of one large batch.
            last_group = (self.n_batches - 1) // settings.accumulate == (
                i - 1
            ) // settings.accumulate
            size = self.n_batches % settings.accumulate if last_group else 0
            self.precision.backward(loss / (size or settings.accumulate))
            total += loss.detach()  # no .item() here: it would wait for the GPU at every step
            if i % settings.accumulate == 0 or i == self.n_batches:
                self.precision.step(self.optimizer, self.net, clip)
                self.schedule.step()
        return float(total) / self.n_batches

    def _layout(self, batch: Split) -> Split:
        if not self.settings.channels_last or batch[0].dim() != 4:
            return batch
        return (batch[0].contiguous(memory_format=torch.channels_last), *batch[1:])

    def _keep_best(self, metrics: Metrics) -> None:
        value: Any = metrics.get(self.model.objective.metric)
        if value is None or not math.isfinite(value):
            return
        sign = self.model.objective.sign
        if self.best_value is None or sign * value > sign * self.best_value:
            self.best_value = value
            self.best_epoch = self.epoch
            state = self.net.state_dict()
            self.best_state = {name: tensor.detach().clone() for name, tensor in state.items()}

    def evaluate(self, split: Split) -> Metrics:
        """The model's metrics on a split, in eval mode, without gradients."""
        self.net.eval()
        with torch.no_grad(), self.precision.autocast():
            found = self.model.evaluate(self.net, self._batches(self._place(split)), self.params)
        return {name: float(value) for name, value in found.items()}

    def _batches(self, split: Split) -> Iterator[Split]:
        for start in range(0, len(split[0]), self.settings.eval_batch_size):
            end = start + self.settings.eval_batch_size
            yield self._layout(tuple(column[start:end] for column in split))
