"""`export`: what is written, checked and refused."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hpo.deployment import Deployment, classifier_of_images
from hpo.errors import HpoError, SpecError
from hpo.inference.bundle import Bundle
from hpo.inference.predictor import Predictor
from hpo.model import Classifier, Data, Model, Params
from hpo.outcome.artifact import FACTS, save
from hpo.outcome.deployed import Deployed
from hpo.outcome.export import bundle_of, export, has_bundle
from hpo.space import Float, Space
from hpo.training.product import product_of
from tests.artifacts import artifact, facts_of


@pytest.fixture
def cnn(tmp_path: Path) -> Path:
    """A saved CNN of one's own, to write into."""
    return Path(shutil.copytree(artifact("cnn"), tmp_path / "best"))


@pytest.mark.parametrize("kind", ["onnx", "torchscript", "pt2", "safetensors"])
def test_every_format_agrees_with_torch_on_real_rows(cnn: Path, kind: str) -> None:
    done = export(cnn, kind=kind)
    assert done.path == cnn / "export" / kind
    assert [check.real for check in done.checks] == [True]
    assert done.checks[0].difference <= 1e-5
    facts = Bundle.open(done.path).facts
    assert facts["kind"] == kind and facts["model"] == "cnn" and facts["data"] == "digits"
    assert facts["settings"]["class_names"] == list("0123456789")
    assert facts["graphs"]["classifier"]["dynamic"] == {"images": {"0": "batch"}}


@pytest.mark.parametrize("opset", [18, 21])
def test_an_onnx_file_has_names_a_dynamic_batch_its_opset_and_speaks_of_itself(
    cnn: Path, opset: int
) -> None:
    import onnx

    done = export(cnn, opset=opset)
    proto = onnx.load(done.path / "classifier.onnx")
    onnx.checker.check_model(proto)
    (given,), (found,) = proto.graph.input, proto.graph.output
    assert (given.name, found.name) == ("images", "logits")
    assert given.type.tensor_type.shape.dim[0].dim_param == "batch"
    assert proto.opset_import[0].version == opset
    said = {entry.key: entry.value for entry in proto.metadata_props}
    assert said["hpo.task"] == "image-classification"
    assert json.loads(said["hpo.settings"])["shape"] == [1, 28, 28]
    assert "torch" in json.loads(said["hpo.versions"])


def test_what_differs_too_much_is_not_written(cnn: Path) -> None:
    with pytest.raises(HpoError, match=r"differs from torch by .* nothing was written"):
        export(cnn, tolerance=1e-12)
    assert not (cnn / "export" / "onnx").exists()
    assert not list(cnn.rglob(".onnx*"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "keras"}, "format: 'keras' is unknown"),
        ({"opset": 7}, "opset: 7"),
        ({"tolerance": 0.0}, "tolerance: 0"),
        ({"tolerance": float("nan")}, "tolerance: nan"),
    ],
)
def test_wrong_settings_are_refused(cnn: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        export(cnn, **settings)


def test_a_bundle_is_made_once_and_again_when_the_weights_are_others(cnn: Path) -> None:
    assert not has_bundle(cnn)
    made = bundle_of(cnn)
    assert has_bundle(cnn) and has_bundle(made)
    created = (made / "bundle.json").stat().st_mtime_ns
    assert bundle_of(cnn) == bundle_of(made) == made
    assert (made / "bundle.json").stat().st_mtime_ns == created
    other = artifact("cnn", epochs=2)
    shutil.copy(other / "weights.safetensors", cnn)
    assert not has_bundle(cnn)
    assert bundle_of(cnn) == made
    assert (made / "bundle.json").stat().st_mtime_ns != created


def test_without_its_data_rows_are_drawn_and_that_is_said(cnn: Path) -> None:
    facts = json.loads((cnn / FACTS).read_text())
    (cnn / FACTS).write_text(json.dumps({**facts, "data": "imagefolder:/nowhere"}))
    done = export(cnn)
    assert "/nowhere" in done.no_data
    assert [check.real for check in done.checks] == [False]


class Net(Classifier):
    """One's own classifier of numbers, with data of its own."""

    space = Space(lr=Float(1e-3, 1e-1))

    def data(self, seed: int) -> Data:
        x = torch.randn(60, 5, generator=torch.Generator().manual_seed(seed))
        rows = (x, (x[:, 0] > 0).long())
        parts = [tuple(column[a:b] for column in rows) for a, b in ((0, 30), (30, 45), (45, 60))]
        return Data("own", parts[0], parts[1], parts[2], {"n_classes": 2})

    def build(self, params: Params, data: Data) -> nn.Module:
        return nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2))


