"""Figures of a network, and metrics that a study asks a training for."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from hpo.errors import SpecError, TrialError
from hpo.model import Objective
from hpo.registry import find_model, load_model
from hpo.training.figures import latency_ms, sizes_of
from hpo.training.reported import check_metrics
from hpo.training.session import Job, Session, start
from tests.training.test_checkpoint import MODEL, job

FUNCTION = """
from hpo import Float, Space, tunable
from torch import nn

@tunable(Space(x=Float(0.0, 1.0)), "score")
def train(trial):
    trial.report(score=0.5, cost=2.0)
    return nn.Linear(3, 2)
"""


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    path = tmp_path / "net.py"
    path.write_text(MODEL)
    return path


def ended(session: Session) -> Session:
    while not session.step().finished:
        pass
    return session


def test_sizes_are_counted_by_hand() -> None:
    net = nn.Sequential(nn.Linear(10, 4), nn.BatchNorm1d(4))
    net[0].bias.requires_grad_(False)
    assert sizes_of(net) == {"params": 40 + 8, "size_mb": (44 * 4 + 4 * 4 * 4 + 8) / 1e6}


@pytest.mark.alone  # it measures time
def test_latency_is_the_median_of_warm_calls_and_soon_known() -> None:
    calls = iter([0.2, 0.0, 0.0] + [0.002, 0.004, 0.006, 0.008, 0.5] * 40)
    started = time.perf_counter()
    found = latency_ms(lambda: time.sleep(next(calls)), "cpu")
    assert 5.5 < found < 8 and time.perf_counter() - started < 2


def test_a_training_gives_what_is_wanted_of_its_network(model_file: Path) -> None:
    wanted = ("accuracy", "params", "latency_ms")
    session = ended(start(job(model_file, None, epochs=2, wanted=wanted)))
    best = session.best()
    assert best["params"] == sizes_of(session.network())["params"]
    assert 0 < best["latency_ms"] < 100
    assert "size_mb" not in best and set(session.figures()) == {"params", "latency_ms"}
    assert all(metrics["params"] == best["params"] for metrics in session.history)
    assert not {"params", "latency_ms"} & set(ended(start(job(model_file, None))).best())


def test_a_metric_that_is_not_reported_fails_after_the_first_epoch(model_file: Path) -> None:
    session = start(job(model_file, None, wanted=("accuracy", "acuracy")))
    with pytest.raises(TrialError, match="no metric 'acuracy' among: accuracy, "):
        session.step()


def test_epochs_are_compared_by_the_guide(model_file: Path) -> None:
    for objective, choose in (
        (Objective("loss", "minimize"), min),
        (Objective("loss:maximize"), max),
    ):
        session = ended(start(job(model_file, None, guide=objective)))
        losses = [metrics["loss"] for metrics in session.history]
        assert session.best()["loss"] == choose(losses)


def test_a_functions_network_is_counted_and_its_own_word_goes(tmp_path: Path) -> None:
    def best(source: str, name: str) -> dict[str, Any]:
        path = tmp_path / f"{name}.py"
        path.write_text(source)
        what = {"ref": find_model(f"{path}:train"), "params": {"x": 0.5}}
        return ended(start(job(path, None, wanted=("score", "params", "cost"), **what))).best()

    assert best(FUNCTION, "counted") == {"score": 0.5, "cost": 2.0, "params": 8.0}
    own = FUNCTION.replace("cost=2.0", "cost=2.0, params=7")
    assert best(own, "own")["params"] == 7.0


ZOO = ("cnn", "rnn", "vae", "cross-lingual", "captioner", "retrieval")


@pytest.mark.parametrize("name", ZOO)
def test_every_kind_of_network_takes_one_row(name: str) -> None:
    ref = find_model(name)
    model = load_model(ref)
    params, data = model.space.default(), model.datasets[0]
    session = start(Job(ref, params, data, seed=0, epochs=1, wanted=("latency_ms",)))
    torch.manual_seed(0)
    assert 0 < session.figures()["latency_ms"] < 1000


def test_unknown_metrics_are_found_before_a_study_is_made() -> None:
    model = load_model(find_model("cnn"))
    params = model.space.default()
    check_metrics(model, "digits", params, ("f1", "train_loss", "params", "latency_ms"))
    with pytest.raises(SpecError) as error:
        check_metrics(model, "digits", params, ("f2", "f1", "speed"))
    assert [line.split()[2] for line in error.value.problems] == ["'f2'", "'speed'"]


@pytest.mark.parametrize("name", ["ssl-image", "ssl-text", "vae", "rnn"])
def test_a_metric_that_there_is_not_is_refused_for_every_model(name: str) -> None:
    model = load_model(find_model(name))
    with pytest.raises(SpecError, match="'acuracy' is no metric of"):
        check_metrics(model, model.datasets[0], model.space.default(), ("acuracy",))


def test_a_model_that_cannot_be_looked_at_is_said(
    model_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(type(load_model(find_model(f"{model_file}:Net")))):  # type: ignore[misc]
        def evaluate(self, net: Any, batches: Any, params: Any) -> Any:
            raise KeyError("b")

    check_metrics(Broken(), "digits", Broken.space.default(), ("acuracy",))
    assert "whether Broken reports acuracy is not known" in caplog.text
