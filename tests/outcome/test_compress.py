"""`compress`: which variants are made and measured, which one is taken and what is written."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpo.errors import SpecError
from hpo.inference.bundle import Bundle
from hpo.inference.pictures import png_of
from hpo.inference.predictor import Predictor
from hpo.outcome import latency
from hpo.outcome.classified import Measure
from hpo.outcome.compress import compress
from hpo.outcome.quality import DIFFERENCE, Quality, drop
from hpo.outcome.variants import ORIGINAL, Compression, Variant, choose, facts_of
from hpo.outcome.wishes import DEFAULT, Wishes, methods_of
from hpo.registry import find_model, load_data, load_model
from hpo.report.compression_page import compression_page, write_compression
from hpo.report.page import html
from hpo.training.session import Job, start
from tests.outcome.artifacts import saved


@pytest.fixture(autouse=True)
def few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "N_ROUNDS", 7)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CNN that has learned its digits."""
    return saved("cnn", tmp_path_factory.mktemp("cnn"), epochs=3)


@pytest.fixture(scope="module")
def found(path: Path) -> Compression:
    return compress(path, Wishes(prune=0.3, methods=("int8-static", "weights"), fine_tune=1))


def test_every_wish_is_made_with_and_without_pruning_and_measured(found: Compression) -> None:
    assert [v.name for v in found.variants] == [
        "original",
        "pruned 30 %",
        "int8-static",
        "weights",
        "pruned 30 %, int8-static",
        "pruned 30 %, weights",
    ]
    for v in found.variants:
        assert not v.problem and v.quality is not None and v.drop is not None
        assert v.quality.low is not None and v.quality.low <= v.quality.value
        assert v.weights < v.n_bytes and 0 < v.latency[1].p50 <= v.latency[1].p99
        assert set(v.latency) == {1, 32}
    whole, pruned, static, *_ = found.variants
    assert whole.drop == Measure(0.0)
    assert pruned.packed < 0.9 * whole.packed and pruned.weights == whole.weights
    assert whole.n_bytes > 3 * static.n_bytes


def test_a_default_cnn_in_int8_is_three_times_smaller_and_as_good(found: Compression) -> None:
    static = next(v for v in found.variants if v.name == "int8-static")
    assert found.original.n_bytes > 3 * static.n_bytes
    drop = static.drop  # processors round differently: a loss is one that is beyond noise
    assert drop is not None and (drop.value <= 0.005 or (drop.low is not None and drop.low <= 0))


def test_the_chosen_one_is_a_bundle_that_answers(path: Path, found: Compression) -> None:
    assert found.to == path / "compressed"
    facts = Bundle.open(found.to).facts
    chosen = next(v for v in found.variants if v.name == found.chosen)
    assert facts["compressed"]["variant"] == chosen.name
    assert facts["task"] == "image-classification" and facts["unpack"] == chosen.unpacked
    assert (found.to / "classifier.onnx").stat().st_size == chosen.n_bytes
    data = load_data(load_model(find_model("cnn")), "digits", 0)
    assert data is not None and data.test is not None
    images, targets = (column[:200] for column in data.test)
    answers = Predictor.open(found.to).predict([{"image": png_of(x.numpy())} for x in images])
    right = [a["label"] == str(int(t)) for a, t in zip(answers, targets, strict=True)]
    assert np.mean(right) > 0.9
    assert found.test is not None and found.test.n_rows == 1000
    assert facts["test"] == {"accuracy": found.test.chosen.value}


def test_the_test_rows_are_used_once_and_that_is_noted(path: Path, found: Compression) -> None:
    noted = json.loads((path / "evaluations.json").read_text())
    assert [entry["split"] for entry in noted] == ["test"]
    assert any("the test rows were used once" in note for note in found.notes)


def test_the_page_and_the_numbers_hold_all_variants(found: Compression, tmp_path: Path) -> None:
    page = write_compression(found, tmp_path / "compression")
    assert page.read_text() == html(compression_page(found))
    facts = json.loads((tmp_path / "compression" / "compression.json").read_text())
    assert [v["name"] for v in facts["variants"]] == [v.name for v in found.variants]
    assert facts["chosen"] == found.chosen and facts["pareto"]["size"]
    text = page.read_text()
    assert all(v.name in text for v in found.variants) and found.verdict in text


