"""Losses that compare two views of the same rows, [B, D] each."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def nt_xent(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    """Each of the 2 B vectors is to find its other view among the 2 B - 1 others.

    Args:
        temperature: divides the cosines; the smaller, the more the nearest others count.
    Source: Chen et al. 2020 (SimCLR), equation 1.
    """
    both = functional.normalize(torch.cat((a, b)), dim=1)  # [2 B, D]
    logits = (both @ both.T).float() / temperature
    logits.fill_diagonal_(-torch.inf)
    targets = torch.arange(len(both), device=both.device).roll(len(a))
    return functional.cross_entropy(logits, targets)


def clip_loss(a: Tensor, b: Tensor, temperature: float | Tensor) -> Tensor:
    """Each vector of `a` is to find its own among those of `b`, and the other way round.

    Args:
        temperature: divides the cosines; a tensor if it is learned.
    Source: Radford et al. 2021 (CLIP), figure 3.
    """
    a, b = functional.normalize(a, dim=1), functional.normalize(b, dim=1)
    logits = (a @ b.T).float() / temperature  # [B, B]
    targets = torch.arange(len(a), device=a.device)
    there = functional.cross_entropy(logits, targets)
    return (there + functional.cross_entropy(logits.T, targets)) / 2


def vicreg(a: Tensor, b: Tensor, invariance: float, covariance: float) -> Tensor:
    """Equal vectors of both views, dimensions that vary, and that vary independently.

    Args:
        invariance: weight of the mean squared distance between the views.
        covariance: weight of the squared covariances; that of the variance is 25, as in the paper.
    Source: Bardes, Ponce, LeCun 2022, equations 1 to 6.
    """
    a, b = a.float(), b.float()
    spread = functional.relu(1 - _deviation(a)).mean() + functional.relu(1 - _deviation(b)).mean()
    distance = functional.mse_loss(a, b)
    return invariance * distance + 25 * spread + covariance * (_redundancy(a) + _redundancy(b))


def _deviation(vectors: Tensor) -> Tensor:
    """Of each dimension, [D]."""
    return (vectors.var(dim=0) + 1e-4).sqrt()


def _redundancy(vectors: Tensor) -> Tensor:
    """Sum of the squared covariances of different dimensions, divided by their number."""
    squares: Tensor = torch.cov(vectors.T).square()  # [D, D]
    return (squares.sum() - squares.diagonal().sum()) / len(squares)
