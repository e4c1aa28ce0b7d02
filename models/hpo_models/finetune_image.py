"""A pretrained image network of torchvision adapted to one's own classes.

Source: Yosinski et al. 2014 (what transfers); Howard, Ruder 2018 (layer-wise learning rates); He
et al. 2016 (ResNet); Howard et al. 2019 (MobileNetV3); Tan, Le 2019 (EfficientNet).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from hpo.deployment import Deployment, classifier_of_images
from hpo.errors import SpecError
from hpo.model import Classifier, Data, ParameterGroup, Params, Split
from hpo.reading import Sides
from hpo.space import Choice, Float, Int, Space
from hpo_models.images import augment
from hpo_models.limits import BATCH, DECAY, LAYERS, RATE, SHARE, STRENGTH, WHOLE

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's channels, which all weights here were trained on."""


class FinetuneImageNet(nn.Module):
    """Images [B, C, H, W] in 0..1, grey or in colour, to logits [B, n_classes]."""

    mean: Tensor
    std: Tensor

    def __init__(self, params: Params, data: Data, weights: Mapping[str, Tensor] | None) -> None:
        super().__init__()
        from torchvision.models import get_model

        net: Any = get_model(params["backbone"], weights=None)
        if weights is not None:
            net.load_state_dict(weights)
        name, last = [(n, m) for n, m in net.named_modules() if isinstance(m, nn.Linear)][-1]
        net.set_submodule(name, nn.Identity())
        self.stages = [part for part in net.children() if any(True for _ in part.parameters())]
        if len(self.stages) < 4:  # MobileNet and EfficientNet keep their blocks in one list
            self.stages = [*self.stages[0].children(), *self.stages[1:]]
        self.backbone = net.requires_grad_(params["adapt"] == "full")
        if params["adapt"] == "last":
            for stage in self.stages[-params["n_last"] :]:
                stage.requires_grad_(True)
        self.adapted: str = params["adapt"]
        self.side: int = params["side"]
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(_STD).view(1, -1, 1, 1))
        self.dropout = nn.Dropout(params["dropout"])
        self.head = nn.Linear(last.in_features, data.info["n_classes"])

    def train(self, mode: bool = True) -> FinetuneImageNet:
        """What is frozen keeps its running statistics too."""
        super().train(mode)
        if self.adapted != "full":
            for stage in self.stages:
                stage.train(mode and any(p.requires_grad for p in stage.parameters()))
        return self

    def forward(self, images: Tensor) -> Tensor:
        images = images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
        longer = max(images.shape[2:])  # aspect kept
        size = [max(32, round(self.side * side / longer)) for side in images.shape[2:]]
        images = functional.interpolate(images, size, mode="bilinear", antialias=True)
        features = self.backbone((images - self.mean) / self.std)  # [B, D]
        logits: Tensor = self.head(self.dropout(features))
        return logits


class FinetuneImage(Classifier):
    """Fine-tuning of a torchvision network pretrained on ImageNet: frozen, last stages or full.

    The weights are torchvision's own; they are downloaded once, to `~/.cache/torch/hub/checkpoints`
    (TORCH_HOME), and may be put there by hand.
    """

    task = "fine-tuning of a pretrained image network"
    datasets = ("digits", "mnist", "fashionmnist", "cifar10", "imagefolder:", "npz:", "hf:")
    image_sides = Sides(usual=128)
    n_trials = 10
    epochs = 4
    space = Space(
        lr=Float(3e-4, 3e-2, log=True, default=3e-3, grid=(1e-3, 3e-3, 1e-2), within=RATE),
        weight_decay=Float(1e-5, 1e-1, log=True, default=1e-2, grid=(1e-2,), within=DECAY),
        batch_size=Choice(64, 32, 128, within=BATCH),
        schedule=Choice("onecycle", "cosine", "constant"),
        backbone=Choice("mobilenet_v3_small", "resnet18", "efficientnet_b0"),
        side=Choice(64, 96, 128),
        adapt=Choice("full", "last", "frozen"),
        n_last=Int(2, 4, default=2, when={"adapt": "last"}, within=LAYERS),
        backbone_lr=Float(
            1e-2,
            1.0,
            log=True,
            default=0.2,
            grid=(0.1, 0.5),
            when={"adapt": ("last", "full")},
            within=DECAY,
        ),
        layer_decay=Float(
            0.6, 1.0, default=0.9, grid=(0.8, 1.0), when={"adapt": ("last", "full")}, within=WHOLE
        ),
        dropout=Float(0.0, 0.5, default=0.1, grid=(0.1,), within=SHARE),
        label_smoothing=Float(0.0, 0.2, default=0.05, grid=(0.0, 0.1), within=SHARE),
        augment=Float(0.0, 0.2, default=0.05, grid=(0.0, 0.1), within=STRENGTH),
    )

    def check(self, space: Space, fixed: Params) -> None:
        searched = space["backbone"].choices if "backbone" in space else (fixed["backbone"],)  # type: ignore[union-attr]
        for backbone in searched:
            pretrained(backbone)

    def build(self, params: Params, data: Data) -> nn.Module:
        # A saved network is rebuilt without data, and brings its own weights.
        weights = pretrained(params["backbone"]) if data.train else None
        return FinetuneImageNet(params, data, weights)

    def players(self, net: nn.Module, params: Params) -> Mapping[str, Sequence[ParameterGroup]]:
        """The head at `lr`; the backbone at the share `backbone_lr`, less for each stage below."""
        assert isinstance(net, FinetuneImageNet)
        groups: list[ParameterGroup] = [(list(net.head.parameters()), 1.0)]
        share, decay = params.get("backbone_lr", 0.0), params.get("layer_decay", 1.0)
        for depth, stage in enumerate(reversed(net.stages)):
            rows = [p for p in stage.parameters() if p.requires_grad]
            if rows:
                groups.append((rows, share * decay**depth))
        return {"": groups}

    def prepare(self, batch: Split, params: Params, generator: torch.Generator) -> Split:
        """Shifts, turns and scales the images."""
        return augment(batch[0], params["augment"], generator), *batch[1:]

    def deployment(self, net: nn.Module, params: Params, info: Mapping[str, Any]) -> Deployment:
        return classifier_of_images(net, info)


@functools.lru_cache(maxsize=3)
def pretrained(backbone: str) -> Mapping[str, Tensor]:
    """torchvision's weights by the name of the network, read once per process.

    Raises:
        SpecError: they are not on this machine and cannot be downloaded.
    """
    from torchvision.models import get_model_weights

    url = get_model_weights(backbone)["DEFAULT"].url
    try:
        state: Mapping[str, Tensor] = torch.hub.load_state_dict_from_url(
            url, progress=False, check_hash=True, weights_only=True
        )
    except Exception as error:  # of the network, the disk or the file
        reason = f"{type(error).__name__}: {error}".partition("\n")[0][:120]
        place = f"{torch.hub.get_dir()}/checkpoints/{url.rpartition('/')[2]}"
        raise SpecError(
            f"model: finetune-image: no weights of {backbone} ({reason}): put the file of {url} at "
            f"{place!r}"
        ) from None
    return state
