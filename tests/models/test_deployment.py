"""Every form that a model's space can take is exported as it was trained: random weights, ONNX.

The default configurations are in `tests/test_chain.py`.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hpo_models.cross_lingual import Latin
from torch import Tensor, nn

from hpo.deployment import Deployment, Graph
from hpo.model import Data
from hpo.outcome.export import TOLERANCE, difference
from hpo.outcome.graph_formats import (
    OPSET,
    Call,
    as_tuple,
    onnx_call,
    pt2_call,
    to_onnx,
    to_pt2,
    to_torchscript,
    torchscript_call,
)
from tests.artifacts import data_of, few, model_of

FORMS: list[tuple[str, dict[str, Any]]] = [
    ("cnn", {"depth": 4, "norm": "group", "activation": "gelu", "kernel": 7}),
    ("cnn", {"depth": 3, "norm": "none", "activation": "silu", "kernel": 3}),
    ("rnn", {"cell": "lstm", "pooling": "mean", "bidirectional": False, "layers": 2, "longest": 0}),
    ("rnn", {"cell": "rnn", "pooling": "last", "layers": 2, "longest": 5}),
    ("rnn", {"cell": "lstm", "pooling": "last", "longest": 3}),
    ("vae", {"depth": 3, "kernel": 5, "activation": "silu", "latent": 5}),
    ("gan", {"norm": "spectral", "loss": "hinge", "latent": 9}),
    ("ssl-image", {"pooled": 4, "n_blocks": 0}),
    ("ssl-text", {"encoder": "gru", "embedding": 16, "layers": 2, "pooling": "mean"}),
    ("ssl-text", {"encoder": "lstm", "embedding": 16, "pooling": "max", "method": "masked"}),
    ("cross-lingual", {"letters": "own", "longest": 6}),
    ("cross-lingual", {"encoder": "gru", "embedding": 32}),
    ("captioner", {"decoder": "transformer", "layers": 2, "image_blocks": 0}),
    ("captioner", {"layers": 2, "image_blocks": 2}),
    ("retrieval", {"text": "gru", "ngram": 4, "image_blocks": 0}),
    ("retrieval", {"ngram": 0}),
    ("finetune", {"adapt": "lora", "lora_rank": 4, "pooling": "first"}),
    ("finetune", {"adapt": "frozen", "pooling": "max"}),
    ("finetune-image", {"backbone": "resnet18", "side": 64}),
    ("finetune-image", {"backbone": "efficientnet_b0", "side": 64}),
]
_EXTRA = {"layers": 1, "dropout": 0.1, "projected": 32}
"""Of parameters that a choice switches on."""


def deployment_of(name: str, form: dict[str, Any]) -> tuple[Deployment, Data]:
    """A network of random weights and statistics, and rows of its data."""
    model, data = model_of(name), few(data_of(name), 20)
    params = {**_EXTRA, **model.space.default(), **form}
    torch.manual_seed(0)
    net = model.build(params, Data(data.name, (), (), None, data.info))
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2.0)
    for parameter in net.parameters():
        if not parameter.abs().max():  # what starts at zero would hide what is lost
            nn.init.normal_(parameter, std=0.1)
    return model.deployment(net.eval(), params, data.info), data


def batches(graph: Graph, data: Data) -> list[tuple[Tensor, ...]]:
    """Real rows; one alone; and of texts also none, the longest there may be, and one letter."""
    rows = graph.rows(data.train) if graph.rows is not None else graph.example
    found = [rows, tuple(column[:1] for column in rows)]
    if graph.inputs == ("codes",) and not rows[0].dtype.is_floating_point:
        codes = rows[0]
        full = torch.randint(1, int(codes.max()) + 1, (2, codes.shape[1]))
        empty = torch.zeros(2, 1, dtype=torch.int64)
        mixed = torch.cat([full, torch.zeros_like(full)])
        found += [(full,), (empty,), (mixed,), (full[:, :1],)]
    if "n_words" in str(graph.dynamic) and graph.inputs[0] == "words":
        found.append((rows[0][:, :1], *rows[1:]))
    return found


def worst(graph: Graph, call: Call, data: Data) -> float:
    with torch.no_grad():
        return max(
            difference(a, b)
            for inputs in batches(graph, data)
            for a, b in zip(as_tuple(graph.module(*inputs)), call(inputs), strict=True)
        )


@pytest.mark.parametrize(("name", "form"), FORMS, ids=lambda value: str(value))
def test_any_form_is_the_same_in_onnx(name: str, form: dict[str, Any]) -> None:
    deployment, data = deployment_of(name, form)
    for graph in deployment.graphs.values():
        call = onnx_call(to_onnx(graph, OPSET, {}), graph)
        assert worst(graph, call, data) <= TOLERANCE


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("rnn", {"cell": "lstm", "pooling": "last", "layers": 2}),
        ("rnn", {"cell": "rnn", "pooling": "max", "bidirectional": False}),
        ("cross-lingual", {"encoder": "gru", "embedding": 32}),
        ("captioner", {}),
        ("retrieval", {"text": "gru"}),
        ("vae", {}),
    ],
    ids=lambda value: str(value),
)
def test_forms_without_a_fixed_length_are_the_same_in_torch_s_own_formats(
    name: str, form: dict[str, Any]
) -> None:
    deployment, data = deployment_of(name, form)
    for graph in deployment.graphs.values():
        assert worst(graph, torchscript_call(to_torchscript(graph), graph), data) <= TOLERANCE
        assert worst(graph, pt2_call(to_pt2(graph), graph), data) <= TOLERANCE


def test_latin_letters_stay_in_their_order() -> None:
    latin = Latin("aжß中ñ漢字")
    codes = torch.tensor([[2, 0, 0, 0], [5, 3, 8, 2]])
    letters = latin(codes)
    for row, found in zip(codes, letters, strict=True):
        expected = [k for code in row for k in latin.table[code].tolist() if k]
        assert found.tolist()[: len(expected)] == expected
        assert not found[len(expected) :].any()
