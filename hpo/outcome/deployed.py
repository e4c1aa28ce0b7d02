"""A saved model made ready for use: its network, its deployment, rows of its data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo.deployment import Deployment, Graph
from hpo.errors import SpecError
from hpo.model import Data, Model, Split
from hpo.outcome.artifact import Artifact, load, model_of, read
from hpo.registry import load_data
from hpo.training.product import WEIGHTS
from hpo.training.session import SPLIT_SEED

if TYPE_CHECKING:
    from torch import Tensor

    from hpo.inference.predictor import Predictor
    from hpo.inference.runtime import Array

ModelLike = str | type[Model] | Model | None
N_ROWS = 32
"""Rows that an export is checked with."""


@dataclass(frozen=True)
class Deployed:
    """A saved model in use.

    Attributes:
        path: its folder.
        info: of its data, with `shape` and `dtype` of a row.
        deployment: its task and graphs, by torch.
        data: its data set; None if it could not be loaded.
        no_data: why not.
    """

    path: Path
    artifact: Artifact
    info: Mapping[str, Any] = field(repr=False)
    deployment: Deployment
    data: Data | None = field(repr=False)
    no_data: str = ""

    @classmethod
    def open(cls, path: str | Path, model: ModelLike = None) -> Deployed:
        """Loads the network and asks its model how it is used.

        Args:
            path: the folder that `hpo retrain` printed.
            model: your own model's class or reference; models of the zoo need none.
        Raises:
            SpecError: no saved model there, its own code is needed, or it cannot say how it is
                used.
        """
        artifact = read(path)
        network = load(path, model)
        found = model_of(artifact, model, path)
        data, reason = _data_of(found, artifact)
        info = {**_row_facts(data), **artifact.info}
        try:
            deployment = found.deployment(network, artifact.params, info)
        except KeyError as error:
            raise SpecError(
                f"model: {artifact.model!r}: its data says nothing of {error} "
                f"({reason or 'it was loaded'}): define deployment(net, params, info)"
            ) from None
        return cls(Path(path).expanduser().resolve(), artifact, info, deployment, data, reason)

    @property
    def weights(self) -> Path:
        return self.path / WEIGHTS

    def rows(self, graph: Graph, n: int = N_ROWS, split: Split | None = None) -> tuple[Tensor, ...]:
        """Inputs of a graph: of n rows, spread over all; else drawn like the example.

        Args:
            split: whose rows; None: the data's training rows.
        """
        import torch

        if split is None and self.data is not None:
            split = self.data.train
        if split is None or graph.rows is None:
            return drawn_like(graph.example, n)
        n_rows = len(split[0])
        chosen = torch.linspace(0, n_rows - 1, min(n, n_rows)).long()
        split = tuple(column[chosen] for column in split)
        with torch.no_grad():
            return tuple(graph.rows(split))

    def predictor(self) -> Predictor:
        """The same answers as the exported bundle's, computed by torch."""
        import tempfile

        from hpo.inference.predictor import Predictor

        deployment = self.deployment
        # Readers take files by their path, as a bundle has them.
        with tempfile.TemporaryDirectory() as folder:
            files = {name: Path(folder) / name for name in deployment.files}
            for name, content in deployment.files.items():
                files[name].write_bytes(content)
            run = TorchRuntime(deployment.graphs)
            info = {"model": self.artifact.model, "kind": "torch"}
            return Predictor(deployment.task, deployment.settings, files, run, info)


class TorchRuntime:
    """Runs a deployment's graphs by torch: what the exported ones are compared with."""

    def __init__(self, graphs: Mapping[str, Graph]) -> None:
        self.graphs = graphs

    def run(self, graph: str, *arrays: Array) -> list[Array]:
        import torch

        inputs = [torch.from_numpy(array) for array in arrays]
        with torch.no_grad():
            found = self.graphs[graph].module(*inputs)
        outputs: Sequence[Tensor] = found if isinstance(found, tuple | list) else (found,)
        return [output.numpy() for output in outputs]


def drawn_like(example: tuple[Tensor, ...], n: int) -> tuple[Tensor, ...]:
    """n random rows of the same shapes, kinds and ranges."""
    import torch

    generator = torch.Generator().manual_seed(0)
    drawn = []
    for tensor in example:
        shape = (n, *tensor.shape[1:])
        if tensor.dtype.is_floating_point:
            low, high = float(tensor.min()), float(tensor.max())
            row = low + (high - low) * torch.rand(shape, generator=generator)
        else:
            low, high = int(tensor.min()), int(tensor.max()) + 1
            row = torch.randint(low, high, shape, generator=generator)
        drawn.append(row.to(tensor.dtype))
    return tuple(drawn)


def _data_of(model: Model, artifact: Artifact) -> tuple[Data | None, str]:
    """The model's data set, or None and the reason."""
    try:
        data = load_data(model, artifact.data, SPLIT_SEED)
    except Exception as error:  # of files that moved, packages, the user's own code
        return None, f"data {artifact.data!r}: {error}".partition("\n")[0]
    return data, "" if data is not None else f"data {artifact.data!r}: there is none"


def _row_facts(data: Data | None) -> dict[str, Any]:
    """Shape and kind of a row of the first column."""
    if data is None or not data.train:
        return {}
    column = data.train[0]
    return {"shape": list(column.shape[1:]), "dtype": str(column.dtype).removeprefix("torch.")}
