"""The model contract: what a model tells the service, and nothing more.

A model says what is particular to it: its space, its objective, its network, its loss and
its metrics.  What all models share (device, precision, schedule, seeds, early stop) is in
`hpo.training`.  This file must stay importable without torch.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from hpo.errors import SpecError
from hpo.objectives import Objective as Objective
from hpo.objectives import declared_objective
from hpo.reading import Sides
from hpo.space import Space

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from torch import Tensor, nn

    from hpo.deployment import Call, Deployment

Params = Mapping[str, Any]
Metrics = dict[str, float]
Split = tuple["Tensor", ...]
"""Tensors of one common first dimension N, usually (inputs [N, ...], targets [N])."""
ParameterGroup = tuple[Iterable["nn.Parameter"], float]
"""Parameters of a network, and what their learning rate is multiplied by."""


@dataclass(frozen=True)
class Data:
    """A data set in memory, split once and for all by its name and the split seed.

    `info` describes it to `Model.build`: n_classes, shape (C, H, W), class_names, mean, std, ...

    Attributes:
        notes: how it was read, and what was left out, a sentence each.
        names: of the rows of `train`, `val` and `test`, such as their files; may be empty.
    """

    name: str
    train: Split
    val: Split
    test: Split | None
    info: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    names: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @functools.cached_property
    def digest(self) -> str:
        """Of the training and validation rows as they are, 16 hex digits."""
        import hashlib

        import torch

        found = hashlib.blake2b(digest_size=8)
        for column in (*self.train, *self.val):
            found.update(f"{column.dtype} {tuple(column.shape)}".encode())
            rows = column.detach().cpu().contiguous().reshape(-1)
            found.update(rows.view(torch.uint8).numpy().data)
        return found.hexdigest()

    def for_search(self) -> Data:
        """The same data without its test split: what a search may see."""
        return replace(self, test=None)

    def for_retraining(self) -> Data:
        """Training and validation rows joined as `train`; `val` is empty; `test` stays."""
        import torch

        joined = tuple(torch.cat(pair) for pair in zip(self.train, self.val, strict=True))
        rest = tuple(column[:0] for column in self.val)
        both = [*self.names.get("train", ()), *self.names.get("val", ())]
        names = {**self.names, "train": both, "val": []} if self.names else self.names
        return replace(self, train=joined, val=rest, names=names)


class Model:
    """Base class of everything that can be tuned.  See `hpo_models/cnn.py` for a full example.

    Parameters with these names are used by the training loop if the space declares them: `lr`,
    `optimizer` (sgd | adam | adamw), `momentum`, `beta1`, `beta2`, `weight_decay`, `batch_size`,
    `schedule` (constant | cosine | onecycle | plateau), `warmup` (share of the steps), `grad_clip`,
    `ema` (decay of averaged weights).
    """

    task: ClassVar[str] = ""
    objective: ClassVar[Objective]
    space: ClassVar[Space]
    datasets: ClassVar[tuple[str, ...]] = ()
    """Names or forms (`imagefolder:`) of data that fit; the first is the default."""
    image_sides: ClassVar[Sides] = Sides()
    """Sizes of images that it takes; of a user's own pictures one is chosen within them."""
    n_trials: ClassVar[int] = 20
    epochs: ClassVar[int] = 8
    n_rows: ClassVar[int] = 3500
    """Training rows that `epochs` and `timeout_s` are meant for; of fewer a user's own data gets
    more epochs, of more it gets more time."""
    timeout_s: ClassVar[float | None] = None
    """Time given to the search when the user names no budget at all."""
    source = ""
    """Set by hpo: digest of the object that `hpo.run` was given; empty for a model by name."""
    additive: ClassVar[bool] = True
    """Whether a batch's loss is the mean over its rows; not if rows are compared to each other."""
    classifies: ClassVar[bool] = False
    """Whether the network maps a batch's first column to logits [B, n_classes] of the second."""

    def data(self, seed: int) -> Data | None:
        """The model's own data, for models that need no `--data`; None: use the registry."""
        return None

    def check(self, space: Space, fixed: Params) -> None:
        """Raises SpecError if this machine lacks what it needs beside data: a package, weights.

        Called once, before a run on this machine creates anything.

        Args:
            space: what is searched.
            fixed: parameters that are not.
        """

    def check_data(self, data: Data) -> None:
        """Raises SpecError if it cannot be trained on this data; once, before anything is made.

        By default it refuses registered images of sides beyond `image_sides`.
        """
        shape = data.info.get("shape", ())
        if len(shape) == 3 and self.datasets:
            problem = self.image_sides.problem((shape[1], shape[2]), type(self).__name__)
            if problem:
                raise SpecError(f"data: {data.name!r} has images of {problem}")

    def build(self, params: Params, data: Data) -> nn.Module:
        """The network for these parameters, with fresh weights, on the CPU."""
        raise NotImplementedError(f"{type(self).__name__} must define build(params, data)")

    def loss(self, net: nn.Module, batch: Split, params: Params) -> Tensor:
        """One training step's loss, a scalar.  `batch` is on the network's device."""
        raise NotImplementedError(f"{type(self).__name__} must define loss(net, batch, params)")

    def losses(self, net: nn.Module, batch: Split, params: Params) -> Iterator[tuple[str, Tensor]]:
        """For networks whose parts are trained against each other: (player, loss) in turn.

        After each the player's gradients are taken and its optimizer steps, before the next one is
        computed.  By default one player, named '', and `loss`.
        """
        yield "", self.loss(net, batch, params)

    def players(self, net: nn.Module, params: Params) -> Mapping[str, Sequence[ParameterGroup]]:
        """The parameters of each player, in groups with a factor for the learning rate."""
        return {"": [(net.parameters(), 1.0)]}

    def begin_epoch(self, net: nn.Module, progress: float, params: Params) -> None:
        """Called before each epoch; `progress` is the share of the training that is done, 0..1."""

    def evaluate(self, net: nn.Module, batches: Iterable[Split], params: Params) -> Metrics:
        """Metrics of the network in eval mode, without gradients.  Must hold the objective's."""
        raise NotImplementedError(
            f"{type(self).__name__} must define evaluate(net, batches, params)"
        )

    def per_row(
        self, net: nn.Module, batches: Iterable[Split], params: Params
    ) -> Mapping[str, Tensor | list[str]]:
        """What each row comes to by itself, for `hpo evaluate`: columns of N numbers or texts.

        A column with the name of a metric holds what that metric is the mean of, and so gives it
        an interval; `loss` says which rows are the hardest; `true` and `predicted` are texts.
        """
        return {}

    def show(
        self, net: nn.Module, split: Split, params: Params, info: Mapping[str, Any]
    ) -> Mapping[str, bytes]:
        """Pictures and texts of what the retrained network makes of test rows.

        Returns:
            File name (`samples.png`, `captions.md`) -> content; saved beside the weights.
        """
        return {}

    def prepare(self, batch: Split, params: Params, generator: torch.Generator) -> Split:
        """Augments a training batch; by default leaves it as it is."""
        return batch

    def infer(self, net: nn.Module, batch: Split, params: Params) -> Any:
        """One use of the network, in eval mode, without gradients: what `latency_ms` measures.

        By default its `forward` with as many of the batch's columns as that asks for.
        """
        asked = inspect.signature(net.forward).parameters.values()
        free = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        n = sum(p.kind in free and p.default is p.empty for p in asked)
        return net(*batch[: max(1, n)])

    def deployment(self, net: nn.Module, params: Params, info: Mapping[str, Any]) -> Deployment:
        """How the retrained network is used: what `hpo export` writes and `hpo predict` asks.

        By default its first column of numbers goes in, and what the network makes of it comes out.

        Args:
            net: in eval mode, on the CPU.
            info: the data's; `shape` and `dtype` of a row of its first column are added where they
                are missing and the data can be loaded.
        """
        from hpo.deployment import network_of_numbers

        return network_of_numbers(net, info)

    def by_graphs(self, net: nn.Module, graphs: Mapping[str, Call]) -> nn.Module | None:
        """The network for `evaluate` and `per_row`, whose work the graphs of `deployment` do.

        So `hpo compress` tells what a graph with fewer bits is worth.  By default the only graph is
        the network's `forward`.

        Args:
            graphs: each takes tensors, as its module does, and gives what that gives.
        Returns:
            None: the metrics cannot be computed so.
        """
        from hpo.deployment import standing_in

        if len(graphs) != 1:
            return None
        return standing_in(net, forward=next(iter(graphs.values())))


