"""The training loop that all class models share: one epoch a step."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.checkpoint import checkpoint

from hpo.errors import TrialError
from hpo.model import Data, Metrics, Model, Params, Split
from hpo.training import seeds
from hpo.training.figures import Latency, latency
from hpo.training.optimization import Schedule, make_optimizer
from hpo.training.precision import Precision
from hpo.training.ranks import Ranks

State = dict[str, Tensor]


@dataclass(frozen=True)
class TrainSettings:
    """How to train, apart from what is searched.

    Attributes:
        accumulate: batches whose gradients are summed into one optimizer step.
        grad_clip: largest gradient norm; a searched `grad_clip` wins.
        patience: epochs without a better value before training stops; None: never.
        ema: decay of an average of the weights, which is what is evaluated and kept (Polyak,
            Juditsky 1992); a searched `ema` wins; 0 or None: none.
        checkpoint_gradients: compute activations again in the backward pass instead of keeping
            them (Chen et al. 2016), in the parts that the network names or its layers.
        batch_size: used if the space has no `batch_size`.
    """

    epochs: int
    seed: int = 0
    device: str = "cpu"
    precision: str = "fp32"
    accumulate: int = 1
    grad_clip: float | None = None
    patience: int | None = None
    ema: float | None = None
    threads: int = 1
    batch_size: int = 64
    eval_batch_size: int = 512
    channels_last: bool = True
    checkpoint_gradients: bool = False


@dataclass
class Player:
    """What one optimizer trains: usually the whole network.

    Attributes:
        inputs: the parameters that its loss is differentiated for; None: all.
    """

    optimizer: torch.optim.Optimizer
    schedule: Schedule
    inputs: list[nn.Parameter] | None

    def parameters(self) -> list[nn.Parameter]:
        """All that the optimizer changes."""
        return [p for group in self.optimizer.param_groups for p in group["params"]]


class Training:
    """A network in training on one data set: start, `run_epoch`, stop.

    On a CPU, the same seed gives the same weights, data order and augmentation.  Where
    torch.distributed is set up, the ranks train it together (`ranks.py`).
    """

    def __init__(self, model: Model, params: Params, data: Data, settings: TrainSettings) -> None:
        if settings.device == "cpu":
            torch.set_num_threads(settings.threads)
        seeds.seed_all(settings.seed)
        self.model = model
        self.params = params
        self.info = data.info
        self.settings = settings
        self.train_split = self._place(data.train)
        self.val_split = self._place(data.val)
        self.precision = Precision(settings.precision, settings.device)
        self.net = model.build(params, data).to(settings.device)
        if settings.channels_last and data.train[0].dim() == 4:
            self.net = self.net.to(memory_format=torch.channels_last)
        if settings.checkpoint_gradients:
            checkpoint_gradients(self.net)
        n_rows = len(data.train[0])
        self.ranks = Ranks.here()
        if self.ranks.rank:  # equal weights, but not the same dropout
            torch.manual_seed(settings.seed + 7919 * self.ranks.rank)
        batch_size = int(params.get("batch_size", settings.batch_size))
        self.batch_size = min(batch_size, n_rows // self.ranks.size) * self.ranks.size
        # The rest of an epoch that fills no batch is left out: another one each epoch.
        self.n_batches = n_rows // self.batch_size
        n_steps = math.ceil(self.n_batches / settings.accumulate) * settings.epochs
        self.players = self._players(n_steps)
        decay = float(params.get("ema", settings.ema) or 0.0)
        self.averaged = _averaged(self.net, decay) if decay else None
        self.generator = torch.Generator().manual_seed(settings.seed)
        self.epoch = 0
        self.best_epoch = 0
        self.best_value: float | None = None
        self.best_state: State | None = None

    def _players(self, n_steps: int) -> dict[str, Player]:
        players = {}
        groups_of = self.model.players(self.net, self.params)
        for name, groups in groups_of.items():
            optimizer = make_optimizer([(list(p), f) for p, f in groups], self.params, name)
            player = Player(optimizer, Schedule(optimizer, self.params, n_steps), None)
            if len(groups_of) > 1:  # or else its loss would leave gradients with the others
                player.inputs = player.parameters()
            players[name] = player
        return players

    @property
    def evaluated(self) -> nn.Module:
        """The network that is evaluated and kept: that of the averaged weights, if there is one."""
        return self.net if self.averaged is None else self.averaged.module

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
        self.model.begin_epoch(self.net, self.epoch / self.settings.epochs, self.params)
        metrics = self._train()
        for name, loss in metrics.items():
            if not math.isfinite(loss):
                what = name.replace("_", " ").replace("train", "training")
                raise TrialError(f"diverged: {what} is {loss} in epoch {self.epoch + 1}")
        goodness = -sum(metrics.values())
        if len(self.val_split[0]):
            metrics = {**self.evaluate(self.val_split), **metrics}
            self._keep_best(metrics)
            goodness = self.model.objective.sign * metrics.get(self.model.objective.metric, 0.0)
        for player in self.players.values():
            player.schedule.end_epoch(goodness)
        self.epoch += 1
        if self.finished:
            state = self.best_state or self.evaluated.state_dict()
            self.net.load_state_dict(state)
            self.averaged = None
        return metrics

    def state(self) -> dict[str, Any]:
        """All that `load_state` needs to go on as if nothing had happened."""
        return {
            "epoch": self.epoch,
            "best_epoch": self.best_epoch,
            "best_value": self.best_value,
            "best_state": self.best_state,
            "net": self.net.state_dict(),
            "averaged": None if self.averaged is None else self.averaged.state_dict(),
            "players": {
                name: (player.optimizer.state_dict(), player.schedule.state_dict())
                for name, player in self.players.items()
            },
            "scaler": self.precision.scaler.state_dict(),
            "generator": self.generator.get_state(),
            "rng": seeds.state(),
            "cuda_rng": torch.cuda.get_rng_state_all(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Goes on where `state` was taken.

        Raises:
            Exception: it is of another network or optimizer.
        """
        self.net.load_state_dict(state["net"])
        if self.averaged is not None:
            self.averaged.load_state_dict(state["averaged"])
        for name, player in self.players.items():
            optimizer, schedule = state["players"][name]
            player.optimizer.load_state_dict(optimizer)
            player.schedule.load_state_dict(schedule)
        self.precision.scaler.load_state_dict(state["scaler"])
        self.generator.set_state(state["generator"])
        seeds.set_state(state["rng"])
        if len(state["cuda_rng"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(state["cuda_rng"])
        self.epoch = state["epoch"]
        self.best_epoch = state["best_epoch"]
        self.best_value = state["best_value"]
        self.best_state = state["best_state"]

    def _train(self) -> Metrics:
        """One epoch's mean losses: `train_loss`, or `train_loss_PLAYER` of each."""
        settings = self.settings
        self.net.train()
        order = torch.randperm(len(self.train_split[0]), generator=self.generator)
        order = order[: self.n_batches * self.batch_size].to(settings.device)
        totals = {name: torch.zeros((), device=settings.device) for name in self.players}
        counts = dict.fromkeys(self.players, 0)
        for i, rows in enumerate(torch.split(order, self.batch_size), start=1):
            rows = self.ranks.share(rows)
            batch = tuple(column[rows] for column in self.train_split)
            batch = self.model.prepare(batch, self.params, self.generator)
            # Equal batches: the mean of their losses is the loss of one large batch.
            last_group = (self.n_batches - 1) // settings.accumulate == (
                i - 1
            ) // settings.accumulate
            size = self.n_batches % settings.accumulate if last_group else 0
            at_end = i % settings.accumulate == 0 or i == self.n_batches
            for name, loss in self._losses(self._layout(batch)):
                self._learn(self.players[name], loss / (size or settings.accumulate), at_end)
                totals[name] += loss.detach()  # no .item(): it would wait for the GPU each time
                counts[name] += 1
            if at_end:
                for player in self.players.values():
                    player.schedule.step()
                if self.averaged is not None:
                    self.averaged.update_parameters(self.net)
        self.ranks.share_buffers(self.net)
        return {
            f"train_loss{name and '_'}{name}": float(self.ranks.mean(total)) / max(1, counts[name])
            for name, total in totals.items()
        }

    def _losses(self, batch: Split) -> Iterator[tuple[str, Tensor]]:
        losses = self.model.losses(self.net, batch, self.params)
        while True:
            with self.precision.autocast():  # of the forward pass alone, not of the steps between
                found = next(losses, None)
            if found is None:
                return
            yield found

    def _learn(self, player: Player, loss: Tensor, step: bool) -> None:
        clip = self.params.get("grad_clip", self.settings.grad_clip)
        self.precision.backward(loss, player.inputs)
        if step:
            self.ranks.average_gradients(player.parameters())
            self.precision.step(player.optimizer, player.parameters(), clip)

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
            state = self.evaluated.state_dict()
            self.best_state = {name: tensor.detach().clone() for name, tensor in state.items()}

    def evaluate(self, split: Split) -> Metrics:
        """The model's metrics on a split, in eval mode, without gradients."""
        net = self.evaluated.eval()
        with torch.no_grad(), self.precision.autocast():
            found = self.model.evaluate(net, self._batches(self._place(split)), self.params)
        return {name: float(value) for name, value in found.items()}

    def show(self, split: Split) -> dict[str, bytes]:
        """Pictures and texts of what the network makes of a split's rows."""
        net = self.evaluated.eval()
        with torch.no_grad():
            return dict(self.model.show(net, self._place(split), self.params, self.info))

    def latency(self) -> Latency:
        """How long one row's way through the network takes, on its device."""
        net = self.evaluated.eval()
        row = self._layout(tuple(column[:1] for column in self.train_split))
        settings = self.settings
        with torch.no_grad(), self.precision.autocast():
            return latency(
                lambda: self.model.infer(net, row, self.params), settings.device, settings.threads
            )

    def _batches(self, split: Split) -> Iterator[Split]:
        for start in range(0, len(split[0]), self.settings.eval_batch_size):
            end = start + self.settings.eval_batch_size
            yield self._layout(tuple(column[start:end] for column in split))


def _averaged(net: nn.Module, decay: float) -> AveragedModel:
    average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
    return AveragedModel(net, multi_avg_fn=average, use_buffers=True)


def checkpoint_gradients(net: nn.Module) -> None:
    """Makes the network's parts compute their activations again when gradients need them.

    The parts are what `net.segments()` gives, a Hugging Face model's own, or the network's layers.
    """
    enable = getattr(net, "gradient_checkpointing_enable", None)
    if enable is not None:
        enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        return
    segments = getattr(net, "segments", net.children)
    for part in segments():
        part.forward = functools.partial(checkpoint, part.forward, use_reentrant=False)
