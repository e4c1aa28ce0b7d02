"""What a network is worth on rows that it did not learn from: measures, intervals, single rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hpo.errors import HpoError, SpecError
from hpo.metrics import classification_metrics
from hpo.model import Classifier, Metrics, Model, Params, Split
from hpo.outcome import bootstrap
from hpo.outcome.classified import Classified, Measure, classify

if TYPE_CHECKING:
    from torch import Tensor

Array = NDArray[np.float64]
Columns = dict[str, Array | list[str]]

N_RESAMPLES = 1000
BATCH_SIZE = 512
"""As in training: a generator's draws depend on it."""


@dataclass(frozen=True)
class Evaluation:
    """A network on N rows of known outcome.

    Attributes:
        own: the model's own metrics, by the names that a study has.
        measures: all, the model's own among them.
        rows: columns of N numbers or texts; a classifier's have `true`, `predicted`,
            `probability` (of what it predicts) and `loss`.
        classified: what only classifiers have.
        shown: the model's own pictures and texts: file name -> content.
        notes: what a reader has to know, a sentence each.
    """

    n_rows: int
    own: Metrics
    measures: dict[str, Measure]
    rows: Columns
    classified: Classified | None = None
    shown: Mapping[str, bytes] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def losses(self) -> Array | None:
        """Of each row; None if the model has none."""
        found = self.rows.get("loss")
        return found if isinstance(found, np.ndarray) else None

    def hardest(self, n: int) -> list[int]:
        """The rows with the highest losses, the worst first."""
        if self.losses is None:
            return []
        return [int(row) for row in np.argsort(-self.losses, kind="stable")[:n]]


