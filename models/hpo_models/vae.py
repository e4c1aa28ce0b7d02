"""Convolutional variational autoencoder.  Source: Kingma, Welling 2014.

Weight of the KL term: Higgins et al. 2017 (beta-VAE); its annealing: Bowman et al. 2016.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from hpo.deployment import (
    Call,
    Deployment,
    Graph,
    first_column,
    image_example,
    image_settings,
    standing_in,
)
from hpo.model import Data, Metrics, Model, Objective, Params, Split
from hpo.reading import Sides
from hpo.space import Choice, Float, Int, Space
from hpo_models.images import check_pixels, feature_shapes
from hpo_models.limits import BATCH, DECAY, POSITIVE, RATE, SHARE, WEIGHT, WIDTH
from hpo_models.parts import Part
from hpo_models.pictures import grid_png

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU}
_COLUMNS, _N_PAIRS, _N_SAMPLES = 12, 36, 60
_EPSILON = 1e-7
"""From 0 and 1, of images that are turned back to logits."""


class Decoder(nn.Module):
    """Codes [B, latent] to image logits [B, C, H, W], of any C, H, W."""

    def __init__(
        self,
        latent: int,
        shape: Sequence[int],
        width: int,
        depth: int,
        kernel: int,
        activation: type[nn.Module],
    ) -> None:
        super().__init__()
        sizes, channels = feature_shapes(shape, width, depth)
        deepest = (channels[-1], *sizes[-1])
        layers: list[nn.Module] = [
            nn.Linear(latent, math.prod(deepest), bias=False),
            nn.Unflatten(1, deepest),
        ]
        for k in range(depth, 0, -1):  # each undoes one halving
            # A side of s comes from 2 s - 1 pixels, which a convolution gives back, or from 2 s.
            more = [after - (2 * s - 1) for s, after in zip(sizes[k], sizes[k - 1], strict=True)]
            up = nn.ConvTranspose2d(
                channels[k],
                channels[k - 1],
                kernel,
                2,
                kernel // 2,
                (more[0], more[1]),
                bias=k == 1,
            )
            layers += [nn.BatchNorm2d(channels[k]), activation(), up]
        self.layers = nn.Sequential(*layers)

    def forward(self, codes: Tensor) -> Tensor:
        logits: Tensor = self.layers(codes)
        return logits


class VAENet(nn.Module):
    """Encoder to a Gaussian over codes, and decoder; images [B, C, H, W] in 0..1.

    Attributes:
        kl_weight: of the KL term in the loss, as `begin_epoch` sets it.
    """

    def __init__(self, params: Params, shape: Sequence[int]) -> None:
        super().__init__()
        self.kl_weight = 1.0
        self.latent: int = params["latent"]
        depth, kernel = params["depth"], params["kernel"]
        activation = ACTIVATIONS[params["activation"]]
        sizes, channels = feature_shapes(shape, params["width"], depth)
        layers: list[nn.Module] = []
        for k in range(depth):
            layers += [
                nn.Conv2d(channels[k], channels[k + 1], kernel, 2, kernel // 2, bias=False),
                nn.BatchNorm2d(channels[k + 1]),
                activation(),
            ]
        n_features = channels[-1] * math.prod(sizes[-1])
        layers += [nn.Flatten(), nn.Dropout(params["dropout"])]
        self.encoder = nn.Sequential(*layers, nn.Linear(n_features, 2 * self.latent))
        self.decoder = Decoder(self.latent, shape, params["width"], depth, kernel, activation)

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Means and log-variances [B, latent] of the codes."""
        mean, log_variance = self.encoder(images).float().chunk(2, dim=1)
        return mean, log_variance

    def forward(self, images: Tensor) -> Tensor:
        """The images that their mean codes decode to."""
        return self.decode(self.encode(images)[0])

    def decode(self, codes: Tensor) -> Tensor:
        """Codes [B, latent] -> images [B, C, H, W] in 0..1."""
        images: Tensor = self.decoder(codes).float().sigmoid()
        return images


