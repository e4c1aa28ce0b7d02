"""What an encoder's features are worth with few labels: a linear probe, and fine-tuning.

Networks that learn without labels hold an `encoder` and a linear `head`; the probe fits the head.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from hpo.deployment import Call, Deployment, Graph, standing_in
from hpo.metrics import classification_metrics
from hpo.model import Data, Metrics, Split
from hpo_models.parts import Part

N_LABELS = 10
"""Labels of each class that the probe sees."""
_STEPS, _LEARNING_RATE = 40, 1e-3


class Probed(nn.Module):
    """An encoder trained without labels, and a linear head that a probe fits: logits [B, n].

    Attributes:
        labelled: inputs and targets of the probe.  No buffers: they are data, neither saved nor
            averaged with the weights.
        fitted: whether the head stays as it is, and a probe only measures.
    """

    fitted = False

    def __init__(self, encoder: nn.Module, n_features: int, data: Data) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(n_features, data.info["n_classes"]).requires_grad_(False)
        self.labelled = first_rows(data.train[:2], data.info["n_classes"]) if data.train else None

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.head(self.encoder(inputs))
        return logits

    def probed(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Features [B, D] and their logits [B, n]."""
        features: Tensor = self.encoder(inputs)
        return features, self.head(features)

    def deployment(self, given: Graph, settings: Mapping[str, Any]) -> Deployment:
        """Use as features with the probe's classes.

        Args:
            given: a graph of the same inputs.
            settings: of its input, and the classes' names.
        """
        part = Part(self, "probed", "projector")
        graph = replace(given, module=part, outputs=("features", "logits"))
        return Deployment("features", settings, {"encoder": graph})

    def by_graph(self, call: Call) -> nn.Module:
        """The network by its graph, with the head that is in it: nothing is fitted any more."""
        kept = standing_in(
            self, encoder=lambda inputs: call(inputs)[0], forward=lambda inputs: call(inputs)[1]
        )
        kept.__dict__["fitted"] = True
        return kept


def first_rows(split: Split, n_classes: int) -> Split:
    """The first N_LABELS rows of each class, or what there is."""
    targets = split[1]
    rows = [torch.nonzero(targets == k).flatten()[:N_LABELS] for k in range(n_classes)]
    return tuple(column[torch.cat(rows)] for column in split)


def probe(
    net: Probed,
    batches: Iterable[Split],
    penalty: float,
    augment: Callable[[Tensor], Tensor] | None,
) -> Metrics:
    """Fits the head to the labelled rows, unless it is `fitted`, and measures it on the batches.

    Args:
        penalty: of the squared weights, for features of unit deviation.
        augment: views of the labelled inputs, to fine-tune a copy of the network too; None: not.
    Returns:
        {"probe_accuracy", "probe_f1", "probe_loss"}, and "finetuned_accuracy".
    """
    tuned = None
    if not net.fitted:
        assert net.labelled is not None, "a network built without data has no labelled rows"
        inputs, targets = (column.to(net.head.weight.device) for column in net.labelled)
        fit_head(net.head, net.encoder(inputs), targets, penalty)
        tuned = fine_tuned(net, inputs, targets, augment) if augment is not None else None
    pairs: dict[str, list[tuple[Tensor, Tensor]]] = {"probe": [], "finetuned": []}
    for batch in batches:
        pairs["probe"].append((net(batch[0]), batch[1]))
        if tuned is not None:
            pairs["finetuned"].append((tuned(batch[0]), batch[1]))
    found = classification_metrics(pairs["probe"])
    metrics = {f"probe_{name}": found[name] for name in ("accuracy", "f1", "loss")}
    if tuned is not None:
        metrics["finetuned_accuracy"] = classification_metrics(pairs["finetuned"])["accuracy"]
    return metrics


def fit_head(head: nn.Linear, features: Tensor, targets: Tensor, penalty: float) -> None:
    """Regularised logistic regression on features [N, D], which it standardises, into the head.

    A class without rows gets logits that it never wins with.
    """
    from sklearn.linear_model import LogisticRegression

    rows = features.detach().double().cpu()
    mean, deviation = rows.mean(dim=0), rows.std(dim=0).clamp_min(1e-6)
    regression = LogisticRegression(C=1 / penalty, max_iter=500)
    regression.fit(((rows - mean) / deviation).numpy(), targets.cpu().numpy())
    weight, bias = torch.from_numpy(regression.coef_), torch.from_numpy(regression.intercept_)
    if len(weight) == 1:  # of two classes sklearn gives the second one's log odds
        weight, bias = torch.cat((-weight, weight)) / 2, torch.cat((-bias, bias)) / 2
    weight = weight / deviation
    head.weight.zero_()
    head.bias.fill_(float(bias.min()) - 1e4)
    classes = torch.from_numpy(regression.classes_)
    head.weight[classes] = weight.to(head.weight)
    head.bias[classes] = (bias - weight @ mean).to(head.bias)


def fine_tuned(
    net: Probed, inputs: Tensor, targets: Tensor, augment: Callable[[Tensor], Tensor]
) -> nn.Module:
    """A copy, trained on from the probe with all labelled rows in each step; running statistics
    of batch normalization stay."""
    tuned = copy.deepcopy(net).eval().requires_grad_(True)
    trained = [*tuned.encoder.parameters(), *tuned.head.parameters()]
    optimizer = torch.optim.AdamW(trained, lr=_LEARNING_RATE, weight_decay=1e-2)
    with torch.enable_grad():
        for _ in range(_STEPS):
            loss = functional.cross_entropy(tuned(augment(inputs)), targets)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return tuned
