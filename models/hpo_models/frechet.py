"""How generated images differ from real ones, by a classifier trained on the real ones.

Source: Heusel et al. 2017 (Fréchet distance of features); its network is Inception, trained on
photographs, so that figures here compare with each other and with no published FID.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from hpo.model import Data, Metrics, Split
from hpo_models.cnn import Normalize

_N_FEATURES = 64
_LARGEST = 32
"""Sides of larger images are pooled to so many pixels."""
_MAX_STEPS, _EPOCHS, _BATCH = 250, 8, 64
_COVERED = 0.2
"""A class is covered if it has this part of its share among the real images."""


class ImageClassifier(nn.Module):
    """Images [B, C, H, W] to features [B, 64], standardised on the training rows, and logits."""

    def __init__(self, data: Data) -> None:
        super().__init__()
        channels, height, width = data.info["shape"]
        layers: list[nn.Module] = [
            Normalize(data.info["mean"], data.info["std"]),
            nn.AdaptiveAvgPool2d((min(height, _LARGEST), min(width, _LARGEST))),
        ]
        for n_maps in (16, 32, _N_FEATURES):
            layers += [
                nn.Conv2d(channels, n_maps, 3, padding=1, bias=False),
                nn.MaxPool2d(2),
                nn.BatchNorm2d(n_maps),
                nn.ReLU(),
            ]
            channels = n_maps
        self.features = nn.Sequential(
            *layers,
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.BatchNorm1d(_N_FEATURES, affine=False),
        )
        self.head = nn.Linear(_N_FEATURES, data.info["n_classes"])

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(images))
        return logits


_trained: dict[str, ImageClassifier] = {}


def classifier_of(data: Data) -> ImageClassifier:
    """The classifier of the training rows, the same one each time; trained once per process."""
    images, targets = (column.cpu().contiguous() for column in data.train)
    digest = hashlib.sha256(images.numpy().data)
    digest.update(targets.numpy().data)
    key = digest.hexdigest()
    if key not in _trained:
        with torch.random.fork_rng(devices=[]):  # the caller's draws are to stay the same
            torch.manual_seed(0)
            _trained[key] = _train(ImageClassifier(data), images, targets)
    return _trained[key]


def _train(net: ImageClassifier, images: Tensor, targets: Tensor) -> ImageClassifier:
    n_steps = min(_MAX_STEPS, _EPOCHS * -(-len(images) // _BATCH))
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=n_steps)
    for _ in range(n_steps):
        rows = torch.randint(len(images), (_BATCH,))
        loss = functional.cross_entropy(net(images[rows]), targets[rows])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return net.eval().requires_grad_(False)


@dataclass(frozen=True)
class Judge:
    """Compares images with real ones.  No module: a network that holds it does not save it."""

    classifier: ImageClassifier

    def metrics(self, real: Iterable[Split], generated: Iterable[Tensor]) -> Metrics:
        """How far the generated images are from the real ones, and how varied they are.

        Args:
            real: (images [B, C, H, W], targets [B]) by batch.
            generated: images by batch.
        Returns:
            fid: Fréchet distance of the features; to shift one of them by its deviation adds 1.
            coverage: share of the classes among the real images that are among the generated
                ones with at least a fifth of their share (2 % where there are ten).
            classes: effective number of classes generated, the exponential of the entropy.
        """
        pairs = [(self._features(images), targets) for images, targets in real]
        real_features, targets = (torch.cat(column) for column in zip(*pairs, strict=True))
        features = torch.cat([self._features(images) for images in generated])
        predicted = self.classifier.head(features).argmax(dim=1)
        n_classes = self.classifier.head.out_features
        of_real = torch.bincount(targets.cpu(), minlength=n_classes) / len(targets)
        of_generated = torch.bincount(predicted.cpu(), minlength=n_classes) / len(predicted)
        occurs = of_real > 0
        covered = of_generated[occurs] >= _COVERED * of_real[occurs]
        return {
            "fid": frechet_distance(real_features, features),
            "coverage": float(covered.double().mean()),
            "classes": float(torch.special.entr(of_generated).sum().exp()),
        }

    def _features(self, images: Tensor) -> Tensor:
        classifier = self.classifier.to(images.device)
        with torch.autocast(images.device.type, enabled=False):  # one measure in any precision
            features: Tensor = classifier.features(images.float())
        return features


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Squared Fréchet distance of the Gaussians fitted to two sets of features.

    |m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)), the trace of the root by eigenvalues.

    Args:
        a, b: [N, D] and [M, D], N and M at least 2.
    Returns:
        nan if a feature is not finite: a generator may diverge.
    Source: Dowson, Landau 1982; Heusel et al. 2017.
    """
    a, b = a.double().cpu(), b.double().cpu()
    if not (torch.isfinite(a).all() and torch.isfinite(b).all()):
        return float("nan")
    shift = (a.mean(dim=0) - b.mean(dim=0)).square().sum()
    cov_a, cov_b = torch.cov(a.T), torch.cov(b.T)
    root = torch.linalg.eigvals(cov_a @ cov_b).sqrt().real.sum()
    return float(shift + cov_a.trace() + cov_b.trace() - 2 * root)
