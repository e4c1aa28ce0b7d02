"""The shared loop: determinism, accumulation, schedules, divergence, best epoch, metrics."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sklearn import metrics as sklearn_metrics
from torch import nn

from hpo import Classifier, Data, Float, Space, SpecError
from hpo.errors import TrialError
from hpo.metrics import accuracy_interval, classification_metrics, per_class_metrics
from hpo.training.loop import Training, TrainSettings, make_optimizer, make_schedule
from hpo.training.precision import Precision


class Linear(Classifier):
    """Logistic regression on three features."""

    space = Space(lr=Float(1e-4, 1.0, log=True))

    def build(self, params: Any, data: Data) -> nn.Module:
        return nn.Linear(3, 2)


def blobs(n: int = 960) -> Data:
    generator = torch.Generator().manual_seed(0)
    targets = torch.arange(n) % 2
    inputs = torch.randn(n, 3, generator=generator) + 2.0 * targets[:, None]
    split = (inputs, targets)
    return Data("blobs", split, split, split, {"n_classes": 2})


def trained(params: dict[str, Any], **settings: Any) -> Training:
    training = Training(Linear(), params, blobs(), TrainSettings(**{"epochs": 3, **settings}))
    while not training.finished:
        training.run_epoch()
    return training


def weights(training: Training) -> torch.Tensor:
    return nn.utils.parameters_to_vector(training.net.parameters()).detach()


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("schedule", ["constant", "cosine", "onecycle"])
def test_every_optimizer_and_schedule_learns(optimizer: str, schedule: str) -> None:
    training = trained({"lr": 0.05, "optimizer": optimizer, "schedule": schedule}, epochs=5)
    assert training.evaluate(blobs().val)["accuracy"] > 0.9


def test_the_same_seed_gives_the_same_network_and_another_does_not() -> None:
    a, b, c = (weights(trained({"lr": 0.05}, seed=seed)) for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_accumulating_two_halves_equals_one_whole_batch() -> None:
    halves = trained({"lr": 0.05, "batch_size": 16, "optimizer": "sgd"}, accumulate=2)
    whole = trained({"lr": 0.05, "batch_size": 32, "optimizer": "sgd"})
    assert torch.allclose(weights(halves), weights(whole), atol=1e-6)


def test_bf16_learns_too() -> None:
    assert trained({"lr": 0.05}, precision="bf16").evaluate(blobs().val)["accuracy"] > 0.9


def test_fp16_on_a_cpu_is_refused() -> None:
    with pytest.raises(SpecError, match="needs a GPU"):
        Precision("fp16", "cpu")


def test_divergence_ends_the_trial_with_a_reason() -> None:
    with pytest.raises(TrialError, match="diverged"):
        trained({"lr": 3e38, "optimizer": "sgd"}, epochs=20)


def test_clipping_bounds_the_step() -> None:
    start = weights(Training(Linear(), {}, blobs(), TrainSettings(epochs=1)))
    params = {"lr": 1.0, "optimizer": "sgd", "momentum": 0.0, "batch_size": 960}
    end = weights(trained(params, epochs=1, grad_clip=1e-3))
    assert float((end - start).norm()) <= 1.001e-3


def test_patience_stops_early_and_the_best_weights_stay() -> None:
    training = trained({"lr": 0.5, "optimizer": "sgd"}, epochs=50, patience=2)
    assert training.epoch < 50
    assert training.epoch - 1 - training.best_epoch == 2
    assert training.evaluate(blobs().val)["accuracy"] == training.best_value


def test_unknown_names_are_refused() -> None:
    net = nn.Linear(1, 1)
    with pytest.raises(SpecError, match="optimizer"):
        make_optimizer(net, {"optimizer": "sgdd"})
    with pytest.raises(SpecError, match="schedule"):
        make_schedule(make_optimizer(net, {}), {"schedule": "linear"}, 3)


def test_metrics_agree_with_scikit_learn() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(200, 4, generator=generator)
    targets = torch.randint(0, 4, (200,), generator=generator)
    found = classification_metrics([(logits[:90], targets[:90]), (logits[90:], targets[90:])])
    predicted = logits.argmax(1)
    assert found["accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(targets, predicted))
    for name, score in (("recall", "recall_score"), ("f1", "f1_score")):
        expected = getattr(sklearn_metrics, score)(targets, predicted, average="macro")
        assert found[name] == pytest.approx(expected)
    precision = sklearn_metrics.precision_score(targets, predicted, average=None)
    assert [row["precision"] for row in per_class_metrics(logits, targets)] == pytest.approx(
        list(precision)
    )


def test_the_interval_is_wilsons() -> None:
    # Newcombe 1998, Two-sided confidence intervals for the single proportion, table I, method 3.
    assert accuracy_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert accuracy_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
