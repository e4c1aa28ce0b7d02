"""Pruned networks: what goes, what stays gone, and what a cut network computes."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from hpo.deployment import classifier_of_images
from hpo.errors import SpecError
from hpo.outcome.artifact import load
from hpo.outcome.pruning import chains, cut_channels, fine_tuned, masks_of, prunable, zero
from tests.artifacts import artifact, data_of, few, model_of

INFO = {"shape": [1, 8, 8]}


def small(last: nn.Module | None = None) -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1, bias=False),
        nn.MaxPool2d(2),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        nn.Conv2d(12, 6, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(6 * 4 * 4, 10),
        *([last] if last else []),
    )
    net(torch.rand(64, 1, 8, 8))  # running statistics of its own
    nn.init.normal_(net[2].bias)  # what a silent channel still says
    return net.eval()


def test_the_least_weights_of_all_layers_together_go() -> None:
    net = small()
    parameters = prunable(net, classifier_of_images(net, INFO))
    assert [p.dim() for p in parameters] == [4, 4, 2]  # no biases, no norms
    masks = masks_of(parameters, 0.6)
    sizes = [p.detach().abs() / p.detach().square().mean().sqrt() for p in parameters]
    flat = torch.cat([size.flatten() for size in sizes])
    mask = torch.cat([m.flatten() for m in masks]).bool()
    assert round(0.6 * len(flat)) == int((~mask).sum())
    assert flat[~mask].max() <= flat[mask].min()


def test_no_layer_goes_because_its_weights_are_smaller_than_another_ones() -> None:
    net = small()
    with torch.no_grad():
        net[4].weight.mul_(1e-3)
    _, mask, _ = masks_of(prunable(net, classifier_of_images(net, INFO)), 0.3)
    assert 0.5 < mask.mean() < 0.9


def test_what_no_graph_uses_is_not_pruned() -> None:
    net = load(artifact("gan"))
    found = prunable(net, model_of("gan").deployment(net, {}, {}))
    unused = {id(p) for p in net.discriminator.parameters()}
    assert found and not unused & {id(p) for p in found}


def test_masks_hold_through_training_on_and_the_rest_learns() -> None:
    net, model = load(artifact("cnn")), model_of("cnn")
    parameters = prunable(net, classifier_of_images(net, data_of("cnn").info))
    masks = masks_of(parameters, 0.5)
    zero(parameters, masks)
    before = [p.detach().clone() for p in parameters]
    data = few(data_of("cnn"), 128).for_retraining()
    tuned = fine_tuned(net, model, model.space.default(), data, 2, (parameters, masks))
    assert not tuned.training
    for p, mask, was in zip(parameters, masks, before, strict=True):
        assert not (p * (1 - mask)).any()
        assert not torch.equal(p, was)


def test_a_cut_network_is_smaller_and_computes_what_the_silent_channels_left() -> None:
    net = small()
    whole = copy.deepcopy(net)
    images = torch.rand(5, 1, 8, 8)
    assert cut_channels(net, classifier_of_images(net, INFO), 0.5) == 6 + 3
    assert net[0].weight.shape == (6, 1, 3, 3) and net[4].weight.shape == (3, 6, 3, 3)
    assert net[2].num_features == 6 and net[7].weight.shape == (10, 3 * 16)
    norms = whole[0].weight.abs().sum(dim=(1, 2, 3))
    stays = norms >= norms.sort().values[6]
    with torch.no_grad():
        whole[4].weight[:, ~stays] = 0
        norms = small()[4].weight.abs().sum(dim=(1, 2, 3))
        whole[7].weight.view(10, 6, 16)[:, norms < norms.sort().values[3]] = 0
        torch.testing.assert_close(net(images), whole(images))


@pytest.mark.parametrize("name", ["vae", "gan", "ssl-image", "captioner"])
def test_models_of_the_zoo_run_and_learn_when_channels_are_cut(name: str) -> None:
    model, data = model_of(name), few(data_of(name), 96).for_retraining()
    params: Any = model.space.default()
    net = load(artifact(name), data=data)
    n_before = sum(p.numel() for p in net.parameters())
    assert cut_channels(net, model.deployment(net, params, data.info), 0.5) > 0
    assert sum(p.numel() for p in net.parameters()) < n_before
    tuned = fine_tuned(net, model, params, data, 1)
    for graph in model.deployment(tuned, params, data.info).graphs.values():
        graph.module(*graph.example)


def test_only_channels_that_one_layer_hears_are_cut() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.chain = small()

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.chain(images)
            return found + self.chain[0](images).flatten(1)[:, :10]

    assert [type(c.layer).__name__ for c in chains(small())] == ["Conv2d", "Conv2d"]
    with pytest.raises(SpecError, match=r"^structured: other parts of this network know"):
        net = Shared().eval()
        cut_channels(net, classifier_of_images(net, INFO), 0.5)
    with pytest.raises(SpecError, match=r"^structured: this network has no chain"):
        plain = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval()
        cut_channels(plain, classifier_of_images(plain, INFO), 0.5)


def test_grouped_convolutions_are_left_alone() -> None:
    net = nn.Sequential(nn.Conv2d(4, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=4), nn.ReLU())
    assert not list(chains(net))
