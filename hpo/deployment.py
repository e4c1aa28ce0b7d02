"""What a model says of its use after training: a task, plain settings, graphs of tensors.

`hpo export` writes it as a bundle, and `hpo.inference` answers from that.  This file must stay
importable without torch.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Graph:
    """One graph of a network's use.

    Attributes:
        module: in eval mode; takes tensors of a common first dimension B and gives one tensor or a
            tuple of them.  Normalisation of numbers is inside.
        inputs: names of the tensors it takes.
        outputs: names of the tensors it gives.
        example: a few rows of each input; B is dynamic.
        dynamic: further dynamic dimensions, by input: `{"words": {1: "n_words"}}`.
        largest: of a further dynamic dimension, by its name, where there is one.
        rows: the inputs that rows of the model's data come to; None: any numbers like the
            example's will do.
    """

    module: nn.Module
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    example: tuple[Tensor, ...]
    dynamic: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    largest: Mapping[str, int] = field(default_factory=dict)
    rows: Callable[[tuple[Tensor, ...]], tuple[Tensor, ...]] | None = None


@dataclass(frozen=True)
class Deployment:
    """How a trained network is used.

    Attributes:
        task: a key of `hpo.inference.answers.TASKS`.
        settings: plain JSON that the task needs: shape, class_names, vocabulary, ...
        graphs: by the names that the task calls them.
        files: what else the task reads, by plain file name: `tokenizer.json`.
    """

    task: str
    settings: Mapping[str, Any]
    graphs: Mapping[str, Graph]
    files: Mapping[str, bytes] = field(default_factory=dict)


Call = Callable[..., Any]
"""A graph that is run by something else than torch: tensors in, a tensor or a tuple of them out."""


def standing_in(net: nn.Module, **calls: Call) -> nn.Module:
    """A copy of a network over the same weights, with methods or parts done by something else.

    Args:
        calls: by the name of a method, or of a module of the network.
    """
    kept = copy.copy(net)
    kept._modules = dict(net._modules)
    for name, call in calls.items():
        kept._modules.pop(name, None)
        kept.__dict__[name] = call
    return kept.eval()


_ROWS, _STEPS = 3, 7
"""In an example; not 1, which torch takes for a constant."""


def classifier_of_images(net: nn.Module, info: Mapping[str, Any]) -> Deployment:
    """Use of a network that maps images [B, C, H, W] in 0..1 to logits [B, n_classes].

    Args:
        info: the data's, with `shape` and perhaps `class_names`.
    """
    graph = Graph(net, ("images",), ("logits",), image_example(info), rows=first_column)
    settings = {**image_settings(info), "class_names": class_names(info)}
    return Deployment("image-classification", settings, {"classifier": graph})


def first_column(split: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Rows of data as a graph's inputs: the first column."""
    return split[:1]


def image_example(info: Mapping[str, Any]) -> tuple[Tensor, ...]:
    """A few random images [B, C, H, W] of the data's shape."""
    import torch

    generator = torch.Generator().manual_seed(0)
    return (torch.rand(_ROWS, *info["shape"], generator=generator),)


def image_settings(info: Mapping[str, Any], resample: str = "bilinear") -> dict[str, Any]:
    """How an image becomes numbers.

    Args:
        info: the data's; `reading`, `fit` and `ranges` say how its pictures were read.
        resample: bilinear or bicubic: how the data's own images were resized.
    """
    read = {name: info[name] for name in ("reading", "fit", "ranges") if name in info}
    return {"input": "image", "shape": list(info["shape"]), "resample": resample, **read}


def classifier_of_texts(net: nn.Module, info: Mapping[str, Any]) -> Deployment:
    """Use of a network that maps codes of characters [B, L] to logits [B, n_classes].

    Args:
        info: the data's, with `vocabulary`, `max_length` and perhaps `class_names`.
    """
    graph = Graph(net, ("codes",), ("logits",), *_codes(info), rows=first_column)
    settings = {**character_settings(info), "class_names": class_names(info)}
    return Deployment("text-classification", settings, {"classifier": graph})


def _codes(info: Mapping[str, Any]) -> tuple[tuple[Tensor, ...], dict[str, dict[int, str]]]:
    """Codes as an example, and their dynamic dimension."""
    import torch

    from hpo.inference.inputs import FIRST

    n_codes = len(info["vocabulary"]) + FIRST
    generator = torch.Generator().manual_seed(0)
    example = torch.randint(0, n_codes, (_ROWS, _STEPS), generator=generator)
    lengths = torch.tensor([[_STEPS], [1], [_STEPS - 2]])
    example = example.clamp_min(FIRST).masked_fill(torch.arange(_STEPS) >= lengths, 0)
    return (example,), {"codes": {1: "length"}}


def character_settings(info: Mapping[str, Any]) -> dict[str, Any]:
    """How a text becomes codes."""
    from hpo.inference.inputs import text_form

    return {
        "input": "characters",
        "vocabulary": info["vocabulary"],
        "max_length": info["max_length"],
        **text_form(info["vocabulary"]),
    }


def classifier_of_numbers(net: nn.Module, info: Mapping[str, Any]) -> Deployment:
    """Use of a network that maps numbers [B, ...] to logits [B, n_classes].

    Args:
        info: the data's, with the `shape` of a row, and its `dtype` if it is not float32.
    """
    graph = Graph(net, ("inputs",), ("logits",), _example(info), rows=first_column)
    settings = {**_number_settings(info), "class_names": class_names(info)}
    return Deployment("tensor-classification", settings, {"classifier": graph})


def network_of_numbers(net: nn.Module, info: Mapping[str, Any]) -> Deployment:
    """Use of a network that maps numbers [B, ...] to one tensor or a tuple of them."""
    import torch

    example = _example(info)
    with torch.no_grad():
        found = net(*example)
    n = len(found) if isinstance(found, tuple | list) else 1
    outputs = ("output",) if n == 1 else tuple(f"output_{k}" for k in range(n))
    graph = Graph(net, ("inputs",), outputs, example, rows=first_column)
    settings = {**_number_settings(info), "outputs": list(outputs)}
    return Deployment("tensors", settings, {"network": graph})


def class_names(info: Mapping[str, Any]) -> list[str]:
    """The classes' names as text; none if the data names none."""
    return [str(name) for name in info.get("class_names") or ()]


def _number_settings(info: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "input": "numbers",
        "shape": list(info["shape"]),
        "dtype": info.get("dtype", "float32"),
    }


def _example(info: Mapping[str, Any]) -> tuple[Tensor, ...]:
    import torch

    dtype: torch.dtype = getattr(torch, info.get("dtype", "float32"))
    generator = torch.Generator().manual_seed(0)
    if dtype.is_floating_point:
        return (torch.rand(_ROWS, *info["shape"], generator=generator).to(dtype),)
    return (torch.zeros(_ROWS, *info["shape"], dtype=dtype),)
