"""From a training to answers, for every model of the zoo: one test a model, so that each artifact
is trained once whatever number of workers runs the tests."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hpo_models.datasets.captions import texts_of
from hpo_models.text import decode

from hpo.inference.pictures import png_of
from hpo.inference.predictor import Predictor
from hpo.outcome.artifact import load
from hpo.outcome.compress import quantized, written_anew
from hpo.outcome.deployed import Deployed
from hpo.outcome.export import TOLERANCE, bundle_of, export
from hpo.outcome.graph_formats import onnx_call
from hpo.outcome.quality import Judge
from hpo.registry import MODELS
from tests.artifacts import artifact, data_of, model_of
from tests.models.conftest import weights  # noqa: F401  (of the image networks)

N_ITEMS, N_JUDGED = 5, 24


@pytest.mark.parametrize("name", sorted(MODELS))
def test_a_trained_model_is_exported_and_answers(name: str, tmp_path: Path) -> None:
    path = Path(shutil.copytree(artifact(name), tmp_path / "best"))
    exported = checked_export(name, path)
    items = items_of(name)
    answers = checked_answers(path, exported, items)
    assert len(answers) == len(items)
    checked_compression(name, path, exported)


def checked_export(name: str, path: Path) -> Path:
    """The bundle in ONNX, which agrees with torch on rows of the model's data."""
    done = export(path)
    assert all(check.difference <= TOLERANCE for check in done.checks)
    assert all(check.real for check in done.checks) or name == "gan"  # it has no inputs but noise
    assert bundle_of(path) == done.path
    return done.path


def checked_answers(
    path: Path, exported: Path, items: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Answers of onnxruntime, which torch gives too, alone as beside each other."""
    predictor = Predictor.open(exported)
    answers = predictor.predict(items)
    assert_alike(answers, Deployed.open(path).predictor().predict(items))
    alone = [predictor.answer([predictor.read(item)])[0] for item in items]
    assert_alike(predictor.answer([predictor.read(item) for item in items]), alone)
    assert set(predictor.schema()) == {"input", "answer"}
    return answers


def checked_compression(name: str, path: Path, exported: Path) -> None:
    """Graphs of 8 bits a weight are smaller, do nearly the same, and have the model's metric."""
    deployed, data = Deployed.open(path), data_of(name)
    network = load(path, data=data.for_retraining())
    original = {
        graph: (exported / f"{graph}.onnx").read_bytes() for graph in deployed.deployment.graphs
    }
    rows = tuple(column[:N_JUDGED] for column in data.val)
    judge = Judge(deployed, model_of(name), network, rows, original)
    assert judge.metric == model_of(name).objective.metric, judge.notes
    written = written_anew(deployed.deployment)
    for method in ("int8-static", "int8-dynamic", "weights"):
        made = quantized(deployed, deployed.deployment, written, method)
        assert sum(map(len, made.values())) < 0.4 * sum(map(len, original.values()))
        assert math.isfinite(judge.of(made).value)
        if method == "weights":  # how rough activations may be depends on the model
            assert_near(deployed, original, made)


def assert_near(deployed: Deployed, a: Mapping[str, bytes], b: Mapping[str, bytes]) -> None:
    """Outputs differ by a small part of their own spread."""
    for name, graph in deployed.deployment.graphs.items():
        inputs = deployed.rows(graph)
        outputs = [onnx_call(content[name], graph)(inputs) for content in (a, b)]
        for one, other in zip(*outputs, strict=True):
            assert (one - other).square().mean().sqrt() < 0.2 * one.std() + 1e-6, name


def items_of(name: str) -> list[dict[str, Any]]:
    """Items made of real validation rows."""
    data = data_of(name)
    if name == "gan":
        return [{"seed": 1, "n": 2}, {"seed": 2}]
    if "vocabulary" in data.info:
        texts = decode(data.val[0][:N_ITEMS], data.info["vocabulary"])
        return [{"text": text} for text in (*texts, "", "Zoë 漢字 " * 100)]
    images = [{"image": png_of(image.numpy())} for image in data.val[0][:N_ITEMS]]
    if name == "vae":
        return [*images, {"seed": 1, "n": 2}]
    if name == "retrieval":
        return [*images, *({"text": text} for text in texts_of(data.val[2][:N_ITEMS]))]
    return images


def assert_alike(a: Any, b: Any) -> None:
    """The same structure, with numbers that differ by little; PNGs and ranks are left out."""
    if isinstance(a, Mapping):
        assert a.keys() == b.keys()
        for key in a.keys() - {"image", "images", "scores"}:
            assert_alike(a[key], b[key])
    elif isinstance(a, list):
        assert len(a) == len(b)
        for one, other in zip(a, b, strict=True):
            assert_alike(one, other)
    elif isinstance(a, float):
        assert math.isclose(a, b, abs_tol=TOLERANCE), (a, b)
    else:
        assert a == b
