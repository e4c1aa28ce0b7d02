"""What a classifier's logits come to on rows whose classes are known.

Notation: N rows, K classes.  Values are scikit-learn's; intervals are bootstraps over rows, and
Wilson's for the accuracy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpo import calibration
from hpo.calibration import Bin
from hpo.metrics import accuracy_interval
from hpo.outcome import bootstrap

Array = NDArray[np.float64]
_TOP = (3, 5)
"""Top-k accuracies, of twice as many classes or more."""


@dataclass(frozen=True)
class Measure:
    """A value, and its 95 % interval if it has one.

    Attributes:
        how: what the interval is: `Wilson`, `bootstrap`, or '' for none.
    """

    value: float
    low: float | None = None
    high: float | None = None
    how: str = ""

    @classmethod
    def resampled(cls, value: float, low: float, high: float) -> Measure:
        """With the ends of a bootstrap; without, where all resamples came out alike: rows that do
        not differ say nothing of how others would."""
        return cls(value, low, high, "bootstrap") if low < high else cls(value)

    @property
    def text(self) -> str:
        """`0.9780 [0.9668, 0.9855]`."""
        value = f"{self.value:.4f}" if abs(self.value) < 10 else f"{self.value:.4g}"
        if not math.isfinite(self.value):
            value = "-"
        if self.low is None or self.high is None:
            return value
        ends = (f"{x:.4f}" if abs(x) < 10 else f"{x:.4g}" for x in (self.low, self.high))
        return f"{value} [{', '.join(ends)}]"


@dataclass(frozen=True)
class Chance:
    """What a calibration error would be if the network were calibrated: mean, 95th percentile."""

    mean: float
    most: float


@dataclass(frozen=True)
class Classified:
    """A classifier on N rows.

    Attributes:
        targets: [N]; `probabilities`: [N, K]; `losses`: [N], cross-entropy in nats.
        measures: by name, in the order to be shown.
        classes: of each class that occurs among targets or predictions: name, rows, chosen,
            precision, recall, f1 with ends, roc_auc, average_precision.
        confusion: [K, K] rows, by true and predicted class.
        bins: of the confidence, by the name of the measure that is made of them.
        chance: by the same names.
    """

    class_names: list[str]
    targets: NDArray[np.int64]
    probabilities: Array
    losses: Array
    measures: dict[str, Measure]
    classes: list[dict[str, Any]]
    confusion: NDArray[np.int64]
    bins: dict[str, list[Bin]]
    chance: dict[str, Chance]

    @property
    def predicted(self) -> NDArray[np.int64]:
        found: NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return found

    @property
    def confidence(self) -> Array:
        found: Array = self.probabilities.max(axis=1)
        return found


def classify(
    logits: Array,
    targets: NDArray[np.int64],
    class_names: Sequence[str],
    n_resamples: int,
    seed: int = 0,
) -> Classified:
    """Every measure of logits [N, K], finite, on targets [N] in 0..K."""
    from sklearn import metrics as sk

    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    probabilities = np.exp(log_p)
    n, n_classes = logits.shape
    # Of equal logits the first wins, as in torch.
    predicted, rows = logits.argmax(axis=1), np.arange(n)
    by_row = _by_row(log_p, targets)
    values = {
        "accuracy": float((predicted == targets).mean()),
        **_of_counts(targets, predicted),
        **{name: float(column.mean()) for name, column in by_row.items()},
    }
    occur = np.unique(targets)
    ends: dict[str, tuple[Array, Array]] = {}
    enough = n_resamples > 0 and n > 1
    if enough:
        of_counts = bootstrap.counts(targets, predicted, n_classes)
        ends |= bootstrap.intervals(of_counts, n, n_resamples, seed)
        ends |= bootstrap.intervals(bootstrap.means(by_row), n, n_resamples, seed)
    if len(occur) > 1:
        of_curves = bootstrap.mean_curves(targets, probabilities)
        values |= {name: float(v[0]) for name, v in of_curves(np.ones((1, n))).items()}
        if enough and n * n_classes <= bootstrap.MOST_RANKED:
            ends |= bootstrap.intervals(of_curves, n, n_resamples, seed)
    measures = {name: _measure(value, ends.get(name)) for name, value in values.items()}
    low, high = accuracy_interval(int((predicted == targets).sum()), n)
    measures["accuracy"] = Measure(values["accuracy"], low, high, "Wilson")
    confidence, correct = probabilities[rows, predicted], predicted == targets
    bins, chance = {}, {}
    for name, binned in (
        ("ece", calibration.equal_width),
        ("adaptive_ece", calibration.equal_mass),
    ):
        of_row = binned(confidence)
        error = calibration.calibration_error(confidence, correct, of_row)
        measures[name] = Measure(error)
        bins[name] = calibration.reliability(confidence, correct, of_row)
        chance[name] = Chance(*calibration.error_if_calibrated(confidence, of_row))
    return Classified(
        list(class_names),
        targets,
        probabilities,
        by_row["log_loss"],
        measures,
        _classes(targets, predicted, probabilities, class_names, ends),
        sk.confusion_matrix(targets, predicted, labels=range(n_classes)),
        bins,
        chance,
    )


def _measure(value: float, ends: tuple[Any, Any] | None) -> Measure:
    if ends is None or not np.isfinite(ends).all():
        return Measure(value)
    return Measure.resampled(value, float(ends[0]), float(ends[1]))


def _by_row(log_p: Array, targets: NDArray[np.int64]) -> dict[str, Array]:
    """What is a mean over rows: columns [N].

    The Brier score is the sum over classes (Brier 1950), of two classes half of it, as
    scikit-learn has it.
    """
    n, n_classes = log_p.shape
    of_true = log_p[np.arange(n), targets]
    found = {}
    for k in _TOP:
        if n_classes >= 2 * k:
            found[f"top_{k}"] = ((log_p > of_true[:, None]).sum(axis=1) < k).astype(float)
    one_hot = np.zeros_like(log_p)
    one_hot[np.arange(n), targets] = 1.0
    brier = np.square(np.exp(log_p) - one_hot).sum(axis=1)
    return {**found, "log_loss": -of_true, "brier": brier / 2 if n_classes == 2 else brier}


def _of_counts(targets: NDArray[np.int64], predicted: NDArray[np.int64]) -> dict[str, float]:
    """Means over classes are over those that occur among the targets, as everywhere here."""
    from sklearn import metrics as sk

    occur = np.unique(targets)
    found = {}
    for average in ("macro", "weighted"):
        parts = sk.precision_recall_fscore_support(
            targets, predicted, labels=occur, average=average, zero_division=0
        )
        for name, value in zip(("precision", "recall", "f1"), parts[:3], strict=True):
            found[f"{name}_{average}"] = float(value)
    # Of one class alone, always told, agreement by chance is whole: there is no kappa.
    one = len(np.union1d(targets, predicted)) == 1
    return {
        "balanced_accuracy": found["recall_macro"],
        **found,
        "mcc": 0.0 if one else float(sk.matthews_corrcoef(targets, predicted)),
        "kappa": math.nan if one else float(sk.cohen_kappa_score(targets, predicted)),
    }


def _classes(
    targets: NDArray[np.int64],
    predicted: NDArray[np.int64],
    probabilities: Array,
    class_names: Sequence[str],
    ends: dict[str, tuple[Array, Array]],
) -> list[dict[str, Any]]:
    from sklearn import metrics as sk

    labels = np.union1d(targets, predicted)
    precision, recall, f1, support = sk.precision_recall_fscore_support(
        targets, predicted, labels=labels, zero_division=0
    )
    low, high = ends.get("class_f1", (None, None))
    rows = []
    for place, k in enumerate(labels.tolist()):
        positive = targets == k
        told_apart = positive.any() and not positive.all()
        ranked = (positive, probabilities[:, k])
        interval = None if low is None or high is None else (float(low[k]), float(high[k]))
        rows.append(
            {
                "class": class_names[k],
                "rows": int(support[place]),
                "chosen": int((predicted == k).sum()),
                "precision": float(precision[place]),
                "recall": float(recall[place]) if support[place] else math.nan,
                "f1": float(f1[place]) if support[place] else math.nan,
                "f1_low": interval[0] if interval else math.nan,
                "f1_high": interval[1] if interval else math.nan,
                "roc_auc": float(sk.roc_auc_score(*ranked)) if told_apart else math.nan,
                "average_precision": (
                    float(sk.average_precision_score(*ranked)) if told_apart else math.nan
                ),
            }
        )
    return rows
