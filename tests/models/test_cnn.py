"""The CNN on images of other shapes.  What holds for every model is in test_contract.py."""

from __future__ import annotations

import random

import pytest
import torch
from hpo_models.cnn import CNN

from hpo import Data

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


@pytest.mark.parametrize("augment", ["shift", "affine"])
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 33, 21)])
def test_augmentation_draws_and_moves_as_torchvision_does(
    augment: str, shape: tuple[int, int, int]
) -> None:
    from torchvision.transforms import v2

    strength, inputs = 0.2, torch.rand(64, *shape)
    there = {"degrees": 0, "translate": (strength, strength)}
    if augment == "affine":
        scale, bilinear = (1 - strength, 1 + strength), v2.InterpolationMode.BILINEAR
        there |= {"degrees": 100 * strength, "scale": scale, "interpolation": bilinear}
    params = {"augment": augment, "strength": strength}
    ours, theirs = (torch.Generator().manual_seed(7) for _ in range(2))
    for _ in range(5):
        found, _ = CNN().prepare((inputs, torch.zeros(64)), params, ours)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**31, (1,), generator=theirs)))
            parts = [v2.RandomAffine(**there)(part) for part in inputs.chunk(4)]
        assert torch.equal(found, torch.cat(parts))
        assert not torch.equal(found, inputs)


@pytest.mark.parametrize("augment", ["shift", "affine"])
def test_a_prepared_batch_leaves_nothing_behind(augment: str) -> None:
    batch = (torch.rand(8, 1, 28, 28), torch.zeros(8))
    before, noted = torch.get_rng_state(), len(torch.cuda._queued_calls)
    CNN().prepare(batch, {"augment": augment, "strength": 0.1}, torch.Generator().manual_seed(0))
    assert torch.equal(torch.get_rng_state(), before)
    assert len(torch.cuda._queued_calls) == noted