def evaluate(
    network: Any,
    model: Model,
    split: Split,
    params: Params,
    info: Mapping[str, Any],
    *,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> Evaluation:
    """Measures a network on a split.

    Args:
        network: the model's `nn.Module`, on any device; of a model that classifies any callable
            that maps inputs [B, ...] to logits [B, K] will do.
        params: that it was built with.
        info: what it was told of its training data: class names, shapes, vocabulary.
        n_resamples: of the bootstrap; 0: no intervals but Wilson's.
    Raises:
        SpecError: there are no rows, or a class is unknown.
        HpoError: the network gives no finite logits, or the model's `evaluate` fails.
    """
    import torch

    if not split or not len(split[0]):
        raise SpecError("data: there are no rows to evaluate")
    is_module = isinstance(network, torch.nn.Module)
    if is_module:
        network.eval()
        place = next((p.device for p in network.parameters()), torch.device("cpu"))
        split = tuple(column.to(place) for column in split)
    notes: list[str] = []
    with torch.no_grad():
        own = _own(network, model, split, params, notes) if is_module else {}
        classified = None
        if model.classifies:
            classified, more = _classified(network, split, info, n_resamples, seed)
            if classified is not None and not own:
                own = more
        rows = _rows(network, model, split, params) if is_module else {}
        shown = _shown(network, model, split, params, info, notes) if is_module else {}
    measures = {name: Measure(value) for name, value in own.items()}
    measures |= _with_intervals(own, rows, n_resamples, seed)
    if classified is not None:
        rows = {**_class_rows(classified), **rows}
        same = _plain(model)
        measures = {**({} if same else measures), **classified.measures}
    return Evaluation(len(split[0]), own, measures, rows, classified, shown, notes)


def _plain(model: Model) -> bool:
    """Whether the model's own metrics are those of every classifier."""
    return type(model).evaluate is Classifier.evaluate


def _batches(split: Split) -> Iterator[Split]:
    for start in range(0, len(split[0]), BATCH_SIZE):
        yield tuple(column[start : start + BATCH_SIZE] for column in split)


def _own(network: Any, model: Model, split: Split, params: Params, notes: list[str]) -> Metrics:
    """By the model's `evaluate`, as at the end of its training; logits tell a classifier's."""
    if model.classifies and _plain(model):
        return {}
    model.begin_epoch(network, 1.0, params)
    try:
        found = _guarded("evaluate", lambda: model.evaluate(network, _batches(split), params))
    except HpoError as error:
        if not model.classifies:
            raise
        notes.append(f"Without the model's own metrics: {error}.")
        return {}
    return {name: float(value) for name, value in found.items()}


def _guarded(what: str, call: Callable[[], Any]) -> Any:
    """Models are others' code: what goes wrong there is said in one line."""
    try:
        return call()
    except HpoError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise HpoError(f"model: {what} failed on these rows: {reason}") from error


def _classified(
    network: Any, split: Split, info: Mapping[str, Any], n_resamples: int, seed: int
) -> tuple[Classified, Metrics]:
    import torch

    if len(split) < 2:
        raise SpecError("data: its rows have no classes to compare with")
    logits = _guarded(
        "the network", lambda: torch.cat([network(batch[0]) for batch in _batches(split)])
    )
    targets = split[1].cpu()
    if logits.dim() != 2 or len(logits) != len(targets):
        raise HpoError(
            f"model: the network gives {tuple(logits.shape)} for {len(targets)} rows: a classifier "
            "gives logits [rows, classes]"
        )
    logits = logits.float().cpu()
    broken = int((~torch.isfinite(logits)).any(dim=1).sum())
    if broken:
        raise HpoError(
            f"model: the network gives NaN or infinity for {broken} of {len(logits)} rows: its "
            "weights are damaged or it diverged: retrain it"
        )
    n_classes = logits.shape[1]
    if int(targets.min()) < 0 or int(targets.max()) >= n_classes:
        raise SpecError(
            f"data: classes are numbered {int(targets.min())} to {int(targets.max())}, and the "
            f"network knows {n_classes}, from 0 on"
        )
    names = [str(name) for name in info.get("class_names") or range(n_classes)]
    if len(names) != n_classes:
        names = [str(k) for k in range(n_classes)]
    own = classification_metrics([(logits, targets)])
    found = classify(logits.double().numpy(), targets.numpy(), names, n_resamples, seed)
    return found, own


def _rows(network: Any, model: Model, split: Split, params: Params) -> Columns:
    found = _guarded("per_row", lambda: model.per_row(network, _batches(split), params))
    return {name: _column(column) for name, column in found.items()}


def _column(column: Tensor | list[str]) -> Array | list[str]:
    if isinstance(column, list):
        return column
    values: Array = column.detach().double().cpu().numpy()
    return values


def _shown(
    network: Any,
    model: Model,
    split: Split,
    params: Params,
    info: Mapping[str, Any],
    notes: list[str],
) -> Mapping[str, bytes]:
    """A model whose `show` fails is measured all the same."""
    try:
        return dict(model.show(network, split, params, info))
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        notes.append(f"The model's own pictures could not be made ({reason}).")
        return {}


def _with_intervals(own: Metrics, rows: Columns, n_resamples: int, seed: int) -> dict[str, Measure]:
    """Those of the model's metrics that are means over rows."""
    columns = {
        name: column
        for name, column in rows.items()
        if name in own
        and isinstance(column, np.ndarray)
        and np.isfinite(column).all()
        and abs(column.mean() - own[name]) <= 1e-4 * max(1.0, abs(own[name]))
    }
    if not columns or n_resamples < 1 or len(next(iter(columns.values()))) < 2:
        return {}
    n = len(next(iter(columns.values())))
    found = bootstrap.intervals(bootstrap.means(columns), n, n_resamples, seed)
    return {
        name: Measure.resampled(own[name], float(low), float(high))
        for name, (low, high) in found.items()
    }


def _class_rows(classified: Classified) -> Columns:
    names = np.array(classified.class_names, dtype=object)
    return {
        "true": [str(name) for name in names[classified.targets]],
        "predicted": [str(name) for name in names[classified.predicted]],
        "probability": classified.confidence,
        "loss": classified.losses,
    }
