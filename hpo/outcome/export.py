"""Writes a saved model as a bundle (`hpo.inference.bundle`), checked against torch.

ARTIFACT/export/FORMAT/
  bundle.json
  NAME.onnx, NAME.pt, NAME.pt2, or weights.safetensors and model.json
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo.deployment import Graph
from hpo.errors import HpoError, SpecError
from hpo.extras import need
from hpo.inference import bundle
from hpo.outcome.artifact import FACTS, current_versions, load, model_of
from hpo.outcome.deployed import Deployed, ModelLike
from hpo.outcome.graph_formats import (
    OPSET,
    OPSETS,
    Call,
    as_tuple,
    dynamic_of,
    onnx_call,
    pt2_call,
    to_onnx,
    to_pt2,
    to_torchscript,
    torchscript_call,
)
from hpo.training.product import WEIGHTS

if TYPE_CHECKING:
    from torch import Tensor

TOLERANCE = 1e-4
_ENDINGS = {"onnx": ".onnx", "torchscript": ".pt", "pt2": ".pt2"}
_EXTRA_VERSIONS = ("onnx", "onnxruntime", "onnxscript")


@dataclass(frozen=True)
class Check:
    """How far a graph that was read again is from torch.

    Attributes:
        difference: the largest absolute one over all outputs.
        real: whether the rows were the model's data's.
    """

    graph: str
    difference: float
    n_rows: int
    real: bool


@dataclass(frozen=True)
class Exported:
    """What `export` came to.

    Attributes:
        no_data: why the rows were not of the model's data; '' if they were.
    """

    path: Path
    task: str
    checks: list[Check]
    n_bytes: int
    no_data: str


def export(
    path: str | Path,
    *,
    kind: str = "onnx",
    to: str | Path | None = None,
    opset: int = OPSET,
    tolerance: float = TOLERANCE,
    model: ModelLike = None,
    progress: Callable[[str], None] = lambda phase: None,
) -> Exported:
    """Writes a saved model as a bundle, if each graph agrees with torch.

    Args:
        path: the folder that `hpo retrain` printed.
        kind: onnx, torchscript, pt2 or safetensors.
        to: folder to write; default PATH/export/KIND.
        opset: of ONNX.
        tolerance: largest absolute difference that is allowed.
        model: your own model's class or reference; models of the zoo need none.
        progress: is told what is being done.
    Raises:
        SpecError: no saved model there, a wrong setting, a missing package.
        HpoError: torch cannot export it, or it does not agree; nothing is written then.
    """
    _check_settings(kind, opset, tolerance)
    progress("loading")
    deployed = Deployed.open(path, model)
    target = deployed.path / "export" / kind if to is None else Path(to).expanduser().absolute()
    bundle.check_target(target)
    facts = facts_of(deployed, kind, opset)
    files: dict[str, bytes] = dict(deployed.deployment.files)
    checks = []
    for name, graph in deployed.deployment.graphs.items():
        progress(f"exporting {name}")
        content, call, file = _written(deployed, kind, name, opset, model, facts)
        files[file] = content
        facts["graphs"][name] = {
            "file": file,
            "inputs": list(graph.inputs),
            "outputs": list(graph.outputs),
            "dynamic": dynamic_of(graph),
        }
        progress(f"checking {name}")
        checks.append(_checked(deployed, name, graph, call, tolerance))
    if kind == "safetensors":
        files[FACTS] = (deployed.path / FACTS).read_bytes()
    facts["checked"] = [asdict(check) for check in checks]
    written = bundle.write(target, facts, files)
    n_bytes = sum(map(len, files.values()))
    return Exported(written, deployed.deployment.task, checks, n_bytes, deployed.no_data)


def _check_settings(kind: str, opset: int, tolerance: float) -> None:
    if kind not in bundle.KINDS:
        raise SpecError(f"format: {kind!r} is unknown: choose from {', '.join(bundle.KINDS)}")
    if opset not in OPSETS:
        raise SpecError(f"opset: {opset}: must be {OPSETS[0]} to {OPSETS[-1]}")
    if not 0 < tolerance < 1:
        raise SpecError(f"tolerance: {tolerance}: must be a number between 0 and 1")
    if kind == "onnx":
        for package in ("onnx", "onnxruntime", "onnxscript"):
            need(package, "format: onnx", "export")


def facts_of(deployed: Deployed, kind: str, opset: int) -> dict[str, Any]:
    """What `bundle.json` holds, without the graphs."""
    artifact = deployed.artifact
    return {
        "kind": kind,
        "task": deployed.deployment.task,
        "settings": dict(deployed.deployment.settings),
        "graphs": {},
        "model": artifact.model,
        "params": artifact.params,
        "study": str(artifact.study.get("name", "")),
        "data": artifact.data,
        "metric": artifact.metric,
        "test": _finite(artifact.test),
        "trained_with": artifact.versions,
        "versions": current_versions(*_EXTRA_VERSIONS),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "artifact": bundle.sha256(deployed.weights),
        **({"opset": opset} if kind == "onnx" else {}),
    }


def _finite(metrics: Mapping[str, float]) -> dict[str, float | None]:
    import math

    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}


def _written(
    deployed: Deployed, kind: str, name: str, opset: int, model: ModelLike, facts: Mapping[str, Any]
) -> tuple[bytes, Call, str]:
    """A graph's file, the graph read again from it, and the file's name."""
    graph = deployed.deployment.graphs[name]
    if kind == "onnx":
        content = to_onnx(graph, opset, _metadata(name, facts))
        return content, onnx_call(content, graph), f"{name}.onnx"
    if kind == "torchscript":
        content = to_torchscript(graph)
        return content, torchscript_call(content, graph), f"{name}.pt"
    if kind == "pt2":
        content = to_pt2(graph)
        return content, pt2_call(content, graph), f"{name}.pt2"
    content = deployed.weights.read_bytes()
    network = load(deployed.path, model)
    found = model_of(deployed.artifact, model, deployed.path)
    info = deployed.info
    again = found.deployment(network, deployed.artifact.params, info).graphs[name].module
    return content, lambda inputs: as_tuple(again(*inputs)), WEIGHTS


def _metadata(name: str, facts: Mapping[str, Any]) -> dict[str, str]:
    """What an ONNX file says of itself."""
    keys = ("task", "model", "study", "data", "metric", "created")
    texts = {f"hpo.{key}": str(facts[key]) for key in keys}
    settings = {"hpo.graph": name, **texts}
    for key in ("settings", "params", "test", "versions"):
        settings[f"hpo.{key}"] = json.dumps(facts[key], ensure_ascii=False)
    return settings


def _checked(deployed: Deployed, name: str, graph: Graph, call: Call, tolerance: float) -> Check:
    """Compares a graph with torch on many rows, and on one alone."""
    import torch

    rows = deployed.rows(graph)
    largest = 0.0
    for inputs in (rows, tuple(column[:1] for column in rows)):
        try:
            with torch.no_grad():
                expected, found = as_tuple(graph.module(*inputs)), call(inputs)
        except Exception as error:  # onnxruntime's own classes derive from Exception alone
            reason = " ".join(str(error).split())[:300]
            raise HpoError(
                f"check: {name} cannot be run with {len(inputs[0])} rows: {reason}"
            ) from error
        largest = max(largest, *map(difference, expected, found))
    if not largest <= tolerance:
        raise HpoError(
            f"check: {name} differs from torch by {largest:.3g} (allowed: {tolerance:g}): nothing "
            "was written; --tolerance allows more"
        )
    real = deployed.data is not None and graph.rows is not None
    return Check(name, largest, len(rows[0]), real)


def difference(a: Tensor, b: Tensor) -> float:
    """The largest absolute difference; infinite if the shapes differ or one is not finite."""
    if a.shape != b.shape:
        return float("inf")
    difference = (a.double() - b.double()).abs()
    same = (a == b) | (a.isnan() & b.isnan())
    return float(difference.masked_fill(same, 0.0).nan_to_num(float("inf")).max())


def has_bundle(path: str | Path) -> bool:
    """Whether `bundle_of` finds a bundle, and need not make one."""
    return _made_of(Path(path).expanduser()) is not None


def _made_of(folder: Path) -> Path | None:
    """The folder itself if it is a bundle, or an artifact's bundle of the same weights."""
    if bundle.is_bundle(folder):
        return folder.resolve()
    made = folder / "export" / "onnx"
    if not bundle.is_bundle(made) or not (folder / WEIGHTS).is_file():
        return None
    facts = bundle.Bundle.open(made).facts
    return made.resolve() if facts.get("artifact") == bundle.sha256(folder / WEIGHTS) else None


def bundle_of(path: str | Path, model: ModelLike = None) -> Path:
    """The bundle in ONNX behind a path: itself, or an artifact's, exported now if need be.

    Args:
        path: a bundle, or the folder that `hpo retrain` printed.
        model: your own model's class or reference, for an artifact of it.
    Raises:
        SpecError: neither is there.
        HpoError: it cannot be exported.
    """
    folder = Path(path).expanduser()
    made = _made_of(folder)
    return made if made is not None else export(folder, model=model).path