class VAE(Model):
    """Convolutional variational autoencoder: code size, network, KL weight and its annealing.

    The objective is the evidence lower bound in nats an image, by one code drawn for each, with
    grey values as probabilities of Bernoulli pixels and a KL weight of 1 whatever weight the
    training has: all configurations are compared by one measure.
    """

    task = "image generation"
    objective = Objective("elbo", "maximize")
    datasets = ("digits", "mnist", "fashionmnist", "imagefolder:", "npz:", "hf:")
    image_sides = Sides(most=128)
    n_trials = 20
    epochs = 15
    space = Space(
        lr=Float(5e-4, 2e-2, log=True, default=3e-3, grid=(1e-3, 3e-3, 1e-2), within=RATE),
        weight_decay=Float(1e-4, 1.0, log=True, default=1e-2, grid=(1e-2, 1e-1), within=DECAY),
        batch_size=Choice(64, 32, 128, within=BATCH),
        schedule=Choice("cosine", "onecycle", "constant"),
        latent=Int(4, 32, log=True, default=16, within=WIDTH),
        width=Int(8, 32, log=True, default=16, within=WIDTH),
        depth=Int(2, 3, default=2, within=(1, 6)),
        kernel=Choice(3, 5),
        activation=Choice("relu", "gelu", "silu"),
        dropout=Float(0.0, 0.3, default=0.0, grid=(0.0, 0.1), within=SHARE),
        beta=Float(0.25, 4.0, log=True, default=1.0, grid=(0.5, 1.0, 2.0), within=WEIGHT),
        annealing=Float(0.1, 0.8, default=0.2, grid=(0.2, 0.5), within=POSITIVE),
    )

    def check_data(self, data: Data) -> None:
        super().check_data(data)
        check_pixels(data)

    def build(self, params: Params, data: Data) -> nn.Module:
        check_pixels(data)
        return VAENet(params, data.info["shape"])

    def begin_epoch(self, net: nn.Module, progress: float, params: Params) -> None:
        """The KL weight nears `beta`, of which it lacks 5 % at the share `annealing`."""
        assert isinstance(net, VAENet)
        # From a tenth: variances without a price explode.
        net.kl_weight = params["beta"] * (1 - 0.9 * math.exp(-3 * progress / params["annealing"]))

    def loss(self, net: nn.Module, batch: Split, params: Params) -> Tensor:
        """Negative evidence lower bound with the KL weight, in nats an image."""
        assert isinstance(net, VAENet)
        mean, log_variance = net.encode(batch[0])
        # In eval mode the code is its mean: as with dropout, nothing is drawn then.
        noise = torch.randn_like(mean) if net.training else torch.zeros_like(mean)
        error, kl = bound_terms(net, batch[0], mean, log_variance, noise)
        return (error + net.kl_weight * kl).mean()

    def evaluate(self, net: nn.Module, batches: Iterable[Split], params: Params) -> Metrics:
        """Means over images: elbo and kl in nats, mse a pixel of the mean code's image."""
        rows = self.per_row(net, batches, params)
        return {name: float(rows[name].double().mean()) for name in ("elbo", "kl", "mse")}

    def per_row(
        self, net: nn.Module, batches: Iterable[Split], params: Params
    ) -> dict[str, Tensor]:
        """The metrics of each image [N]; its loss is the negative bound."""
        assert isinstance(net, VAENet)
        generator = torch.Generator().manual_seed(0)
        rows = []
        for images, *_ in batches:
            mean, log_variance = net.encode(images)
            noise = torch.randn(mean.shape, generator=generator).to(mean)
            error, kl = bound_terms(net, images, mean, log_variance, noise)
            mse = (net.decode(mean) - images).square().flatten(1).mean(dim=1)
            rows.append(torch.stack((-error - kl, kl, mse, error + kl)))
        return dict(zip(("elbo", "kl", "mse", "loss"), torch.cat(rows, dim=1), strict=True))

    def show(
        self, net: nn.Module, split: Split, params: Params, info: Mapping[str, Any]
    ) -> Mapping[str, bytes]:
        """reconstructions.png: pairs of a test image and its reconstruction; samples.png."""
        assert isinstance(net, VAENet)
        n = len(split[0])
        images = split[0][torch.linspace(0, n - 1, min(_N_PAIRS, n)).long()]  # of all classes
        pairs = torch.stack((images, net(images)), dim=1).flatten(0, 1)  # [2 N, C, H, W]
        generator = torch.Generator().manual_seed(0)
        codes = torch.randn(_N_SAMPLES, net.latent, generator=generator).to(images)
        return {
            "reconstructions.png": grid_png(pairs, _COLUMNS),
            "samples.png": grid_png(net.decode(codes), _COLUMNS),
        }

    def deployment(self, net: nn.Module, params: Params, info: Mapping[str, Any]) -> Deployment:
        """Graphs `encoder`: images -> mean codes and log-variances; `decoder`: codes -> images."""
        assert isinstance(net, VAENet)
        graphs = {
            "encoder": Graph(
                Part(net, "encode", "decoder"),
                ("images",),
                ("mean", "log_variance"),
                image_example(info),
                rows=first_column,
            ),
            "decoder": Graph(
                Part(net, "decode", "encoder"),
                ("codes",),
                ("images",),
                (torch.randn(3, net.latent, generator=torch.Generator().manual_seed(0)),),
                rows=lambda split: net.encode(split[0])[:1],
            ),
        }
        settings = {**image_settings(info), "latent": net.latent}
        return Deployment("reconstruction", settings, graphs)

    def by_graphs(self, net: nn.Module, graphs: Mapping[str, Call]) -> nn.Module:
        """The bound needs logits, which the decoder's images are turned back to."""
        encode, decode = graphs["encoder"], graphs["decoder"]
        return standing_in(
            net, encode=encode, decode=decode, decoder=lambda codes: decode(codes).logit(_EPSILON)
        )


def bound_terms(
    net: VAENet, images: Tensor, mean: Tensor, log_variance: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor]:
    """Bernoulli reconstruction error and KL divergence from N(0, I), in nats, [B] each.

    Source: Kingma, Welling 2014, equation 10 and appendix B.
    """
    logits = net.decoder(mean + (log_variance / 2).exp() * noise).float()
    error = functional.binary_cross_entropy_with_logits(logits, images, reduction="none")
    kl = (mean.square() + log_variance.exp() - 1 - log_variance) / 2
    return error.flatten(1).sum(dim=1), kl.sum(dim=1)
