"""What user code may change of NumPy and torch for its whole process."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable

import numpy
import torch

from hpo.training.restore import Restore, attributes, entries, setting, together


def numpy_settings() -> Restore:
    return together(
        setting(numpy.geterr, lambda found: numpy.seterr(**found)),
        setting(numpy.geterrcall, numpy.seterrcall),
        setting(numpy.get_printoptions, lambda found: numpy.set_printoptions(**found)),
    )


def torch_settings() -> Restore:
    """What trains differently; see `_backends` for the rest."""
    return together(
        setting(torch.get_default_dtype, torch.set_default_dtype),
        setting(torch.get_default_device, _set_default_device),
        setting(torch.get_num_threads, torch.set_num_threads),
        setting(torch.is_grad_enabled, torch.set_grad_enabled),
        setting(torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
        setting(
            lambda: (
                torch.are_deterministic_algorithms_enabled(),
                torch.is_deterministic_algorithms_warn_only_enabled(),
            ),
            lambda found: torch.use_deterministic_algorithms(found[0], warn_only=found[1]),
        ),
        setting(_autocast, _set_autocast),
        setting(torch.is_warn_always_enabled, torch.set_warn_always),
        attributes(torch.utils.deterministic, "fill_uninitialized_memory"),
        entries(vars(torch._tensor_str.PRINT_OPTS)),
        lambda: torch.set_flush_denormal(False),  # nobody says how it was
        *(
            entries(value)
            for name, value in vars(torch.nn.modules.module).items()
            if name.startswith("_global_") and isinstance(value, dict)
        ),
    )


def _set_default_device(found: torch.device) -> None:
    torch.set_default_device(None)
    if torch.get_default_device() != found:
        torch.set_default_device(found)


def _autocast() -> list[tuple[str, bool, torch.dtype]]:
    return [
        (kind, torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind))
        for kind in ("cpu", "cuda")
    ]


def _set_autocast(found: list[tuple[str, bool, torch.dtype]]) -> None:
    for kind, enabled, dtype in found:
        torch.set_autocast_enabled(kind, enabled)
        torch.set_autocast_dtype(kind, dtype)


def backends() -> Restore:
    cuda, cudnn = torch.backends.cuda, torch.backends.cudnn
    attention = ("flash", "mem_efficient", "math", "cudnn")
    return together(
        setting(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
        attributes(cudnn, "enabled", "benchmark", "deterministic", "allow_tf32"),
        attributes(
            cuda.matmul,
            "allow_tf32",
            "allow_fp16_reduced_precision_reduction",
            "allow_bf16_reduced_precision_reduction",
        ),
        attributes(torch.backends.mkldnn, "enabled"),
        *(
            setting(getattr(cuda, f"{name}_sdp_enabled"), getattr(cuda, f"enable_{name}_sdp"))
            for name in attention
            if hasattr(cuda, f"{name}_sdp_enabled")
        ),
    )


def process_group() -> Restore:
    """One that the trial made is ended: the next is to be able to make its own."""
    if not torch.distributed.is_available() or torch.distributed.group.WORLD:
        return lambda: None
    group = torch.distributed.group
    return lambda: torch.distributed.destroy_process_group() if group.WORLD else None


def compiled() -> Restore:
    """Compiled code: torch gives up compiling after a few networks, whosoever they were."""

    def restore() -> None:
        dynamo = sys.modules.get("torch._dynamo")
        if dynamo is not None and dynamo.utils.counters:
            dynamo.utils.counters.clear()
            dynamo.reset()

    return restore


def card() -> Restore:
    """The card in use, and memory on it that is kept for later."""

    def restore() -> None:
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            with contextlib.suppress(RuntimeError):  # an error that stays: `leftovers` sees it
                torch.cuda.set_device(0)
                torch.cuda.empty_cache()

    return restore


NUMERIC: tuple[Callable[[], Restore], ...] = (
    numpy_settings,
    torch_settings,
    backends,
    process_group,
    compiled,
    card,
)
