"""Fine-tuning of image networks: which parts learn, at which rate, and weights that are missing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hpo_models.finetune_image import FinetuneImage, FinetuneImageNet, pretrained

from hpo import Data, SpecError

MODEL = FinetuneImage()


def data(channels: int = 1) -> Data:
    split = (torch.rand(6, channels, 20, 24), torch.arange(6) % 3)
    return Data("noise", split, split, None, {"n_classes": 3, "shape": [channels, 20, 24]})


@pytest.mark.parametrize("backbone", FinetuneImage.space["backbone"].choices)  # type: ignore[union-attr]
@pytest.mark.parametrize("adapt", ["full", "last", "frozen"])
def test_only_the_adapted_parts_learn_and_lower_ones_slower(backbone: str, adapt: str) -> None:
    point = {**MODEL.space.default(), "backbone": backbone, "adapt": adapt, "n_last": 2}
    net = MODEL.build(point, data(3 if adapt == "last" else 1))
    assert isinstance(net, FinetuneImageNet)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    groups = MODEL.players(net, point)[""]
    trained = [p for p in net.parameters() if p.requires_grad]
    assert sum(len(list(part)) for part, _ in groups) == len(trained)
    factors = [factor for _, factor in groups]
    assert factors == sorted(factors, reverse=True)
    assert len(groups) == {"full": 1 + len(net.stages), "last": 3, "frozen": 1}[adapt]
    optimizer = torch.optim.SGD(trained, lr=0.1)
    MODEL.loss(net.train(), data(3 if adapt == "last" else 1).train, point).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    changed = {k for k, v in net.state_dict().items() if not torch.equal(v, before[k])}
    assert any(k.startswith("head") for k in changed)
    # Frozen parts keep their weights, and their running statistics too.
    assert any(k.startswith("backbone") for k in changed) == (adapt != "frozen")


def test_the_pretrained_weights_are_in_the_network() -> None:
    weights = pretrained("resnet18")
    net = MODEL.build({**MODEL.space.default(), "backbone": "resnet18"}, data())
    assert torch.equal(net.state_dict()["backbone.conv1.weight"], weights["conv1.weight"])
    assert not any(key.startswith("backbone.fc") for key in net.state_dict())


def test_missing_and_damaged_weights_are_said_in_one_line(tmp_path: Path, weights: Path) -> None:
    pretrained.cache_clear()
    (tmp_path / "checkpoints").mkdir()
    torch.hub.set_dir(str(tmp_path))
    try:
        file = next((weights / "checkpoints").glob("resnet18*")).name
        (tmp_path / "checkpoints" / file).write_bytes(b"no weights")
        with pytest.raises(SpecError, match="no weights of resnet18") as caught:
            pretrained("resnet18")
    finally:
        torch.hub.set_dir(str(weights))
        pretrained.cache_clear()
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "checkpoints" / file) in str(caught.value)
