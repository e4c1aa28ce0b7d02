"""A part of a network as a module of its own: what is exported of it."""

from __future__ import annotations

import copy
from typing import Any

from torch import nn


class Part(nn.Module):
    """One method of a network as `forward`, over the same weights, without modules it never uses.

    Args:
        method: its name.
        unused: modules of the network that the method does not touch.
    """

    def __init__(self, net: nn.Module, method: str, *unused: str) -> None:
        super().__init__()
        kept = copy.copy(net)
        kept._modules = {name: m for name, m in net._modules.items() if name not in unused}
        self.net, self.method = kept, method
        self.eval()

    def forward(self, *inputs: Any) -> Any:
        return getattr(self.net, self.method)(*inputs)
