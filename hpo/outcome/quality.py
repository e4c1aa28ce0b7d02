"""What graphs in ONNX are worth on rows of known outcome, and how much less than others.

The model's own metric where its network can work by the graphs (`Model.by_graphs`), else how far
their outputs are from the original graphs'.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hpo.deployment import Call as TensorCall
from hpo.errors import HpoError
from hpo.metrics import accuracy_interval
from hpo.model import Model, Split
from hpo.outcome import bootstrap
from hpo.outcome.classified import Measure
from hpo.outcome.deployed import Deployed
from hpo.outcome.evaluate import BATCH_SIZE, N_RESAMPLES
from hpo.outcome.graph_formats import onnx_call

if TYPE_CHECKING:
    from torch import Tensor, nn

Array = NDArray[np.float64]
Graphs = Mapping[str, bytes]
"""Files in ONNX by the graphs' names."""
DIFFERENCE = "difference from the original's outputs"
"""Root of the mean square, in standard deviations of the original's outputs; mean over graphs."""


@dataclass(frozen=True)
class Quality:
    """A metric on N rows.

    Attributes:
        by_row: what the metric is the mean of, [N]; None if it is no such mean.
        is_share: whether each row's is 0 or 1.
    """

    value: float
    by_row: Array | None = None
    is_share: bool = False

    @property
    def measure(self) -> Measure:
        """With its interval, where rows have their own values."""
        if self.by_row is None or len(self.by_row) < 2:
            return Measure(self.value)
        if self.is_share:
            ends = accuracy_interval(round(float(self.by_row.sum())), len(self.by_row))
            return Measure(self.value, *ends, "Wilson")
        return Measure.resampled(self.value, *_ends(self.by_row))


def drop(original: Quality, other: Quality, sign: int) -> Measure:
    """How much worse the other one is, and the paired bootstrap's interval over the same rows."""
    loss = sign * (original.value - other.value) + 0.0  # no -0
    if original.by_row is None or other.by_row is None or len(other.by_row) < 2:
        return Measure(loss)
    return Measure.resampled(loss, *_ends(sign * (original.by_row - other.by_row)))


def _ends(column: Array) -> tuple[float, float]:
    found = bootstrap.intervals(bootstrap.means({"mean": column}), len(column), N_RESAMPLES)
    low, high = found["mean"]
    return float(low), float(high)


class Judge:
    """Measures graphs on one split.

    Attributes:
        metric, sign: what is measured, and +1 if larger is better, else -1.
        notes: what a reader has to know, a sentence each.
    """

    def __init__(
        self, deployed: Deployed, model: Model, network: nn.Module, split: Split, original: Graphs
    ) -> None:
        """Args:
        deployed: the saved model.
        network: its network, built with its training data, which some metrics need.
        split: the rows.
        original: the graphs that others are compared with.
        """
        self.deployed, self.model, self.network, self.split = deployed, model, network, split
        self.metric, self.sign = model.objective.metric, model.objective.sign
        self.notes: list[str] = []
        self._outputs: dict[str, list[Tensor]] | None = None
        try:
            self.original = self._own(original)
        except Exception as error:  # of the model's own code, with a network that is none of its
            reason = f"{type(error).__name__}: {error}".partition("\n")[0][:200]
            self.notes.append(
                f"The model's metric cannot be computed by its graphs ({reason}): variants are "
                "judged by how far their outputs are from the original's."
            )
            self.metric, self.sign = DIFFERENCE, -1
            self._outputs = self._run(original)
            self.original = Quality(0.0, np.zeros(self._n_rows))

    def of(self, graphs: Graphs) -> Quality:
        """The metric of graphs.

        Raises:
            HpoError: they cannot be run, or it is not finite.
        """
        try:
            found = self._own(graphs) if self._outputs is None else self._far(graphs)
        except Exception as error:  # onnxruntime's own classes derive from Exception alone
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            raise HpoError(f"evaluate: {reason}") from error
        if not np.isfinite(found.value):
            raise HpoError(f"evaluate: {self.metric} is {found.value}")
        return found

    def _own(self, graphs: Graphs) -> Quality:
        import torch

        model, params = self.model, self.deployed.artifact.params
        called: set[str] = set()
        net = model.by_graphs(self.network, _calls(self.deployed, graphs, called))
        if net is None:
            raise HpoError("its graphs are several, and by_graphs does not say how they are used")
        model.begin_epoch(net, 1.0, params)
        with torch.no_grad():
            value = float(model.evaluate(net, _batches(self.split), params)[self.metric])
            if called != set(graphs):  # it knows the network's layers, and goes by these
                raise HpoError("its evaluate does not go by its graphs")
            column = self._column(net, value)
        return Quality(value, column, bool(model.classifies and column is not None))

    def _column(self, net: nn.Module, value: float) -> Array | None:
        """What the metric is the mean of."""
        import torch

        rows = self.model.per_row(net, _batches(self.split), self.deployed.artifact.params)
        found: Any = rows.get(self.metric)
        if found is None and self.model.classifies:
            hits = [net(batch[0]).argmax(dim=1) == batch[1] for batch in _batches(self.split)]
            found = torch.cat(hits)
        if found is None or isinstance(found, list):
            return None
        column: Array = found.double().numpy()
        return column if abs(column.mean() - value) <= 1e-4 * max(1.0, abs(value)) else None

    @property
    def _n_rows(self) -> int:
        return min(len(self.split[0]), BATCH_SIZE)

    def _run(self, graphs: Graphs) -> dict[str, list[Tensor]]:
        """Outputs of each graph, [N, values]."""
        import torch

        found = {}
        with torch.no_grad():
            for name, call in _calls(self.deployed, graphs, set()).items():
                inputs = self.deployed.rows(
                    self.deployed.deployment.graphs[name], self._n_rows, self.split
                )
                outputs = call(*inputs)
                outputs = outputs if isinstance(outputs, tuple) else (outputs,)
                found[name] = [x.double().reshape(len(x), -1) for x in outputs]
        return found

    def _far(self, graphs: Graphs) -> Quality:
        assert self._outputs is not None
        squares: list[Tensor] = []
        for name, outputs in self._run(graphs).items():
            for found, was in zip(outputs, self._outputs[name], strict=True):
                squares.append(((found - was) ** 2).mean(dim=1) / was.var().clamp_min(1e-12))
        column: Array = sum(s.sqrt() for s in squares).numpy() / len(squares)  # type: ignore[union-attr]
        return Quality(float(column.mean()), column)


def _batches(split: Split) -> Iterator[Split]:
    for start in range(0, len(split[0]), BATCH_SIZE):
        yield tuple(column[start : start + BATCH_SIZE] for column in split)


def _calls(deployed: Deployed, graphs: Graphs, called: set[str]) -> dict[str, TensorCall]:
    """The graphs as modules are called.

    Args:
        called: gets the names of those that were.
    """
    given = deployed.deployment.graphs
    return {
        name: _single(onnx_call(content, given[name]), functools.partial(called.add, name))
        for name, content in graphs.items()
    }


def _single(
    call: Callable[[tuple[Any, ...]], Sequence[Any]], note: Callable[[], None]
) -> TensorCall:
    """As a module is called: tensors one by one, and a single result by itself."""

    def run(*inputs: Any) -> Any:
        note()
        found = tuple(call(inputs))
        return found[0] if len(found) == 1 else found

    return run