_SHOWN_AT_ONCE = 512


class Classifier(Model):
    """A model whose network maps inputs to class logits [B, n_classes]."""

    task = "classification"
    classifies = True
    objective = Objective("accuracy", "maximize")

    def loss(self, net: nn.Module, batch: Split, params: Params) -> Tensor:
        from torch.nn import functional

        inputs, targets = batch
        smoothing = float(params.get("label_smoothing", 0.0))
        return functional.cross_entropy(net(inputs), targets, label_smoothing=smoothing)

    def evaluate(self, net: nn.Module, batches: Iterable[Split], params: Params) -> Metrics:
        from hpo.metrics import classification_metrics

        return classification_metrics((net(batch[0]), batch[1]) for batch in batches)

    def show(
        self, net: nn.Module, split: Split, params: Params, info: Mapping[str, Any]
    ) -> Mapping[str, bytes]:
        """classes.md: rows, precision, recall and F1 of each class among the test rows."""
        import torch

        from hpo.metrics import per_class_metrics

        logits = torch.cat([net(part) for part in torch.split(split[0], _SHOWN_AT_ONCE)])
        names = info.get("class_names") or range(logits.shape[1])
        lines = ["| class | rows | precision | recall | F1 |", "|---|---|---|---|---|"]
        for row in per_class_metrics(logits.float(), split[1]):
            name = str(names[int(row["class"])]).replace("|", r"\|")
            figures = " | ".join(f"{row[key]:.3f}" for key in ("precision", "recall", "f1"))
            lines.append(f"| {name} | {row['support']:.0f} | {figures} |")
        return {"classes.md": "\n".join(lines).encode() + b"\n"}

    def deployment(self, net: nn.Module, params: Params, info: Mapping[str, Any]) -> Deployment:
        """Numbers to classes.  Of images say `hpo.deployment.classifier_of_images(net, info)`."""
        from hpo.deployment import classifier_of_numbers

        return classifier_of_numbers(net, info)


