"""The CNN: shapes, gradients, every parameter has an effect, learns, survives its state dict."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from hpo_models.cnn import CNN
from safetensors.torch import load, save

from hpo import Data
from hpo.training.loop import Training, TrainSettings

SPACE = CNN.space


def images(n: int = 64, shape: tuple[int, int, int] = (1, 28, 28)) -> Data:
    generator = torch.Generator().manual_seed(0)
    targets = torch.arange(n) % 4
    inputs = 0.3 * torch.rand(n, *shape, generator=generator)
    for k in range(4):
        inputs[targets == k, :, 4 * k : 4 * k + 6, 4 * k : 4 * k + 6] += 0.7
    info = {
        "n_classes": 4,
        "shape": list(shape),
        "mean": [0.2] * shape[0],
        "std": [0.3] * shape[0],
    }
    return Data("squares", (inputs, targets), (inputs, targets), None, info)


@pytest.mark.parametrize("seed", range(12))
def test_any_point_builds_learns_a_step_and_has_finite_gradients(seed: int) -> None:
    params = SPACE.random(random.Random(seed))
    shape = ((1, 28, 28), (3, 32, 32), (3, 16, 40))[seed % 3]
    data = images(shape=shape)
    torch.manual_seed(0)
    net = CNN().build(params, data)
    batch = CNN().prepare(data.train, params, torch.Generator().manual_seed(0))
    assert batch[0].shape == data.train[0].shape
    assert net(batch[0]).shape == (64, 4)
    CNN().loss(net, batch, params).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def fingerprint(params: dict[str, Any]) -> torch.Tensor:
    training = Training(CNN(), params, images(), TrainSettings(epochs=2))
    training.run_epoch()
    training.run_epoch()
    state = training.net.state_dict()
    return torch.cat([tensor.double().flatten() for tensor in state.values()])


@pytest.mark.parametrize("name", SPACE.names)
def test_no_parameter_is_without_effect(name: str) -> None:
    base = {**SPACE.default(), "batch_size": 32, "augment": "shift", "strength": 0.1}
    base |= {"optimizer": "sgd", "momentum": 0.9, "lr": 0.01}
    other = dict(base)
    parameter = SPACE[name]
    choices = getattr(parameter, "choices", None)
    if choices:
        other[name] = next(c for c in choices if c != base[name])
        if other["augment"] == "none":
            other.pop("strength")
    else:
        low, high = parameter.low, parameter.high  # type: ignore[union-attr]
        other[name] = high if base[name] != high else low
    a, b = fingerprint(base), fingerprint(other)
    assert a.shape != b.shape or not torch.equal(a, b)


def test_it_overfits_a_small_batch_and_survives_its_state_dict() -> None:
    data = images(32)
    training = Training(
        CNN(), {**SPACE.default(), "batch_size": 16}, data, TrainSettings(epochs=30)
    )
    first = training.run_epoch()["train_loss"]
    while not training.finished:
        last = training.run_epoch()
    assert last["accuracy"] == 1.0
    assert last["train_loss"] < first / 5
    net = CNN().build(SPACE.default(), data).eval()
    state = {name: t.contiguous() for name, t in training.net.state_dict().items()}
    net.load_state_dict(load(save(state)))
    training.net.eval()
    assert torch.allclose(net(data.train[0]), training.net(data.train[0]), atol=1e-5)


@pytest.mark.gpu
def test_it_trains_on_a_gpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    training = Training(CNN(), SPACE.default(), images(), TrainSettings(2, device="cuda"))
    training.run_epoch()
    assert training.run_epoch()["accuracy"] > 0.25
