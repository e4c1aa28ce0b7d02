"""The GAN and the distance it is searched by."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from hpo_models import frechet
from hpo_models.frechet import Judge, classifier_of, frechet_distance
from hpo_models.gan import GAN, GANNet, discriminator_loss, generator_loss, gradient_penalty
from torch import Tensor, nn

from hpo import Data
from hpo.training.loop import Training, TrainSettings

SPACE = GAN.space
WGAN: dict[str, Any] = {"loss": "wgan-gp", "norm": "none", "penalty": 10.0, "n_critic": 3}


def squares(shape: tuple[int, int, int] = (1, 28, 28), n: int = 240) -> Data:
    """Bright squares at one of 4 places."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.arange(n) % 4
    rows = 0.3 * torch.rand(n, *shape, generator=generator)
    for k in range(4):
        rows[targets == k, :, 3 * k : 3 * k + 5, 3 * k : 3 * k + 5] += 0.7
    info = {
        "n_classes": 4,
        "shape": list(shape),
        "mean": [0.2] * shape[0],
        "std": [0.3] * shape[0],
    }
    return Data("squares", (rows, targets), (rows, targets), None, info)


def network(params: dict[str, Any] | None = None) -> GANNet:
    torch.manual_seed(0)
    net = GAN().build({**SPACE.default(), **(params or {})}, squares())
    assert isinstance(net, GANNet)
    return net


def test_the_distance_is_that_of_the_gaussians() -> None:
    from scipy.linalg import sqrtm

    generator = torch.Generator().manual_seed(0)
    a = torch.randn(500, 6, generator=generator) @ torch.randn(6, 6, generator=generator)
    b = torch.randn(400, 6, generator=generator) + 1
    cov_a, cov_b = torch.cov(a.double().T).numpy(), torch.cov(b.double().T).numpy()
    shift = float((a.double().mean(0) - b.double().mean(0)).square().sum())
    expected = shift + (cov_a + cov_b - 2 * sqrtm(cov_a @ cov_b).real).trace()
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(b, a) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)
    one = torch.tensor([2.0, 0, 0, 0, 0, 0])
    assert frechet_distance(a, a + one) == pytest.approx(4, rel=1e-4)
    few = frechet_distance(a[:3], b[:4])  # fewer rows than features
    assert few > 0
    assert frechet_distance(a, b * torch.inf) != frechet_distance(a, b * torch.inf)  # nan


def test_the_classifier_is_trained_once_and_leaves_the_callers_draws() -> None:
    data = squares()
    frechet._trained.clear()
    torch.manual_seed(3)
    first = classifier_of(data)
    drawn = torch.rand(1)
    torch.manual_seed(3)
    assert classifier_of(data) is first
    assert torch.equal(torch.rand(1), drawn)
    frechet._trained.clear()
    again = classifier_of(data)
    for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert classifier_of(squares(n=200)) is not again


@torch.no_grad()
def test_the_judge_tells_real_from_noise_and_counts_classes() -> None:
    data = squares()
    judge, (rows, targets) = Judge(classifier_of(data)), data.val
    real = [(rows, targets)]
    same = judge.metrics(real, rows.split(100))
    assert same["fid"] == pytest.approx(0, abs=1e-3)
    assert same["coverage"] == 1 and same["classes"] == pytest.approx(4, rel=1e-3)
    one = judge.metrics(real, [rows[targets == 2]])
    assert one["coverage"] == 0.25 and one["classes"] == pytest.approx(1)
    noise = judge.metrics(real, [torch.rand(rows.shape)])
    assert same["fid"] < one["fid"] and same["fid"] < noise["fid"]


@pytest.mark.parametrize("shape", [(3, 17, 23), (2, 16, 40), (1, 50, 16)])
@pytest.mark.parametrize("seed", range(3))
def test_it_takes_images_of_any_shape(shape: tuple[int, int, int], seed: int) -> None:
    params, data = SPACE.random(random.Random(seed)), squares(shape, 40)
    training = Training(GAN(), {**params, "batch_size": 20}, data, TrainSettings(epochs=1))
    assert set(training.run_epoch()) >= {"fid", "coverage", "classes"}
    made = training.net(torch.randn(5, params["latent"]))
    assert made.shape == (5, *shape)
    assert training.show(data.val)["samples.png"][:4] == b"\x89PNG"


def test_the_judge_is_not_saved_and_loading_needs_none() -> None:
    net = network()
    info = squares().info
    bare = GAN().build(SPACE.default(), Data("squares", (), (), None, info))
    assert isinstance(bare, GANNet) and bare.judge is None and net.judge is not None
    assert bare.state_dict().keys() == net.state_dict().keys()
    assert {name.partition(".")[0] for name in net.state_dict()} == {"generator", "discriminator"}


def test_the_players_share_no_parameter_and_leave_none_out() -> None:
    net = network()
    groups = GAN().players(net, SPACE.default()).values()
    held = [id(p) for group in groups for parameters, _ in group for p in parameters]
    assert sorted(held) == sorted(id(p) for p in net.parameters())


def test_the_critic_is_trained_several_times_and_not_through_the_generator() -> None:
    net = network(WGAN)
    turns = []
    for player, loss in GAN().losses(net, squares(n=16).train, {**SPACE.default(), **WGAN}):
        turns.append(player)
        if player == "discriminator":
            loss.backward()  # type: ignore[no-untyped-call]
            assert all(p.grad is None for p in net.generator.parameters())
    assert turns == ["discriminator"] * 3 + ["generator"]


@pytest.mark.parametrize(
    ("name", "of_discriminator", "of_generator"),
    [
        ("non-saturating", 0.3133 + 0.6931, 0.6931),
        ("hinge", 0.0 + 1.0, 0.0),
        ("wgan-gp", -1.0, 0.0),
    ],
)
def test_losses_of_a_real_image_at_1_and_a_generated_one_at_0(
    name: str, of_discriminator: float, of_generator: float
) -> None:
    real, generated = torch.ones(2, 1), torch.zeros(2, 1)
    assert float(discriminator_loss(name, real, generated)) == pytest.approx(
        of_discriminator, abs=1e-4
    )
    assert float(generator_loss(name, generated)) == pytest.approx(of_generator, abs=1e-4)


@pytest.mark.parametrize(("slope", "expected"), [(1.0, 0.0), (3.0, 4.0), (0.0, 1.0)])
def test_the_penalty_is_of_the_gradients_norm(slope: float, expected: float) -> None:
    class Linear(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return slope * images[:, 0, 0, :1]

    real, generated = torch.rand(2, 8, 1, 5, 5)
    assert float(gradient_penalty(Linear(), real, generated)) == pytest.approx(expected, abs=1e-5)


def test_spectral_norm_bounds_every_layer_and_wgan_has_no_batch_norm() -> None:
    net = network({"norm": "spectral"})
    for _ in range(30):  # power iterations
        net.discriminator(squares(n=4).train[0])
    layers = [layer for layer in net.discriminator if hasattr(layer, "weight")]
    assert len(layers) == 3
    for layer in layers:
        norm = torch.linalg.matrix_norm(layer.weight.flatten(1), 2)
        assert float(norm) == pytest.approx(1, abs=0.05)
    assert SPACE.validate({**SPACE.default(), **WGAN, "norm": "batch"})
