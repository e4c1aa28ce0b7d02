"""Metrics of classifiers, and the interval of an accuracy.

Written out, for importing torchmetrics takes 2.6 s, which every worker would pay.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def classification_metrics(pairs: Iterable[tuple[Tensor, Tensor]]) -> dict[str, float]:
    """Accuracy, macro recall, macro F1 and mean cross-entropy.

    Args:
        pairs: (logits [B, n_classes], targets [B] int64) by batch.
    Returns:
        {"accuracy", "recall", "f1", "loss"}; recall and F1 are unweighted means over the classes
        that occur among the targets.
    """
    import torch
    from torch.nn import functional

    logits, targets = (torch.cat(column) for column in zip(*pairs, strict=True))
    logits = logits.float()
    per_class = per_class_metrics(logits, targets)
    recall = [row["recall"] for row in per_class]
    f1 = [row["f1"] for row in per_class]
    return {
        "accuracy": float((logits.argmax(1) == targets).double().mean()),
        "recall": sum(recall) / len(recall),
        "f1": sum(f1) / len(f1),
        "loss": float(functional.cross_entropy(logits, targets)),
    }


def per_class_metrics(logits: Tensor, targets: Tensor) -> list[dict[str, float]]:
    """Support, precision, recall and F1 of each class that occurs among the targets.

    Args:
        logits: [N, n_classes].
        targets: [N] int64.
    """
    import torch

    n_classes = logits.shape[1]
    predicted = logits.argmax(1)
    hits = torch.bincount(targets[predicted == targets], minlength=n_classes).double()
    support = torch.bincount(targets, minlength=n_classes).double()
    chosen = torch.bincount(predicted, minlength=n_classes).double()
    rows = []
    counts = torch.stack((hits, support, chosen), dim=1).tolist()  # one wait for a GPU
    for k, (n_hits, n_rows, n_chosen) in enumerate(counts):
        if n_rows == 0:
            continue
        rows.append(
            {
                "class": float(k),
                "support": n_rows,
                "precision": n_hits / n_chosen if n_chosen else 0.0,
                "recall": n_hits / n_rows,
                "f1": 2 * n_hits / (n_rows + n_chosen),
            }
        )
    return rows


def accuracy_interval(k: int, n: int) -> tuple[float, float]:
    """95 % Wilson interval of a proportion of k successes in n > 0 trials."""
    from scipy.stats import binomtest

    interval = binomtest(k, n).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)
