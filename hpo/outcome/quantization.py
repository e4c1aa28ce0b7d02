"""Graphs in ONNX with fewer bits a weight, by onnxruntime's quantizer.

Whatever the way, weights that it leaves as they are (of recurrent layers, embeddings, transposed
convolutions) are stored as integers by channel and made floats again: they shrink the file and
speed nothing up.
Source: Jacob et al. 2018 (integer arithmetic, scales and zero points).
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpo.errors import HpoError
from hpo.outcome.graph_formats import quiet

METHODS = ("int8-static", "int8-dynamic", "weights", "weights4")
OPSET = 21
"""The first that knows four bits."""
BITS = {"weights4": 4}
"""Of stored weights; else 8."""
Feeds = Mapping[str, NDArray[Any]]

_LEAST = 256
"""Elements from which storing a weight as integers is worth its scales and nodes."""
_STATIC = ["Conv", "Gemm", "MatMul", "MaxPool", "Relu"]
"""What onnxruntime computes in integers when ranges are known; not softmax and the like, which
lose by it."""
_DYNAMIC = ["MatMul", "Gemm", "LSTM"]
"""Convolutions would become ConvInteger, which is slower than floats."""
_WEIGHTS: dict[str, dict[int, int | None]] = {
    "Conv": {1: 0},
    "ConvTranspose": {1: 1},
    "MatMul": {0: 0, 1: -1},
    "Gemm": {1: 1},
    "Gather": {0: None},
    "GatherND": {0: None},
    "GRU": {1: 1, 2: 1},
    "LSTM": {1: 1, 2: 1},
    "RNN": {1: 1, 2: 1},
}
"""Inputs that are weights, and the axis of their channels, by operator; None: a table, by rows."""
_NARROW = 64
"""Columns of a table below which its columns have a scale each, not its rows: it is four bytes."""


def quantize(content: bytes, method: str, rows: Sequence[Feeds]) -> bytes:
    """A graph with fewer bits.

    Args:
        content: in ONNX, of opset OPSET.
        method: of METHODS.
        rows: inputs that show the ranges of activations, a batch each; only `int8-static` looks.
    Raises:
        HpoError: onnxruntime's quantizer cannot do it.
    """
    try:
        with quiet(), _quiet_root(), tempfile.TemporaryDirectory() as name:
            return lean(_quantized(content, method, rows, Path(name)))
    except Exception as error:  # the quantizer raises of many kinds
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
        raise HpoError(
            f"quantize: {method} failed ({reason}): leave it out, or take weights"
        ) from error


def _quantized(content: bytes, method: str, rows: Sequence[Feeds], folder: Path) -> Any:
    import onnx
    from onnxruntime import quantization as ort
    from onnxruntime.quantization.shape_inference import quant_pre_process

    given, ready, made = (folder / f"{name}.onnx" for name in ("given", "ready", "made"))
    given.write_bytes(content)
    # Norms are folded into the layers before them, and constants computed.
    quant_pre_process(given, ready, skip_symbolic_shape=True)
    if method == "int8-static":
        ort.quantize_static(
            ready,
            made,
            _Reader(rows),
            op_types_to_quantize=_STATIC,
            per_channel=True,
            # As onnxruntime would make them on x86; doing so, 1.32 breaks graphs of opset 21.
            activation_type=ort.QuantType.QUInt8,
        )
    elif method == "int8-dynamic":
        ort.quantize_dynamic(ready, made, op_types_to_quantize=_DYNAMIC, per_channel=True)
    else:
        made = ready
    graph = onnx.load(made)
    store_weights(graph, BITS.get(method, 8))
    return graph


class _Reader:
    """What the quantizer calibrates with."""

    def __init__(self, rows: Sequence[Feeds]) -> None:
        self._rows = iter(rows)

    def get_next(self) -> Feeds | None:
        return next(self._rows, None)


class _quiet_root:
    """Without the quantizer's advice, which it gives by the root logger."""

    def __enter__(self) -> None:
        self._was = logging.root.manager.disable
        logging.disable(logging.WARNING)

    def __exit__(self, *_: object) -> None:
        logging.disable(self._was)


