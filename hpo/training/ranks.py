"""Data parallelism within one training: every rank takes its share of each batch.

Gradients are averaged over the ranks before a step, so that all of them hold the same weights at
any time: n ranks with batches of B train as one does with batches of n B.  What a network learns
from the batch as a whole it learns from its rank's share: batch normalization, contrastive losses.
Source: Li et al. 2020, PyTorch Distributed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch._utils import _flatten_dense_tensors, _unflatten_dense_tensors


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together."""

    rank: int = 0
    size: int = 1

    @classmethod
    def here(cls) -> Ranks:
        """As torch.distributed was set up in this process; one alone if it was not."""
        if distributed.is_available() and distributed.is_initialized():
            return cls(distributed.get_rank(), distributed.get_world_size())
        return cls()

    def share(self, rows: Tensor) -> Tensor:
        """This rank's part of a batch's row numbers, which `size` divides."""
        return rows.chunk(self.size)[self.rank]

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replaces each gradient by its mean over the ranks."""
        if self.size == 1:
            return
        gradients = []
        for parameter in parameters:
            if parameter.grad is None:  # it may have one elsewhere
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
        flat = _flatten_dense_tensors(gradients)  # type: ignore[no-untyped-call]
        distributed.all_reduce(flat)
        means = _unflatten_dense_tensors(flat / self.size, gradients)  # type: ignore[no-untyped-call]
        for gradient, mean in zip(gradients, means, strict=True):
            gradient.copy_(mean)

    def mean(self, value: Tensor) -> Tensor:
        """The mean over the ranks."""
        if self.size > 1:
            distributed.all_reduce(value)
            value /= self.size
        return value

    def share_buffers(self, net: nn.Module) -> None:
        """Gives every rank the first one's running means, variances and the like."""
        if self.size > 1:
            for buffer in net.buffers():
                distributed.broadcast(buffer, 0)
