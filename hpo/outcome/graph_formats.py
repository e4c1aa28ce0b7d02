"""A graph of a deployed model as a file, and back: ONNX, TorchScript, PT2."""

from __future__ import annotations

import contextlib
import inspect
import io
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from hpo.deployment import Graph
from hpo.errors import HpoError
from hpo.extras import need

if TYPE_CHECKING:
    from torch import Tensor

BATCH = "batch"
"""Name of the first dimension."""
OPSET = 20
_LOWEST_OPSET, _HIGHEST_OPSET = 18, 23
OPSETS = range(_LOWEST_OPSET, _HIGHEST_OPSET + 1)
_LARGEST = 2**31 - 1
"""Bytes of a protobuf."""

Call = Callable[[tuple["Tensor", ...]], tuple["Tensor", ...]]
"""A graph that was read again."""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings and notes of torch's exporters, which speak of torch's own code."""
    loggers = [logging.getLogger(name) for name in ("torch", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def dynamic_of(graph: Graph) -> dict[str, dict[int, str]]:
    """Names of the dynamic dimensions of each input."""
    return {name: {0: BATCH, **graph.dynamic.get(name, {})} for name in graph.inputs}


def _dimensions(graph: Graph) -> tuple[Any, ...]:
    from torch.export import Dim

    names = {name for dims in dynamic_of(graph).values() for name in dims.values()}
    made = {name: Dim(name, max=graph.largest.get(name)) for name in names}
    shapes = tuple({k: made[name] for k, name in d.items()} for d in dynamic_of(graph).values())
    taken = inspect.signature(graph.module.forward).parameters.values()
    # Those of `*inputs` are one tuple to torch.
    return (shapes,) if any(p.kind is p.VAR_POSITIONAL for p in taken) else shapes


def to_onnx(graph: Graph, opset: int, metadata: Mapping[str, str]) -> bytes:
    """The graph as an ONNX file.

    Args:
        metadata: texts that are written into it.
    Raises:
        HpoError: torch cannot export it, or it is beyond what one file holds.
    """
    import torch

    for package in ("onnx", "onnxscript"):
        need(package, "format: onnx", "export")
    with quiet(), _explained("onnx"):
        program = torch.onnx.export(
            graph.module,
            graph.example,
            dynamo=True,
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            dynamic_shapes=_dimensions(graph),
            opset_version=opset,
            verbose=False,
        )
    assert program is not None
    proto: Any = program.model_proto
    written = next(o.version for o in proto.opset_import if o.domain in ("", "ai.onnx"))
    if written != opset:
        raise HpoError(
            f"opset: torch could not write {opset}, only {written}: give --opset {written}"
        )
    for key, value in metadata.items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, value
    proto.producer_name = "hpo"
    if proto.ByteSize() > _LARGEST:
        raise HpoError("format: the graph is beyond the 2 GB of an ONNX file: export as pt2")
    content: bytes = proto.SerializeToString()
    return content


def onnx_call(content: bytes, graph: Graph) -> Call:
    """An ONNX file, run by onnxruntime."""
    import onnxruntime
    import torch

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def call(inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        feeds = {n: t.numpy() for n, t in zip(graph.inputs, inputs, strict=True)}
        return tuple(map(torch.from_numpy, session.run(list(graph.outputs), feeds)))

    return call


def to_torchscript(graph: Graph) -> bytes:
    """The graph as TorchScript, traced with its example."""
    import torch

    with quiet(), _explained("torchscript"), torch.no_grad():
        traced = torch.jit.trace(graph.module, graph.example, check_trace=False)  # type: ignore[no-untyped-call]
        file = io.BytesIO()
        torch.jit.save(traced, file)
    return file.getvalue()


def torchscript_call(content: bytes, graph: Graph) -> Call:
    """A TorchScript file, run by torch."""
    import torch

    with quiet():
        module = torch.jit.load(io.BytesIO(content))  # type: ignore[no-untyped-call]
    return lambda inputs: as_tuple(module(*inputs))


def to_pt2(graph: Graph) -> bytes:
    """The graph as torch's own exported program."""
    import torch

    with quiet(), _explained("pt2"), torch.no_grad():
        program = torch.export.export(
            graph.module, graph.example, dynamic_shapes=_dimensions(graph), strict=False
        )
        file = io.BytesIO()
        torch.export.save(program, file)
    return file.getvalue()


def pt2_call(content: bytes, graph: Graph) -> Call:
    """A PT2 file, run by torch."""
    import torch

    with quiet():
        module = torch.export.load(io.BytesIO(content)).module()
    return lambda inputs: as_tuple(module(*inputs))


def as_tuple(found: Any) -> tuple[Tensor, ...]:
    """A network's result, one tensor or several, as several."""
    return tuple(found) if isinstance(found, tuple | list) else (found,)


@contextlib.contextmanager
def _explained(form: str) -> Iterator[None]:
    """An exporter's error as one line."""
    try:
        yield
    except Exception as error:  # torch's exporters raise of many kinds
        # Behind torch's advice to its own developers is what went wrong.
        said = re.sub(r"\x1b\[\d+m", "", str(error)).rpartition("## Exception summary")[2]
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        reason = f"{type(error).__name__}: {lines[0] if lines else ''}"[:300]
        raise HpoError(
            f"format: torch cannot write this network as {form} ({reason}): define "
            "deployment(net, params, info) with a form of it that can be exported, or take "
            "--format safetensors"
        ) from error