def store_weights(model: Any, bits: int) -> int:
    """Float weights become integers with a scale for each channel, and DequantizeLinear.

    Args:
        model: an ONNX model of opset OPSET; changed in place.
        bits: 8 or 4.
    Returns:
        How many weights.
    """
    from onnx import TensorProto, helper, numpy_helper

    axes = _axes_of_weights(model.graph)
    nodes = []
    for tensor in list(model.graph.initializer):
        if tensor.name not in axes or tensor.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        if values.ndim < 2 or values.size < _LEAST:
            continue
        channels = axes[tensor.name]
        if channels is None:
            channels = 0 if values.shape[-1] >= _NARROW else -1
        axis = channels % values.ndim
        whole, scales = integers(values, axis, bits)
        stored, scale = f"{tensor.name}_int", f"{tensor.name}_by"
        kind = TensorProto.INT8 if bits == 8 else TensorProto.INT4
        content = whole.tobytes() if bits == 8 else _packed(whole)
        model.graph.initializer.remove(tensor)
        model.graph.initializer.append(
            helper.make_tensor(stored, kind, values.shape, content, raw=True)
        )
        model.graph.initializer.append(numpy_helper.from_array(scales, scale))
        nodes.append(
            helper.make_node("DequantizeLinear", [stored, scale], [tensor.name], axis=axis)
        )
    for node in reversed(nodes):
        model.graph.node.insert(0, node)
    return len(nodes)


def integers(
    values: NDArray[np.float32], axis: int, bits: int
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Values as integers of -(2^(bits-1) - 1) and up, and the scale of each channel.

    Args:
        values: of any shape.
        axis: of the channels.
    """
    largest = 2 ** (bits - 1) - 1
    others = tuple(k for k in range(values.ndim) if k != axis)
    reach = np.abs(values).max(axis=others)
    scales = np.where(reach > 0, reach / largest, 1.0).astype(np.float32)
    shape = [-1 if k == axis else 1 for k in range(values.ndim)]
    whole = np.clip(np.round(values / scales.reshape(shape)), -largest, largest)
    return whole.astype(np.int8), scales


def _packed(whole: NDArray[np.int8]) -> bytes:
    """Two four-bit numbers a byte, the first one in the low half."""
    flat = whole.ravel().astype(np.uint8) & 0x0F
    flat = np.append(flat, np.zeros(len(flat) % 2, np.uint8))
    return bytes((flat[::2] | flat[1::2] << 4).astype(np.uint8))


def _axes_of_weights(graph: Any) -> dict[str, int | None]:
    """The channels' axis of everything that only weighs, by name."""
    found: dict[str, int | None] = {}
    others: set[str] = set()
    for node in _nodes(graph):
        weights = _WEIGHTS.get(node.op_type, {})
        for place, name in enumerate(node.input):
            if place not in weights:
                others.add(name)
                continue
            transposed = any(a.name == "transB" and a.i for a in node.attribute)
            found[name] = 0 if node.op_type == "Gemm" and transposed else weights[place]
    return {name: axis for name, axis in found.items() if name not in others}


def _nodes(graph: Any) -> Iterator[Any]:
    """All nodes, those of graphs within nodes too."""
    for node in graph.node:
        yield node
        for inner in _inner(node):
            yield from _nodes(inner)


def _inner(node: Any) -> list[Any]:
    return [a.g for a in node.attribute if a.HasField("g")]


def lean(model: Any) -> bytes:
    """The same graph without notes on where its nodes come from, with short names within.

    Args:
        model: an ONNX model; changed in place.
    """
    del model.graph.value_info[:]
    kept = {value.name for value in (*model.graph.input, *model.graph.output)} | {""}
    short: dict[str, str] = {}

    def name(old: str) -> str:
        return old if old in kept else short.setdefault(old, f"v{len(short)}")

    _rename(model.graph, name, outermost=True)
    content: bytes = model.SerializeToString()
    return content


def _rename(graph: Any, name: Callable[[str], str], outermost: bool = False) -> None:
    for tensor in graph.initializer:
        tensor.name, tensor.doc_string = name(tensor.name), ""
        del tensor.metadata_props[:]
    if not outermost:
        for value in (*graph.input, *graph.output, *graph.value_info):
            value.name = name(value.name)
    for node in graph.node:
        node.name = node.doc_string = ""
        del node.metadata_props[:]
        node.input[:] = list(map(name, node.input))
        node.output[:] = list(map(name, node.output))
        for inner in _inner(node):
            _rename(inner, name)


def weight_bytes(content: bytes) -> int:
    """What the stored numbers of a graph take, without names and nodes."""
    import onnx

    model = onnx.load_from_string(content)
    graphs = [model.graph, *(g for node in _nodes(model.graph) for g in _inner(node))]
    return sum(len(t.raw_data) or t.ByteSize() for g in graphs for t in g.initializer)
