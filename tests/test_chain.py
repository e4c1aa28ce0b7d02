"""From a training to answers, for every model of the zoo: one test a model, so that each artifact
is trained once whatever number of workers runs the tests."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from base64 import b64encode
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hpo_models.datasets.captions import texts_of
from hpo_models.text import decode
from typer.testing import CliRunner

from hpo.cli import app
from hpo.inference.pictures import png_of
from hpo.inference.predictor import Predictor
from hpo.outcome.artifact import load
from hpo.outcome.compress import compress, quantized, written_anew
from hpo.outcome.deployed import Deployed
from hpo.outcome.evaluated import evaluate_artifact
from hpo.outcome.export import TOLERANCE, bundle_of, export
from hpo.outcome.graph_formats import onnx_call
from hpo.outcome.quality import Judge
from hpo.outcome.wishes import Wishes
from hpo.registry import MODELS
from tests.artifacts import artifact, data_of, model_of
from tests.models.conftest import weights  # noqa: F401  (of the image networks)
from tests.serve.conftest import HPO, Running, start, stop

N_ITEMS, N_JUDGED = 5, 24
ANY_DROP = 1e9
ROUNDED = frozenset({"image", "images", "scores"})
NOTHING = frozenset[str]()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One that cannot import torch, and is given model after model."""
    folder = tmp_path_factory.mktemp("chain")
    first = bundle_of(shutil.copytree(artifact("cnn"), folder / "best"))
    running = start(folder, {"first": first}, "--replicas", "1")
    yield running
    assert stop(running) == 143


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(MODELS))
def test_a_trained_model_is_evaluated_exported_compressed_and_served(
    name: str, tmp_path: Path, server: Running
) -> None:
    path = Path(shutil.copytree(artifact(name), tmp_path / "best"))
    metric = model_of(name).objective.metric
    evaluated = evaluate_artifact(path, n_resamples=20)
    assert math.isfinite(evaluated.evaluation.own[metric])
    exported = checked_export(name, path)
    items = items_of(name)
    answers = checked_answers(path, exported, items)
    assert len(answers) == len(items)
    checked_compression(name, path, exported)
    made = compress(path, Wishes(methods=("int8-dynamic",), max_drop=ANY_DROP))
    assert made.metric == metric and made.chosen == "int8-dynamic" and made.to is not None
    assert made.original.n_bytes > 2.5 * made.variants[1].n_bytes
    asked = one_by_one(items)
    served = answers_of_server(server, name, made.to, asked)
    printed = answers_of_command(made.to, asked, tmp_path)
    assert_alike(as_printed(served, printed), printed, NOTHING)


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


def answers_of_server(
    server: Running, name: str, bundle: Path, items: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """What an HTTP client gets from a running server that is given the model."""
    switched = [*HPO, "switch", f"{name}={bundle}", "--port", str(server.port)]
    subprocess.run(switched, env=server.environment, check=True, stdout=subprocess.PIPE)
    inputs = [
        {key: b64encode(v).decode() if isinstance(v, bytes) else v for key, v in item.items()}
        for item in items
    ]
    body = json.dumps({"inputs": inputs})
    status, text = server.request("POST", f"/v1/models/{name}/predict", body)
    assert status == 200, text
    return list(json.loads(text)["answers"])


def one_by_one(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """In the order in which `hpo predict` takes them: seeds, each for one image, texts, images."""
    seeds = [
        {"seed": item["seed"] + k, "n": 1}
        for item in items
        if "seed" in item
        for k in range(item.get("n", 1))
    ]
    texts, images = ([item for item in items if key in item] for key in ("text", "image"))
    return [*seeds, *texts, *images]


def answers_of_command(
    bundle: Path, items: list[dict[str, Any]], folder: Path
) -> list[dict[str, Any]]:
    """What `hpo predict` prints."""
    words: list[str] = []
    for k, item in enumerate(items):
        if "image" in item:
            file = folder / f"{k}.png"
            file.write_bytes(item["image"])
            words.append(str(file))
        elif "text" in item:
            words += ["--text", item["text"]]
    seeds = [item["seed"] for item in items if "seed" in item]
    if seeds:
        assert seeds == list(range(seeds[0], seeds[0] + len(seeds)))
        words += ["--seed", str(seeds[0]), "--n", str(len(seeds))]
    done = CliRunner().invoke(app, ["predict", str(bundle), *words, "--quiet", "-f", "json"])
    assert done.exit_code == 0, done.output
    return list(json.loads(done.stdout))


def as_printed(
    answers: list[dict[str, Any]], printed: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Answers of the server with the names of their inputs, as the command line gives them."""
    names = [row["input"] for row in printed]
    found = []
    for name, answer in zip(names, answers, strict=True):
        row = {"input": name, **answer}
        if "images" in row:
            (row["image"],) = row.pop("images")
        if "scores" in row:
            pairs = row["scores"]
            row["scores"] = [{"input": names[p["item"]], "score": p["score"]} for p in pairs]
        found.append(row)
    return found


def items_of(name: str) -> list[dict[str, Any]]:
    """Items made of real validation rows."""
    data = data_of(name)
    if name == "gan":
        return [{"seed": 1, "n": 2}, {"seed": 3}]
    if "vocabulary" in data.info:
        texts = decode(data.val[0][:N_ITEMS], data.info["vocabulary"])
        return [{"text": text} for text in (*texts, "", "Zoë 漢字 " * 100)]
    images = [{"image": png_of(image.numpy())} for image in data.val[0][:N_ITEMS]]
    if name == "vae":
        return [*images, {"seed": 1, "n": 2}]
    if name == "retrieval":
        return [*images, *({"text": text} for text in texts_of(data.val[2][:N_ITEMS]))]
    return images


def assert_alike(a: Any, b: Any, but: frozenset[str] = ROUNDED) -> None:
    """The same structure, with numbers that differ by little.

    Args:
        but: keys that are left out: PNGs and ranks, where torch and onnxruntime differ by rounding.
    """
    if isinstance(a, Mapping):
        assert a.keys() == b.keys()
        for key in a.keys() - but:
            assert_alike(a[key], b[key], but)
    elif isinstance(a, list):
        assert len(a) == len(b)
        for one, other in zip(a, b, strict=True):
            assert_alike(one, other, but)
    elif isinstance(a, float):
        assert math.isclose(a, b, abs_tol=TOLERANCE), (a, b)
    else:
        assert a == b
