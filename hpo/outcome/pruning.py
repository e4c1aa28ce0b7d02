"""Weights of a trained network set to zero, or whole channels cut out, and the training after it.

Single weights are zeros in a file of the same size, which packs better and computes no faster.
Channels are cut out where nothing but their own chain of layers knows of them, inside an
`nn.Sequential`: the network is a smaller one then.
Source: Han et al. 2015 (magnitude, with training after it); Li et al. 2017 (channels by L1 norm).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from hpo.deployment import Deployment
from hpo.errors import HpoError, SpecError, TrialError
from hpo.model import Data, Model, Params
from hpo.outcome.graph_formats import as_tuple
from hpo.training.loop import Training, TrainSettings
from hpo.training.session import pick_device

_RATE = 1 / 3
"""Of the learning rate that the network was trained with."""
_TOLERANCE = 1e-3
_Layer = nn.Conv2d | nn.ConvTranspose2d | nn.Linear
_BETWEEN = (
    nn.BatchNorm2d,
    nn.ReLU,
    nn.GELU,
    nn.SiLU,
    nn.LeakyReLU,
    nn.Tanh,
    nn.ELU,
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.Dropout,
    nn.Dropout2d,
    nn.Flatten,
    nn.Identity,
)
"""Layers that treat each channel by itself."""


def prunable(network: nn.Module, deployment: Deployment) -> list[nn.Parameter]:
    """The matrices and kernels that its graphs use, each once."""
    used = {id(p) for graph in deployment.graphs.values() for p in graph.module.parameters()}
    found = {
        id(p): p
        for module in network.modules()
        for name, p in module.named_parameters(recurse=False)
        if id(p) in used and p.dim() >= 2 and name.startswith("weight")
    }
    return list(found.values())


def masks_of(parameters: list[nn.Parameter], share: float) -> list[Tensor]:
    """Which weights stay, 1 or 0: the least of all together go.

    Each counts in shares of its matrix's root mean square: else a layer of small weights, beside a
    table of large ones, would go whole.

    Args:
        share: of the weights that go, 0..1.
    """
    scales = [p.detach().square().mean().sqrt().clamp_min(1e-12) for p in parameters]
    flat = torch.cat([(p / s).detach().flatten() for p, s in zip(parameters, scales, strict=True)])
    mask = _mask(prune.L1Unstructured(amount=share), flat)
    parts = torch.split(mask, [p.numel() for p in parameters])
    return [part.view_as(p) for part, p in zip(parts, parameters, strict=True)]


def _mask(method: prune.BasePruningMethod, weight: Tensor) -> Tensor:
    found: Tensor = method.compute_mask(weight, torch.ones_like(weight))  # type: ignore[no-untyped-call]
    return found


@dataclass(frozen=True)
class Chain:
    """A layer whose channels only the next layer of an `nn.Sequential` knows."""

    layer: _Layer
    between: tuple[nn.Module, ...]
    after: _Layer


def chains(network: nn.Module) -> Iterator[Chain]:
    """Layers whose channels can be cut out, in the order of the network."""
    for module in network.modules():
        if type(module) is not nn.Sequential:
            continue
        layers = list(module)
        for k, layer in enumerate(layers):
            if not _cuttable(layer):
                continue
            rest = layers[k + 1 :]
            n = next((n for n, x in enumerate(rest) if not isinstance(x, _BETWEEN)), None)
            if n is not None and _cuttable(rest[n]) and _plain(rest[:n]):
                yield Chain(layer, tuple(rest[:n]), rest[n])  # type: ignore[arg-type]


def _cuttable(layer: nn.Module) -> bool:
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        return layer.groups == 1 and isinstance(layer.weight, nn.Parameter)
    return type(layer) is nn.Linear


def _plain(between: list[nn.Module]) -> bool:
    """No norm after a Flatten, where its features are no channels."""
    kinds = [type(layer) for layer in between]
    return nn.Flatten not in kinds or nn.BatchNorm2d not in kinds[kinds.index(nn.Flatten) :]


def cut_channels(network: nn.Module, deployment: Deployment, share: float) -> int:
    """Cuts the channels with the least L1 norm out of every chain; in place.

    Args:
        share: of each layer's channels, 0..1; one channel stays.
    Returns:
        How many channels went.
    Raises:
        SpecError: the network has no such chain, or something else knows its channels.
    """
    used = {id(p) for graph in deployment.graphs.values() for p in graph.module.parameters()}
    found = [chain for chain in chains(network) if id(chain.layer.weight) in used]
    if not found:
        raise SpecError(
            "structured: this network has no chain of layers inside an nn.Sequential, whose "
            "channels can be cut out: leave --structured out, and single weights are pruned"
        )
    n_cut = 0
    with torch.no_grad():
        kept = [_kept(chain.layer, share) for chain in found]
        for chain, keep in zip(found, kept, strict=True):
            _silence(chain, keep)
        expected = _outputs(deployment)
        for chain, keep in zip(found, kept, strict=True):
            n_cut += _n_out(chain.layer) - len(keep)
            _cut(chain, keep)
        try:
            alike = all(
                a.shape == b.shape and torch.allclose(a, b, atol=_TOLERANCE, rtol=_TOLERANCE)
                for a, b in zip(expected, _outputs(deployment), strict=True)
            )
        except RuntimeError:  # shapes do not fit any more
            alike = False
    if not alike:
        raise SpecError(
            "structured: other parts of this network know the channels of its layers: leave "
            "--structured out, and single weights are pruned"
        )
    return n_cut


def _outputs(deployment: Deployment) -> list[Tensor]:
    return [
        output
        for graph in deployment.graphs.values()
        for output in as_tuple(graph.module(*graph.example))
    ]


def _out_axis(layer: _Layer) -> int:
    return 1 if isinstance(layer, nn.ConvTranspose2d) else 0


def _n_out(layer: _Layer) -> int:
    return int(layer.weight.shape[_out_axis(layer)])


def _kept(layer: _Layer, share: float) -> Tensor:
    """Places of the channels that stay."""
    axis = _out_axis(layer)
    amount = min(round(share * _n_out(layer)), _n_out(layer) - 1)
    if amount == 0:
        return torch.arange(_n_out(layer))
    mask = _mask(prune.LnStructured(amount=amount, n=1, dim=axis), layer.weight)
    others = [k for k in range(mask.dim()) if k != axis]
    return mask.amax(dim=others).nonzero().flatten()


def _columns(chain: Chain, keep: Tensor) -> Tensor:
    """Places of the next layer's inputs that come from these channels."""
    n_in = int(chain.after.weight.shape[1 - _out_axis(chain.after)])
    each = n_in // _n_out(chain.layer)  # pixels of a channel, where they were flattened
    return (keep[:, None] * each + torch.arange(each)).flatten()


