"""Self-supervised image encoder: two views of an image are to be near, and different images apart.

Source: Chen et al. 2020 (SimCLR); Bardes, Ponce, LeCun 2022 (VICReg).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hpo.deployment import Call, Deployment, classifier_of_images
from hpo.model import Data, Metrics, Model, Objective, Params, Split
from hpo.space import Choice, Float, Int, Space
from hpo_models.contrastive import nt_xent, vicreg
from hpo_models.images import ImageEncoder, Tile, augment, tiles_png
from hpo_models.limits import BATCH, BLOCKS, DECAY, POSITIVE, RATE, STRENGTH, WEIGHT, WHOLE, WIDTH
from hpo_models.probe import Probed, probe

_TUNED_FROM = 0.75
"""From this share of the training on, the network is fine-tuned too, for what it costs."""
_N_QUERIES, _N_NEAREST = 8, 7


class SSLNet(Probed):
    """Encoder, projector for the loss and head for the probe."""

    def __init__(self, params: Params, data: Data) -> None:
        images = ImageEncoder(data.info, params["width"], params["n_blocks"])
        pooled = min(params["pooled"], *images.shape[1:])
        n_features = images.shape[0] * pooled**2
        pool = nn.Sequential(images, nn.AdaptiveAvgPool2d(pooled), nn.Flatten())
        super().__init__(pool, n_features, data)
        size = params["projected"]
        self.projector = nn.Sequential(
            nn.Linear(n_features, 2 * size, bias=False),
            nn.BatchNorm1d(2 * size),
            nn.ReLU(),
            nn.Linear(2 * size, size, bias=False),
        )


class SSLImage(Model):
    """Self-supervised image encoder: SimCLR or VICReg, judged by a probe with 10 labels a class."""

    task = "self-supervised learning of images"
    objective = Objective("probe_accuracy", "maximize")
    datasets = ("digits", "mnist", "fashionmnist", "cifar10", "imagefolder:", "npz:", "hf:")
    n_trials = 20
    epochs = 12
    additive = False
    classifies = True
    space = Space(
        lr=Float(5e-4, 2e-2, log=True, default=4e-3, grid=(2e-3, 4e-3, 8e-3), within=RATE),
        weight_decay=Float(1e-6, 1e-1, log=True, default=1e-4, grid=(1e-4, 1e-2), within=DECAY),
        batch_size=Choice(256, 128, 512, within=BATCH),
        schedule=Choice("cosine", "onecycle", "constant"),
        warmup=Float(0.0, 0.3, default=0.1, grid=(0.1,), within=WHOLE),
        method=Choice("simclr", "vicreg"),
        temperature=Float(
            0.05,
            1.0,
            log=True,
            default=0.2,
            grid=(0.1, 0.2, 0.5),
            when={"method": "simclr"},
            within=POSITIVE,
        ),
        invariance=Float(
            5.0,
            50.0,
            log=True,
            default=25.0,
            grid=(10.0, 25.0),
            when={"method": "vicreg"},
            within=WEIGHT,
        ),
        covariance=Float(
            0.1,
            10.0,
            log=True,
            default=1.0,
            grid=(1.0, 5.0),
            when={"method": "vicreg"},
            within=WEIGHT,
        ),
        width=Int(8, 32, log=True, default=16, within=WIDTH),
        n_blocks=Int(0, 2, default=1, within=BLOCKS),
        pooled=Choice(2, 1, 4),
        projected=Int(32, 256, log=True, default=64, within=WIDTH),
        strength=Float(0.05, 0.35, default=0.2, grid=(0.1, 0.2, 0.3), within=STRENGTH),
        erased=Float(0.0, 0.5, default=0.2, grid=(0.0, 0.3), within=WHOLE),
        contrast=Float(0.0, 0.6, default=0.3, grid=(0.0, 0.4), within=WHOLE),
        probe_penalty=Float(
            1e-2, 1e2, log=True, default=1.0, grid=(0.1, 1.0, 10.0), within=POSITIVE
        ),
    )

    def build(self, params: Params, data: Data) -> nn.Module:
        return SSLNet(params, data)

    def prepare(self, batch: Split, params: Params, generator: torch.Generator) -> Split:
        """Two views of the images; the targets are left out: they are not learned from."""
        return _view(batch[0], params, generator), _view(batch[0], params, generator)

    def loss(self, net: nn.Module, batch: Split, params: Params) -> Tensor:
        assert isinstance(net, SSLNet)
        a, b = net.projector(net.encoder(torch.cat(batch))).chunk(2)  # [B, projected] each
        if params["method"] == "simclr":
            return nt_xent(a, b, params["temperature"])
        return vicreg(a, b, params["invariance"], params["covariance"])

    def begin_epoch(self, net: nn.Module, progress: float, params: Params) -> None:
        self.progress = progress

    def evaluate(self, net: nn.Module, batches: Iterable[Split], params: Params) -> Metrics:
        """The probe's accuracy and F1, and near the end that of the fine-tuned network."""
        assert isinstance(net, SSLNet)
        generator = torch.Generator().manual_seed(0)
        tuned = self.progress >= _TUNED_FROM
        views = (lambda images: _view(images, params, generator)) if tuned else None
        return probe(net, batches, params["probe_penalty"], views)

    def show(
        self, net: nn.Module, split: Split, params: Params, info: Mapping[str, Any]
    ) -> Mapping[str, bytes]:
        """neighbours.png: test images and the nearest others in the space of the features."""
        assert isinstance(net, SSLNet)
        features = torch.nn.functional.normalize(net.encoder(split[0]), dim=1)
        names = info["class_names"]
        tiles = []
        n_queries = min(_N_QUERIES, len(features))
        for query in range(0, n_queries * (len(features) // n_queries), len(features) // n_queries):
            similarity = (features @ features[query]).index_fill(0, torch.tensor(query), -1.0)
            nearest = similarity.topk(min(_N_NEAREST, len(features) - 1)).indices.tolist()
            for row in (query, *nearest):
                same = split[1][row] == split[1][query]
                colour = "black" if row == query else "green" if same else "red"
                tiles.append(Tile(split[0][row], [(names[int(split[1][row])], colour)], colour))
        return {"neighbours.png": tiles_png(tiles, columns=1 + _N_NEAREST)}

    def deployment(self, net: nn.Module, params: Params, info: Mapping[str, Any]) -> Deployment:
        assert isinstance(net, SSLNet)
        plain = classifier_of_images(net, info)
        return net.deployment(plain.graphs["classifier"], plain.settings)

    def by_graphs(self, net: nn.Module, graphs: Mapping[str, Call]) -> nn.Module:
        assert isinstance(net, SSLNet)
        return net.by_graph(graphs["encoder"])


def _view(images: Tensor, params: Params, generator: torch.Generator) -> Tensor:
    """Images [B, C, H, W] shifted, turned, scaled, of another contrast and partly erased."""
    views = augment(images, params["strength"], generator)
    n, _, height, width = images.shape
    draw = torch.rand(4, n, 1, 1, generator=generator).to(images.device)
    gain, shift = params["contrast"] * (2 * draw[:2, :, None] - 1)  # [B, 1, 1, 1] each
    views = (views * (1 + gain) + shift / 2).clamp(0, 1)
    # A square with `erased` of the side, its centre anywhere.
    top, left = (draw[2] - params["erased"] / 2, draw[3] - params["erased"] / 2)
    y = torch.linspace(0, 1, height, device=images.device)[:, None] - top
    x = torch.linspace(0, 1, width, device=images.device) - left
    inside = (y.clamp(0, params["erased"]) == y) & (x.clamp(0, params["erased"]) == x)
    erased: Tensor = views.masked_fill(inside[:, None], 0.0)
    return erased
