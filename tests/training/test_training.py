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
from hpo.training.loop import Training, TrainSettings
from hpo.training.optimization import SCHEDULES, Schedule, make_optimizer
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
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_optimizer_and_schedule_learns(optimizer: str, schedule: str) -> None:
    training = trained({"lr": 0.05, "optimizer": optimizer, "schedule": schedule}, epochs=5)
    assert training.evaluate(blobs().val)["accuracy"] > 0.9


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_an_optimizer_is_fused_and_steps_as_torchs_plain_one(name: str) -> None:
    params = {"optimizer": name, "lr": 0.05, "weight_decay": 0.1}
    torch.manual_seed(0)
    ours, theirs = nn.Linear(3, 2), nn.Linear(3, 2)
    theirs.load_state_dict(ours.state_dict())
    optimizers = [make_optimizer([(net.parameters(), 1.0)], params) for net in (ours, theirs)]
    assert optimizers[0].param_groups[0]["fused"]
    optimizers[1].param_groups[0]["fused"] = False
    for _ in range(5):
        inputs = torch.randn(8, 3)
        for net, optimizer in zip((ours, theirs), optimizers, strict=True):
            optimizer.zero_grad()
            net(inputs).square().mean().backward()
            optimizer.step()
    torch.testing.assert_close(ours.weight, theirs.weight)
    assert not torch.equal(ours.weight, torch.zeros_like(ours.weight))


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
        make_optimizer([(net.parameters(), 1.0)], {"optimizer": "sgdd"})
    with pytest.raises(SpecError, match="schedule"):
        Schedule(make_optimizer([(net.parameters(), 1.0)], {}), {"schedule": "linear"}, 3)


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


def rates(params: dict[str, Any], n_steps: int = 10) -> list[float]:
    net = nn.Linear(3, 2)
    optimizer = make_optimizer([(net.parameters(), 1.0)], {"lr": 1.0, **params})
    schedule = Schedule(optimizer, params, n_steps)
    found = []
    for _ in range(n_steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


@pytest.mark.parametrize("schedule", ["constant", "cosine", "plateau"])
def test_warm_up_rises_linearly_and_reaches_the_rate(schedule: str) -> None:
    found = rates({"schedule": schedule, "warmup": 0.4})
    assert found[:5] == sorted(found[:5])
    assert found[0] == pytest.approx(0.01)
    assert found[4] == pytest.approx(1.0)
    assert rates({"schedule": schedule})[0] == pytest.approx(1.0)


def test_a_plateau_lowers_the_rate_when_nothing_gets_better() -> None:
    optimizer = make_optimizer([(nn.Linear(3, 2).parameters(), 1.0)], {"lr": 1.0})
    schedule = Schedule(optimizer, {"schedule": "plateau"}, 10)
    for goodness in (0.1, 0.2, 0.2, 0.2, 0.2):
        schedule.end_epoch(goodness)
    assert optimizer.param_groups[0]["lr"] == 1.0
    schedule.end_epoch(0.2)
    assert optimizer.param_groups[0]["lr"] == 0.25


def test_averaged_weights_are_what_is_evaluated_and_kept() -> None:
    plain = trained({"lr": 0.05})
    averaged = trained({"lr": 0.05, "ema": 0.9})
    assert not torch.equal(weights(plain), weights(averaged))
    assert averaged.evaluate(blobs().val)["accuracy"] > 0.9
    nothing = trained({"lr": 0.05, "ema": 0.0})
    assert torch.equal(weights(plain), weights(nothing))


class Deep(Linear):
    """Layers whose activations can be computed again."""

    def build(self, params: Any, data: Data) -> nn.Module:
        layers = [nn.Linear(3, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 2)]
        return nn.Sequential(*layers)


def test_checkpointed_gradients_are_the_same_gradients() -> None:
    found = []
    for again in (False, True):
        settings = TrainSettings(epochs=2, checkpoint_gradients=again)
        training = Training(Deep(), {"lr": 0.05}, blobs(), settings)
        found.append([training.run_epoch()["train_loss"] for _ in range(2)])
    assert found[0] == pytest.approx(found[1], abs=1e-6)


class Duel(Linear):
    """Two players: one moves a point towards 1, the other, at its own rate, away from the first."""

    space = Space(lr=Float(1e-4, 1.0, log=True), lr_second=Float(1e-4, 1.0, log=True))

    def build(self, params: Any, data: Data) -> nn.Module:
        return nn.ModuleDict({"first": nn.Linear(1, 1), "second": nn.Linear(1, 1)})

    def players(self, net: nn.Module, params: Any) -> Any:
        return {name: [(part.parameters(), 1.0)] for name, part in net.named_children()}

    def losses(self, net: nn.Module, batch: Any, params: Any) -> Any:
        one = torch.ones(1, 1)
        yield "first", (net["first"](one) - 1).square().mean()  # type: ignore[index]
        gap = net["first"](one) - net["second"](one)  # type: ignore[index]
        yield "second", -gap.square().mean().clamp(max=9.0)

    def evaluate(self, net: nn.Module, batches: Any, params: Any) -> Any:
        one = torch.ones(1, 1)
        return {"accuracy": -abs(float(net["first"](one)) - 1)}  # type: ignore[index]


def test_each_player_has_its_own_optimizer_and_gradients() -> None:
    settings = TrainSettings(epochs=2)
    training = Training(Duel(), {"lr": 0.05, "lr_second": 0.01}, blobs(), settings)
    rates_of = {n: p.optimizer.param_groups[0]["lr"] for n, p in training.players.items()}
    assert rates_of == {"first": 0.05, "second": 0.01}
    metrics = training.run_epoch()
    assert {"train_loss_first", "train_loss_second"} <= set(metrics)
    # The second player's loss leaves nothing with the first, which reaches its goal alone.
    assert training.run_epoch()["accuracy"] > -0.05