def _silence(chain: Chain, keep: Tensor) -> None:
    """The next layer no longer hears the others, a norm's shift included."""
    axis = 1 - _out_axis(chain.after)
    heard = torch.zeros(chain.after.weight.shape[axis])
    heard[_columns(chain, keep)] = 1
    shape = [-1 if k == axis else 1 for k in range(chain.after.weight.dim())]
    chain.after.weight.mul_(heard.view(shape))


def _cut(chain: Chain, keep: Tensor) -> None:
    columns = _columns(chain, keep)
    layer, after = chain.layer, chain.after
    _select(layer, "weight", keep, _out_axis(layer))
    _select(layer, "bias", keep)
    for norm in chain.between:
        if isinstance(norm, nn.BatchNorm2d):
            for name in ("weight", "bias", "running_mean", "running_var"):
                _select(norm, name, keep)
            norm.num_features = len(keep)
    _select(after, "weight", columns, 1 - _out_axis(after))
    if isinstance(layer, nn.Linear):
        layer.out_features = len(keep)
    else:
        layer.out_channels = len(keep)
    if isinstance(after, nn.Linear):
        after.in_features = len(columns)
    else:
        after.in_channels = len(columns)


def _select(module: nn.Module, name: str, places: Tensor, axis: int = 0) -> None:
    found = getattr(module, name)
    if found is None:
        return
    chosen = found.detach().index_select(axis, places).clone()
    if isinstance(found, nn.Parameter):
        chosen = nn.Parameter(chosen, requires_grad=found.requires_grad)
    setattr(module, name, chosen)


def zero(parameters: list[nn.Parameter], masks: list[Tensor]) -> None:
    """Sets to zero what the masks leave out."""
    with torch.no_grad():
        for parameter, mask in zip(parameters, masks, strict=True):
            parameter.mul_(mask.to(parameter.device))


def fine_tuned(
    network: nn.Module,
    model: Model,
    params: Params,
    data: Data,
    epochs: int,
    kept: tuple[list[nn.Parameter], list[Tensor]] = ((), ()),  # type: ignore[assignment]
    seed: int = 0,
) -> nn.Module:
    """Trains a pruned network on, as it was trained, at a third of the rate, which falls to 0.

    Args:
        network: changed in place.
        data: training and validation rows as `train`, as for its retraining.
        epochs: 0: only what the model fits while it evaluates, such as a probe's head.
        kept: its parameters, and their masks, which hold after every step.
    Raises:
        HpoError: the training diverges.
    """
    adapted = copy.copy(model)
    adapted.build = lambda params, data: network  # type: ignore[method-assign]
    settings = TrainSettings(
        max(1, epochs), seed, pick_device(), threads=torch.get_num_threads(), channels_last=False
    )
    if not epochs:  # or else an average that nobody keeps would be evaluated
        params = {name: value for name, value in params.items() if name != "ema"}
    training = Training(adapted, _slower(params), data, settings)
    for player in training.players.values():
        player.optimizer.register_step_post_hook(lambda *_: zero(*kept))
    try:
        for _ in range(epochs):
            training.run_epoch()
    except TrialError as error:
        raise HpoError(f"fine-tune: {error}: give fewer epochs, or prune less") from None
    adapted.begin_epoch(training.net, 1.0, params)
    training.evaluate(tuple(column[: settings.eval_batch_size] for column in data.train))
    return training.net.cpu().eval()


def _slower(params: Params) -> Mapping[str, Any]:
    rates = {
        name: _RATE * value
        for name, value in params.items()
        if name == "lr" or name.startswith("lr_")
    }
    return {**params, "lr": _RATE * 1e-3, **rates, "schedule": "cosine"}