class TrialContext(Protocol):
    """What a function `train(trial)` gets.

    Attributes:
        params: all parameters, searched and fixed.
        epochs: how often it is to report.
        device: `cuda` or `cpu`.
        number: the trial's in its study; of a training that confirms or retrains a trial, the
            number of that trial; None for a default configuration that no trial had.
    """

    params: Params
    seed: int
    epochs: int
    device: str
    number: int | None

    @property
    def folder(self) -> Path:
        """A folder of this training's own, for checkpoints and other files: no other trial, and no
        training that confirms or retrains it, has the same.  It is made when it is asked for."""

    def report(self, **metrics: float) -> None:
        """Reports one epoch's metrics; returns unless the trial is to stop."""


TrainFunction = Callable[[TrialContext], Any]
F = TypeVar("F", bound=TrainFunction)


class FunctionModel(Model):
    """A plain function `train(trial)` with a declared space: it trains however it likes."""

    task = "function"

    def __init__(self, function: TrainFunction, space: Space, objective: Objective) -> None:
        self.function = function
        self.space = space  # type: ignore[misc]
        self.objective = objective  # type: ignore[misc]
        self.__doc__ = function.__doc__


def tunable(space: Space, objective: Objective | str = "accuracy") -> Callable[[F], F]:
    """Declares the space of a function `train(trial)`; `hpo run --model ./mine.py:train`.

    Args:
        space: the parameters, given to the function as `trial.params`.
        objective: the metric it reports: `accuracy`, `val_loss`, `utility:maximize`.
    Raises:
        SpecError: the objective's name does not say which way is better.
    """
    if not isinstance(space, Space):
        raise SpecError(
            f"tunable: {space!r:.60} must be a Space: write @tunable(Space(lr=Float(1e-4, 1e-1, "
            "log=True)), 'accuracy') above def train(trial)"
        )
    goal = declared_objective(objective)

    def declare(function: F) -> F:
        function.hpo_model = FunctionModel(function, space, goal)  # type: ignore[attr-defined]
        return function

    return declare
