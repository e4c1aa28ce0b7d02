"""The VAE: its bound against torch.distributions, any image shape, and what annealing does."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from hpo_models.datasets import digits, npz
from hpo_models.vae import VAE, VAENet, bound_terms
from torch.distributions import Bernoulli, Normal, kl_divergence

from hpo import Data, SpecError
from hpo.training.loop import Training, TrainSettings

DEFAULT = VAE.space.default()
SHAPES = ((1, 28, 28), (3, 17, 23), (2, 16, 40), (4, 33, 16))


def images(shape: tuple[int, ...] = (1, 28, 28), n: int = 24) -> Data:
    generator = torch.Generator().manual_seed(0)
    rows = (torch.rand(n, *shape, generator=generator), torch.arange(n) % 3)
    return Data("noise", rows, rows, rows, {"shape": list(shape)})


def network(shape: tuple[int, ...] = (1, 28, 28)) -> VAENet:
    torch.manual_seed(0)
    net = VAE().build(DEFAULT, images(shape))
    assert isinstance(net, VAENet)
    return net


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(4))
def test_it_takes_images_of_any_shape(shape: tuple[int, ...], seed: int) -> None:
    params = VAE.space.random(random.Random(seed))
    data = images(shape)
    net = VAE().build(params, data)
    VAE().loss(net, data.train, params).backward()  # type: ignore[no-untyped-call]
    assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)
    made = net.eval()(data.train[0])
    assert made.shape == data.train[0].shape
    assert 0 <= float(made.min()) <= float(made.max()) <= 1
    shown = VAE().show(net, data.train, params, data.info)
    assert sorted(shown) == ["reconstructions.png", "samples.png"]
    assert all(content[:4] == b"\x89PNG" for content in shown.values())


def test_the_bound_is_that_of_the_distributions() -> None:
    net = network().eval()
    binary = images().train[0].round()
    mean, log_variance, noise = torch.randn(3, 24, DEFAULT["latent"])
    error, kl = bound_terms(net, binary, mean, log_variance, noise)
    deviation = (log_variance / 2).exp()
    expected = kl_divergence(Normal(mean, deviation), Normal(0.0, 1.0)).sum(dim=1)
    assert torch.allclose(kl, expected, rtol=1e-4)
    pixels = Bernoulli(logits=net.decoder(mean + deviation * noise))
    assert torch.allclose(-error, pixels.log_prob(binary).flatten(1).sum(dim=1), rtol=1e-4)


@torch.no_grad()
def test_the_objective_depends_neither_on_the_kl_weight_nor_on_the_batches() -> None:
    net, (rows, targets) = network().eval(), images(n=64).train
    found = []
    for weight, size in ((0.1, 64), (4.0, 64), (1.0, 32)):
        net.kl_weight = weight
        batches = zip(rows.split(size), targets.split(size), strict=True)
        found.append(VAE().evaluate(net, batches, DEFAULT))
    assert found[0] == found[1]
    assert found[0] == pytest.approx(found[2], rel=1e-4)
    mse = float((net(rows) - rows).square().mean())
    assert found[0]["mse"] == pytest.approx(mse, rel=1e-4)


def test_the_kl_weight_rises_to_beta_within_the_share() -> None:
    net, params = network(), {**DEFAULT, "beta": 2.0, "annealing": 0.4}
    weights = []
    for progress in (0.0, 0.2, 0.4, 1.0):
        VAE().begin_epoch(net, progress, params)
        weights.append(net.kl_weight)
    assert weights == sorted(weights)
    assert weights[0] == pytest.approx(0.2)
    assert 1.9 < weights[2] < weights[3] < 2.0


@pytest.mark.parametrize(
    ("low", "high", "dtype", "fails"),
    [
        (0, 255, "uint8", False),
        (0.0, 1.0, "float32", False),
        (-1.0, 1.0, "float32", True),
        (0, 255, "float32", False),  # scaled when they are read
    ],
)
def test_pixels_must_lie_in_0_to_1(
    tmp_path: Path, low: float, high: float, dtype: str, fails: bool
) -> None:
    rows = np.linspace(low, high, 30 * 16 * 19).reshape(30, 16, 19).astype(dtype)
    np.savez(tmp_path / "own.npz", x=rows, y=np.arange(30) % 2)
    data = npz.load(str(tmp_path / "own.npz"), 0)
    if not fails:
        assert VAE().build(DEFAULT, data)(data.train[0]).shape[1:] == (1, 16, 19)
        return
    with pytest.raises(SpecError, match=r"own\.npz.*pixels lie in .*: scale them to 0\.\.1"):
        VAE().build(DEFAULT, data)


def test_ten_epochs_reconstruct_digits_better_than_16_principal_components() -> None:
    data = digits.load("", 0)
    assert data.test is not None and DEFAULT["latent"] == 16
    training = Training(VAE(), DEFAULT, data.for_search(), TrainSettings(epochs=10))
    while not training.finished:
        training.run_epoch()
    train, test = data.train[0].flatten(1), data.test[0].flatten(1)
    mean = train.mean(dim=0)
    axes = torch.linalg.svd(train - mean, full_matrices=False).Vh[:16]
    linear = (test - mean) @ axes.T @ axes + mean
    assert training.evaluate(data.test)["mse"] < float((linear - test).square().mean())
