"""Generative adversarial network with convolutional generator and discriminator.

Source: Goodfellow et al. 2014; Radford, Metz, Chintala 2016 (DCGAN).  Losses: Lim, Ye 2017 (hinge);
Gulrajani et al. 2017 (Wasserstein with gradient penalty).  Spectral norm: Miyato et al. 2018.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from hpo.deployment import Deployment, Graph
from hpo.model import Data, Metrics, Model, Objective, ParameterGroup, Params, Split
from hpo.reading import Sides
from hpo.space import Choice, Float, Int, Space
from hpo_models.frechet import Judge, classifier_of
from hpo_models.images import check_pixels, feature_shapes
from hpo_models.limits import BATCH, LAYERS, MOMENTUM, RATE, SHARE, WEIGHT, WIDTH
from hpo_models.parts import Part
from hpo_models.pictures import grid_png
from hpo_models.vae import Decoder

N_SAMPLES = 2000
"""Generated images in an evaluation."""
_N_SHOWN, _COLUMNS = 60, 12
_KERNEL = 5


def _discriminator(shape: Sequence[int], params: Params, depth: int) -> nn.Sequential:
    """Images [B, C, H, W] -> logits [B, 1]."""
    norm = params["norm"]
    sizes, channels = feature_shapes(shape, params["width_discriminator"], depth)
    layers: list[nn.Module] = []
    for k in range(depth):
        layers.append(nn.Conv2d(channels[k], channels[k + 1], _KERNEL, 2, _KERNEL // 2))
        if norm == "batch" and k:  # none on the pixels' layer, as in DCGAN
            layers.append(nn.BatchNorm2d(channels[k + 1]))
        layers += [nn.LeakyReLU(0.2), nn.Dropout(params["dropout"])]
    layers += [nn.Flatten(), nn.Linear(channels[-1] * math.prod(sizes[-1]), 1)]
    if norm == "spectral":
        layers = [spectral_norm(x) if hasattr(x, "weight") else x for x in layers]
    return nn.Sequential(*layers)


class GANNet(nn.Module):
    """Generator, discriminator, and who judges the generator.

    Attributes:
        judge: None where the network was built without data, as when it is loaded.
    """

    def __init__(self, params: Params, data: Data) -> None:
        super().__init__()
        shape = data.info["shape"]
        self.latent: int = params["latent"]
        depth = max(2, math.ceil(math.log2(max(shape[1:]) / 8)))  # down to 8 pixels or less
        self.generator = Decoder(
            self.latent, shape, params["width_generator"], depth, _KERNEL, nn.ReLU
        )
        self.discriminator = _discriminator(shape, params, depth)
        self.judge = Judge(classifier_of(data)) if data.train else None

    def forward(self, noise: Tensor) -> Tensor:
        """Noise [B, latent] -> images [B, C, H, W] in 0..1."""
        images: Tensor = self.generator(noise).float().sigmoid()
        return images

    def generate(self, n: int) -> Iterator[Tensor]:
        """n images, in batches, always from the same noise."""
        noise = torch.randn(n, self.latent, generator=torch.Generator().manual_seed(0))
        for part in torch.split(noise.to(next(self.parameters()).device), 250):
            yield self(part)


class GAN(Model):
    """Convolutional generative adversarial network: loss, norm, widths and both learning rates.

    The objective `fid` is a Fréchet distance as in FID, but of the features of a small classifier
    of the same data, not of Inception's: it compares configurations on one data set, and only those
    measured against the same number of real images.
    """

    task = "image generation"
    objective = Objective("fid", "minimize")
    datasets = ("digits", "mnist", "fashionmnist", "imagefolder:", "npz:", "hf:")
    image_sides = Sides(most=128)
    n_trials = 20
    epochs = 15
    additive = False
    space = Space(
        loss=Choice("non-saturating", "hinge", "wgan-gp"),
        penalty=Float(
            1.0, 30.0, log=True, default=10.0, grid=(10.0,), when={"loss": "wgan-gp"}, within=WEIGHT
        ),
        n_critic=Int(1, 3, default=2, when={"loss": "wgan-gp"}, within=LAYERS),
        norm=Choice("batch", "spectral", "none"),
        dropout=Float(0.0, 0.5, default=0.0, grid=(0.0, 0.3), within=SHARE),
        latent=Int(8, 128, log=True, default=64, within=WIDTH),
        width_generator=Int(16, 48, log=True, default=32, within=WIDTH),
        width_discriminator=Int(8, 32, log=True, default=16, within=WIDTH),
        lr_generator=Float(1e-4, 1e-2, log=True, default=5e-4, grid=(5e-4, 2e-3), within=RATE),
        lr_discriminator=Float(1e-4, 1e-2, log=True, default=5e-4, grid=(5e-4, 2e-3), within=RATE),
        beta1=Float(0.0, 0.9, default=0.5, grid=(0.0, 0.5), within=MOMENTUM),
        batch_size=Choice(64, 32, 128, within=BATCH),
        schedule=Choice("constant", "cosine"),
        ema=Choice(0.0, 0.9, 0.97, 0.99, within=MOMENTUM),
        # Batch normalization makes a row's gradient depend on the others, which are not penalised.
        forbidden=[{"loss": "wgan-gp", "norm": "batch"}],
    )

    def check_data(self, data: Data) -> None:
        super().check_data(data)
        check_pixels(data)

    def build(self, params: Params, data: Data) -> nn.Module:
        check_pixels(data)
        return GANNet(params, data)

    def players(self, net: nn.Module, params: Params) -> Mapping[str, Sequence[ParameterGroup]]:
        assert isinstance(net, GANNet)
        return {
            "discriminator": [(net.discriminator.parameters(), 1.0)],
            "generator": [(net.generator.parameters(), 1.0)],
        }

    def losses(self, net: nn.Module, batch: Split, params: Params) -> Iterator[tuple[str, Tensor]]:
        """The discriminator's loss, `n_critic` times with fresh noise, then the generator's."""
        assert isinstance(net, GANNet)
        real, loss = batch[0], params["loss"]

        def generated() -> Tensor:
            images: Tensor = net(torch.randn(len(real), net.latent, device=real.device))
            return images

        for _ in range(params.get("n_critic", 1)):
            images = generated().detach()
            value = discriminator_loss(loss, net.discriminator(real), net.discriminator(images))
            if loss == "wgan-gp":
                penalty = gradient_penalty(net.discriminator, real, images)
                value = value + params["penalty"] * penalty
            yield "discriminator", value
        yield "generator", generator_loss(loss, net.discriminator(generated()))

    def evaluate(self, net: nn.Module, batches: Iterable[Split], params: Params) -> Metrics:
        """Distance to the batches' images, and the variety, of images from fixed noise."""
        assert isinstance(net, GANNet) and net.judge is not None, "built without training data"
        return net.judge.metrics(batches, net.generate(N_SAMPLES))

    def infer(self, net: nn.Module, batch: Split, params: Params) -> Tensor:
        """An image for each row of the batch, from noise."""
        assert isinstance(net, GANNet)
        images: Tensor = net(torch.randn(len(batch[0]), net.latent, device=batch[0].device))
        return images

    def show(
        self, net: nn.Module, split: Split, params: Params, info: Mapping[str, Any]
    ) -> Mapping[str, bytes]:
        """samples.png: generated images."""
        assert isinstance(net, GANNet)
        return {"samples.png": grid_png(torch.cat(list(net.generate(_N_SHOWN))), _COLUMNS)}

    def deployment(self, net: nn.Module, params: Params, info: Mapping[str, Any]) -> Deployment:
        """The generator alone."""
        assert isinstance(net, GANNet)
        noise = torch.randn(3, net.latent, generator=torch.Generator().manual_seed(0))
        part = Part(net, "forward", "discriminator", "judge")
        graphs = {"generator": Graph(part, ("noise",), ("images",), (noise,))}
        return Deployment("generation", {"latent": net.latent}, graphs)


def discriminator_loss(name: str, real: Tensor, generated: Tensor) -> Tensor:
    """The loss of scores [B, 1] of real and of generated images."""
    if name == "non-saturating":
        return functional.softplus(-real).mean() + functional.softplus(generated).mean()
    if name == "hinge":
        return functional.relu(1 - real).mean() + functional.relu(1 + generated).mean()
    return generated.mean() - real.mean()


def generator_loss(name: str, score: Tensor) -> Tensor:
    """The loss of scores [B, 1] of generated images."""
    return (functional.softplus(-score) if name == "non-saturating" else -score).mean()


def gradient_penalty(discriminator: nn.Module, real: Tensor, generated: Tensor) -> Tensor:
    """Squared distance from 1 of the gradient's norm, between real and generated images.

    Source: Gulrajani et al. 2017, algorithm 1.
    """
    share = torch.rand(len(real), 1, 1, 1, device=real.device)
    between = torch.lerp(generated, real, share).requires_grad_()
    score = discriminator(between).sum()
    (gradient,) = torch.autograd.grad(score, between, create_graph=True)
    norms: Tensor = gradient.flatten(1).norm(dim=1)
    return (norms - 1).square().mean()
