"""GRU, LSTM and RNN over padded rows in forms that can be exported with any number of steps.

torch's exporters unroll a recurrent layer to the number of steps of the example, and know no packed
sequences.  In ONNX it is one node a layer, which takes the rows' lengths itself; in torch's own
exported programs it is a scan, which is slow there but whole.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

_N_GATES = {"GRU": 3, "LSTM": 4, "RNN": 1}
_ONNX_ORDER = {"GRU": (1, 0, 2), "LSTM": (0, 3, 1, 2), "RNN": (0,)}
"""torch's gates in the order of ONNX: GRU z, r, n of r, z, n; LSTM i, o, f, g of i, f, g, o."""

State = tuple[Tensor, ...]
"""Hidden state [B, width], and of an LSTM the cell's."""


def is_exported() -> bool:
    """Whether torch is exporting the network now, as ONNX or as its own program."""
    return bool(torch.compiler.is_exporting())


def padded_states(
    layers: nn.RNNBase, vectors: Tensor, lengths: Tensor, start: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """What packed sequences give, by other means.

    Args:
        layers: with batch_first; its dropout is off.
        vectors: [B, L, inputs], padded behind.
        lengths: [B] int64, 1..L.
        start: hidden states before the first step [layers, B, width], of one direction; None: 0.
    Returns:
        States [B, L, directions * width], 0 beyond a row's end, and the last layer's final hidden
        states [B, directions * width].
    """
    run = _onnx_direction if torch.onnx.is_in_onnx_export() else _scanned_direction
    directions = ["", "_reverse"] if layers.bidirectional else [""]
    final: list[Tensor] = []
    for k in range(layers.num_layers):
        first = start[k] if start is not None else None
        found = [run(layers, f"_l{k}{d}", vectors, lengths, first) for d in directions]
        vectors = torch.cat([states for states, _ in found], dim=2)
        final = [last for _, last in found]
    return vectors, torch.cat(final, dim=1)


def _weights(layers: nn.RNNBase, suffix: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    a, b, c, d = (cast(Tensor, getattr(layers, name + suffix)) for name in names)
    return a, b, c, d


def _onnx_direction(
    layers: nn.RNNBase, suffix: str, vectors: Tensor, lengths: Tensor, start: Tensor | None
) -> tuple[Tensor, Tensor]:
    """One direction of one layer as a node of ONNX: states [B, L, width], final [B, width]."""
    kind = type(layers).__name__
    order = _ONNX_ORDER[kind]

    def ordered(tensor: Tensor) -> Tensor:
        gates = tensor.chunk(_N_GATES[kind])
        return torch.cat([gates[k] for k in order])

    of_inputs, of_states, *biases = _weights(layers, suffix)
    attributes: dict[str, int | float | str | bool] = {
        "hidden_size": layers.hidden_size,
        "direction": "reverse" if suffix.endswith("reverse") else "forward",
    }
    if kind == "GRU":
        attributes["linear_before_reset"] = 1
    n_rows, n_steps, width = vectors.shape[0], vectors.shape[1], layers.hidden_size
    n_outputs = 3 if kind == "LSTM" else 2
    states, final, *_ = torch.onnx.ops.symbolic_multi_out(
        kind,
        (
            vectors.transpose(0, 1),
            ordered(of_inputs)[None],
            ordered(of_states)[None],
            torch.cat([ordered(bias) for bias in biases])[None],
            lengths.to(torch.int32),
            start[None] if start is not None else None,
        ),
        attributes,  # type: ignore[arg-type]
        dtypes=[vectors.dtype] * n_outputs,
        shapes=[(n_steps, 1, n_rows, width), *[(1, n_rows, width)] * (n_outputs - 1)],
    )
    return states[:, 0].transpose(0, 1), final[0]


def _scanned_direction(
    layers: nn.RNNBase, suffix: str, vectors: Tensor, lengths: Tensor, start: Tensor | None
) -> tuple[Tensor, Tensor]:
    """One direction of one layer as a scan: states [B, L, width], final [B, width]."""
    from torch._higher_order_ops.scan import scan

    of_inputs, of_states, bias, bias_of_states = _weights(layers, suffix)
    steps = torch.arange(vectors.shape[1])
    inside = steps < lengths[:, None]  # [B, L]
    order = torch.where(inside, lengths[:, None] - 1 - steps, steps)  # each row back to front
    backward = suffix.endswith("reverse")
    if backward:
        vectors = _reordered(vectors, order)
    given = (vectors @ of_inputs.T + bias).transpose(0, 1)  # [L, B, gates * width]
    cell, n_states = _CELLS[type(layers).__name__]
    zeros = vectors.new_zeros(vectors.shape[0], layers.hidden_size)
    before = (zeros if start is None else start.clone(), zeros.clone())[:n_states]

    def step(state: State, row: tuple[Tensor, Tensor]) -> tuple[State, Tensor]:
        numbers, here = row
        after = cell(numbers, state[0] @ of_states.T + bias_of_states, state)
        kept = tuple(torch.where(here, a, b) for a, b in zip(after, state, strict=True))
        return kept, torch.where(here, after[0], torch.zeros_like(after[0]))

    final, states = scan(step, before, (given, inside.T[..., None]), dim=0)
    states = states.transpose(0, 1)
    return _reordered(states, order) if backward else states, final[0]


def _reordered(rows: Tensor, order: Tensor) -> Tensor:
    """Steps of [B, L, D] in the order [B, L]."""
    return rows.gather(1, order[..., None].expand(-1, -1, rows.shape[2]))


def _gru(inputs: Tensor, states: Tensor, before: State) -> State:
    r, z, n = inputs.chunk(3, 1)
    r_state, z_state, n_state = states.chunk(3, 1)
    update = torch.sigmoid(z + z_state)
    new = torch.tanh(n + torch.sigmoid(r + r_state) * n_state)
    return ((1 - update) * new + update * before[0],)


def _lstm(inputs: Tensor, states: Tensor, before: State) -> State:
    i, f, g, o = (inputs + states).chunk(4, 1)
    cell = torch.sigmoid(f) * before[1] + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(cell), cell


def _rnn(inputs: Tensor, states: Tensor, before: State) -> State:
    return (torch.tanh(inputs + states),)


_CELLS: dict[str, tuple[Callable[[Tensor, Tensor, State], State], int]] = {
    "GRU": (_gru, 1),
    "LSTM": (_lstm, 2),
    "RNN": (_rnn, 1),
}
"""One step of a cell, and how many tensors its state has."""
