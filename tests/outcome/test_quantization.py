"""Graphs of fewer bits: what is stored, what it computes, how large it is."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from hpo.deployment import Graph
from hpo.errors import HpoError
from hpo.inference.runtime import session_of
from hpo.outcome.graph_formats import onnx_call, to_onnx
from hpo.outcome.quantization import METHODS, OPSET, integers, quantize, store_weights, weight_bytes

N = 64


def graph() -> Graph:
    """A convolution, a transposed one and two linear layers, of random weights."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.ConvTranspose2d(16, 8, 3, 2, 1),
        nn.Flatten(),
        nn.Linear(8 * 15 * 15, 32),
        nn.ReLU(),
        nn.Linear(32, 10),
    ).eval()
    return Graph(net, ("images",), ("logits",), (torch.rand(3, 1, 8, 8),))


@pytest.fixture(scope="module")
def written() -> bytes:
    return to_onnx(graph(), OPSET, {})


@pytest.mark.parametrize(("method", "most"), zip(METHODS, (0.1, 0.04, 0.04, 0.15), strict=True))
def test_every_method_does_nearly_the_same_with_a_fraction_of_the_bytes(
    written: bytes, method: str, most: float
) -> None:
    given = graph()
    rows = torch.rand(N, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    made = quantize(written, method, [{"images": rows[:32].numpy()}])
    (expected,), (found,) = (onnx_call(content, given)((rows,)) for content in (written, made))
    assert (found - expected).abs().max() < most * expected.abs().max()
    assert not torch.equal(found, expected)
    assert len(made) < (0.2 if method == "weights4" else 0.33) * len(written)
    assert weight_bytes(made) < len(made)
    onnx.checker.check_model(onnx.load_from_string(made))


def test_stored_weights_may_be_made_floats_when_a_graph_is_opened(written: bytes) -> None:
    made = quantize(written, "weights", [])
    rows = {"images": np.random.default_rng(0).random((4, 1, 8, 8), np.float32)}
    each_time, once = (session_of(made, 1, unpack) for unpack in (False, True))
    (expected,), (found,) = each_time.run(None, rows), once.run(None, rows)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_static_quantization_computes_convolutions_in_integers(written: bytes) -> None:
    made = quantize(written, "int8-static", [{"images": np.zeros((4, 1, 8, 8), np.float32)}])
    kinds = {node.op_type for node in onnx.load_from_string(made).graph.node}
    assert {"QuantizeLinear", "DequantizeLinear", "Conv"} <= kinds and "ConvInteger" not in kinds


@pytest.mark.parametrize("bits", [4, 8])
def test_integers_are_within_half_a_step_of_the_values_by_channel(bits: int) -> None:
    values = np.random.default_rng(0).normal(size=(5, 7, 3)).astype(np.float32)
    values[2] *= 1000
    values[4] = 0
    whole, scales = integers(values, 0, bits)
    assert np.abs(whole).max() == 2 ** (bits - 1) - 1
    step = scales[:, None, None]
    assert (np.abs(whole * step - values) <= step / 2 + 1e-6).all()


@pytest.mark.parametrize("bits", [4, 8])
def test_stored_weights_are_what_the_graph_computes_with(bits: int) -> None:
    weight = np.random.default_rng(0).normal(size=(33, 21)).astype(np.float32)  # an odd number
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])],
            "g",
            [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 33])],
            [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 21])],
            [numpy_helper.from_array(weight, "w")],
        ),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=10,
    )
    assert store_weights(model, bits) == 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (found,) = session.run(None, {"x": np.eye(33, dtype=np.float32)})
    whole, scales = integers(weight, 1, bits)
    np.testing.assert_allclose(found, whole * scales, atol=1e-6)


def test_what_the_quantizer_cannot_do_is_one_line(written: bytes) -> None:
    with pytest.raises(HpoError, match=r"^quantize: int8-static failed \(.*\): leave it out") as at:
        quantize(written, "int8-static", [{"another": np.zeros((1, 1, 8, 8), np.float32)}])
    assert "\n" not in str(at.value)
