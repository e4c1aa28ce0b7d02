"""Mixed precision: the autocast context and, for fp16, the gradient scaler."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from hpo.errors import SpecError

_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Precision:
    """fp32, bf16, or fp16 with loss scaling (GPU only).

    Raises:
        SpecError: unknown name, or fp16 on a CPU.
    Source: Micikevicius et al. 2018, Mixed Precision Training.
    """

    def __init__(self, name: str, device: str) -> None:
        if name not in ("fp32", *_TYPES):
            raise SpecError(f"precision: {name!r} is unknown: choose from fp32, bf16, fp16")
        if name == "fp16" and not device.startswith("cuda"):
            raise SpecError(f"precision: fp16 needs a GPU, this is {device}: use bf16 or fp32")
        self.name = name
        self.device_type = device.partition(":")[0]
        self.scaler = torch.amp.GradScaler("cuda", enabled=name == "fp16")

    def autocast(self) -> AbstractContextManager[object]:
        """Context of the forward pass and the loss."""
        if self.name == "fp32":
            return nullcontext()
        return torch.autocast(self.device_type, dtype=_TYPES[self.name])

    def backward(self, loss: Tensor, inputs: list[nn.Parameter] | None = None) -> None:
        """Accumulates gradients of `inputs` (None: of all that the loss depends on), scaled in
        fp16."""
        self.scaler.scale(loss).backward(inputs=inputs)  # type: ignore[no-untyped-call]

    def step(
        self,
        optimizer: torch.optim.Optimizer,
        parameters: list[nn.Parameter],
        max_norm: float | None,
    ) -> None:
        """Clips, steps and clears the gradients."""
        if max_norm is not None:
            self.scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(parameters, max_norm)
        self.scaler.step(optimizer)
        self.scaler.update()
        optimizer.zero_grad(set_to_none=True)