class Two(nn.Module):
    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        return rows.sum(1), rows * 2


class Bare(Net):
    """One whose network gives two tensors."""

    deployment = Model.deployment

    def build(self, params: Params, data: Data) -> nn.Module:
        return Two()


class Pictures(Net):
    """One that says that its numbers are images."""

    def data(self, seed: int) -> Data:
        rows = (torch.rand(30, 1, 3, 4), torch.arange(30) % 2)
        return Data("own", rows, rows, rows, {"n_classes": 2})

    def build(self, params: Params, data: Data) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(12, 2))

    def deployment(self, net: nn.Module, params: Params, info: Any) -> Deployment:
        return classifier_of_images(net, info)


class Odd(nn.Module):
    def forward(self, rows: Tensor) -> Tensor:
        return torch.from_numpy(np.sort(rows.numpy(), axis=1)[:, :2].copy())


class Unexportable(Net):
    """One that computes in Python."""

    def build(self, params: Params, data: Data) -> nn.Module:
        return Odd()


class Fixed(nn.Module):
    def forward(self, rows: Tensor) -> Tensor:
        return torch.stack([row[:2] for row in rows])


class OfFixedBatch(Net):
    """One whose network loops over the rows: exported, it takes as many as the example had."""

    def build(self, params: Params, data: Data) -> nn.Module:
        return Fixed()


def own(model: type[Model], folder: Path) -> Path:
    facts = facts_of("cnn", {}, Data("own", (), (), None, {"n_classes": 2}), {})
    mine = replace(facts, model="mine.py:Net", data="own")
    net = model().build({}, Data("own", (), (), None))
    return save(mine, product_of(net), {}, folder)


def test_one_s_own_classifier_answers_numbers(tmp_path: Path) -> None:
    path = own(Net, tmp_path)
    done = export(path, model=Net)
    assert done.task == "tensor-classification" and done.checks[0].real
    items = [{"inputs": row} for row in np.eye(5).tolist()]
    answers = Predictor.open(done.path).predict(items)
    torch_s = Deployed.open(path, Net).predictor().predict(items)
    for answer, other in zip(answers, torch_s, strict=True):
        assert answer["label"] == other["label"] and answer["label"] in ("0", "1")
        assert answer["probability"] == pytest.approx(other["probability"], abs=1e-5)
    with pytest.raises(SpecError, match="pass your own"):
        export(path)


def test_a_network_of_several_outputs_gives_them_by_name(tmp_path: Path) -> None:
    done = export(own(Bare, tmp_path), model=Bare)
    (answer,) = Predictor.open(done.path).predict([{"inputs": [1, 2, 3, 4, 5]}])
    assert answer == {"outputs": {"output_0": 15.0, "output_1": [2.0, 4.0, 6.0, 8.0, 10.0]}}


def test_a_model_says_that_its_numbers_are_images(tmp_path: Path) -> None:
    done = export(own(Pictures, tmp_path), model=Pictures)
    assert done.task == "image-classification"


def test_what_torch_cannot_export_is_one_line_with_a_way_out(tmp_path: Path) -> None:
    path = own(Unexportable, tmp_path)
    with pytest.raises(HpoError, match="torch cannot write this network as onnx") as error:
        export(path, model=Unexportable)
    assert "\n" not in str(error.value)
    assert not (path / "export").exists()


def test_a_network_that_takes_one_number_of_rows_alone_is_refused(tmp_path: Path) -> None:
    path = own(OfFixedBatch, tmp_path)
    with pytest.raises(HpoError, match=r"cannot be run with 30 rows: .*Expected: 3") as error:
        export(path, model=OfFixedBatch)
    assert "\n" not in str(error.value)
    assert not (path / "export").exists()


@pytest.mark.parametrize("package", ["onnx", "onnxruntime", "onnxscript"])
def test_a_missing_package_is_named_with_what_installs_it(
    cnn: Path, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # as Python itself marks what is not there
    with pytest.raises(SpecError, match=rf"{package}: pip install 'hpo-torch\[export\]'"):
        export(cnn)