def test_without_a_good_one_nothing_is_written_or_tested(path: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(path, tmp_path / "best"))
    shutil.rmtree(copied / "compressed", ignore_errors=True)
    (copied / "evaluations.json").unlink(missing_ok=True)
    found = compress(copied, Wishes(prune=0.97, methods=(), fine_tune=0))
    assert found.chosen is None and found.to is None and found.test is None
    assert not (copied / "compressed").exists() and not (copied / "evaluations.json").exists()
    assert "nothing was written" in found.verdict
    assert facts_of(found)["to"] is None


def variant(name: str, n_bytes: int, loss: float | None, packed: int = 0) -> Variant:
    measure = None if loss is None else Measure(loss)
    return Variant(name, 0.0, False, "", n_bytes, packed, 0, measure, measure)


def test_the_smallest_that_loses_little_is_chosen_and_of_equals_what_packs_best() -> None:
    all_ = [
        variant(ORIGINAL, 1000, 0.0),
        variant("a", 300, 0.004, 250),
        variant("b", 298, 0.005, 280),
        variant("c", 100, 0.006),
        variant("failed", 10, None),
    ]
    assert choose(all_, 0.005) == "a"
    assert choose(all_, 0.0045) == "a" and choose(all_, 0.01) == "c"
    assert choose([all_[0], *all_[2:]], 0.005) == "b"
    assert choose(all_, 0.001) is None


def test_a_drop_is_paired_and_points_the_same_way_for_all_metrics() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(0, 10, 400)
    a, b = Quality(float(rows.mean()), rows), Quality(float(rows.mean()) - 0.1, rows - 0.1)
    found = drop(a, b, 1)
    assert found.value == pytest.approx(0.1)
    assert found.low == pytest.approx(0.1) and found.high == pytest.approx(0.1)  # pairs agree
    assert drop(a, b, -1).value == pytest.approx(-0.1)
    assert drop(Quality(3.0), Quality(2.0), 1) == Measure(1.0)


def test_pareto_fronts_are_of_size_and_latency(found: Compression) -> None:
    front = found.front["size"]
    best = min(found.variants, key=lambda v: v.n_bytes).name
    assert best in front
    assert facts_of(found)["pareto"] == found.front


OWN = """
import torch
from hpo import Data, Float, Model, Objective, Space


class Net(Model):
    objective = Objective("far", "minimize")
    space = Space(lr=Float(1e-3, 1e-1, log=True, default=1e-2))
    epochs = 4

    def data(self, seed):
        x = torch.randn(300, 24, generator=torch.Generator().manual_seed(0))
        y = x[:, :3].cumsum(1)
        return Data("sums", (x[:200], y[:200]), (x[200:250], y[200:250]), (x[250:], y[250:]))

    def build(self, params, data):
        return torch.nn.Sequential(
            torch.nn.Linear(24, 40), torch.nn.ReLU(), torch.nn.Linear(40, 3)
        )

    def loss(self, net, batch, params):
        return (net(batch[0]) - batch[1]).square().mean()

    def evaluate(self, net, batches, params):
        return {"far": sum(float((net(x) - y).abs().mean()) for x, y in batches)}


class Inside(Net):
    def evaluate(self, net, batches, params):
        return {"far": sum(float(net[0](x).abs().mean()) for x, y in batches)}
"""


@pytest.mark.parametrize(("name", "metric"), [("Net", "far"), ("Inside", DIFFERENCE)])
def test_ones_own_model_is_judged_by_its_metric_or_by_its_outputs(
    name: str, metric: str, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(OWN)
    reference = f"{tmp_path}/mine.py:{name}"
    folder = saved(reference, tmp_path / "runs", epochs=2)
    wishes = Wishes(prune=0.5, structured=True, methods=("weights",), max_drop=100.0)
    found = compress(folder, wishes, model=reference)
    assert found.metric == metric and found.direction == "minimize"
    assert (metric == "far") == (not any("cannot be computed" in note for note in found.notes))
    whole, cut, *_ = found.variants
    assert cut.weights < 0.65 * whole.weights
    assert all(v.quality is not None for v in found.variants)
    with pytest.raises(SpecError, match=r"^model: .* add --model \./mine\.py:"):
        compress(folder, wishes)


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({"prune": 1.5}, "prune: 1.5: must be a share"),
        ({"prune": float("nan")}, "prune: nan"),
        ({"structured": True}, "structured: .* add --prune"),
        ({"max_drop": -1.0}, "max-drop: -1.0"),
        ({"max_drop": float("nan")}, "max-drop: nan"),
        ({"fine_tune": 2}, "fine-tune: .* add --prune"),
        ({"fine_tune": -2, "prune": 0.5}, "fine-tune: -2"),
        ({"methods": ("int7",)}, "quantize: 'int7' is unknown: choose from int8, "),
    ],
)
def test_wrong_wishes_are_one_line(wishes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        Wishes(**wishes)


def test_aliases_and_the_default_of_ways() -> None:
    assert methods_of([], 0.0) == DEFAULT and methods_of([], 0.5) == ()
    assert methods_of(["int8", "weights4", "int8-static"], 0.5) == (
        "int8-static",
        "int8-dynamic",
        "weights4",
    )


def test_neither_a_bundle_nor_other_folders_nor_a_model_without_its_data_is_taken(
    path: Path, found: Compression, tmp_path: Path
) -> None:
    assert found.to is not None
    with pytest.raises(SpecError, match=r"is an exported model, which is not trained"):
        compress(found.to, Wishes())
    with pytest.raises(SpecError, match=r"holds no saved model"):
        compress(tmp_path, Wishes())
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").touch()
    with pytest.raises(SpecError, match=r"^to: .* exists and is no exported model"):
        compress(path, Wishes(), to=tmp_path / "full")
    facts = json.loads((path / "model.json").read_text())
    lost = Path(shutil.copytree(path, tmp_path / "lost"))
    (lost / "model.json").write_text(json.dumps({**facts, "data": "npz:/no/such.npz"}))
    with pytest.raises(SpecError, match=r"data: 'npz:/no/such.npz': nothing at"):
        compress(lost, Wishes())


def test_data_without_validation_rows_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(OWN.replace("x[200:250], y[200:250]", "x[:0], y[:0]"))
    reference = f"{tmp_path}/mine.py:Net"
    folder = saved(reference, tmp_path / "runs")
    with pytest.raises(SpecError, match=r"^data: 'sums' has no validation rows"):
        compress(folder, Wishes(), model=reference)


def test_a_verdict_says_when_the_interval_reaches_beyond_what_is_allowed(
    found: Compression,
) -> None:
    chosen = next(v for v in found.variants if v.name == found.chosen)
    wide = replace(chosen, drop=Measure(0.004, -0.01, 0.02, "bootstrap"))
    others = [v if v is not chosen else wide for v in found.variants]
    assert "is not excluded" in replace(found, variants=others).verdict
    sure = replace(chosen, drop=Measure(0.0, -0.001, 0.001, "bootstrap"))
    others = [v if v is not chosen else sure for v in found.variants]
    assert "is not excluded" not in replace(found, variants=others).verdict


@pytest.mark.parametrize("params", [{"prune": 0.5, "bits": 8}, {"prune": 0.0, "bits": 32}])
def test_a_search_can_measure_one_form_without_writing_or_testing_it(
    path: Path, params: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HPO_ARTIFACT", str(path))
    before = {p: p.stat().st_mtime_ns for p in path.rglob("*") if "export" not in p.parts}
    example = Path(__file__).resolve().parents[2] / "docs" / "examples" / "compressed.py"
    session = start(Job(find_model(f"{example}:train"), {**params, "fine_tune": 1}, "own", 0, 1))
    metrics = session.step().metrics
    session.stop()
    assert set(metrics) == {"accuracy", "size_mb", "latency_ms"}
    whole = (path / "export" / "onnx" / "classifier.onnx").stat().st_size / 1e6
    smaller = metrics["size_mb"] < 0.3 * whole
    assert smaller == (params["bits"] == 8) and metrics["latency_ms"] > 0
    after = {p: p.stat().st_mtime_ns for p in path.rglob("*") if "export" not in p.parts}
    assert before == after
