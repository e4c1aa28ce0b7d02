"""Decoders of word sequences that attend to features of what is described.

Source: Xu et al. 2015 (attention over a feature map); Vaswani et al. 2017 (Transformer).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from hpo_models.recurrence import is_exported, padded_states

N_HEADS = 4


class GRUDecoder(nn.Module):
    """GRU that starts from the mean feature and attends to the features after each word."""

    def __init__(self, width: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.start = nn.Linear(width, width)
        self.gru = nn.GRU(
            width, width, layers, batch_first=True, dropout=dropout if layers > 1 else 0.0
        )
        self.query = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, words: Tensor, features: Tensor) -> Tensor:
        """Words [B, T, width], features [B, P, width] -> states [B, T, width]."""
        start = torch.tanh(self.start(features.mean(dim=1)))
        first = start.expand(self.gru.num_layers, -1, -1).contiguous()
        if is_exported():
            lengths = words.new_full((words.shape[0],), words.shape[1], dtype=torch.int64)
            states, _ = padded_states(self.gru, words, lengths, first)
        else:
            states, _ = self.gru(words, first)
        query = self.query(states)
        if is_exported():  # ONNX wants the heads, of which there is one
            one = features[:, None]
            context = functional.scaled_dot_product_attention(query[:, None], one, one)[:, 0]
        else:
            context = functional.scaled_dot_product_attention(query, features, features)
        normed: Tensor = self.norm(states + context)
        return normed


class TransformerDecoder(nn.Module):
    """Transformer decoder with learned positions."""

    def __init__(self, width: int, layers: int, dropout: float, max_length: int) -> None:
        super().__init__()
        self.positions = nn.Parameter(0.02 * torch.randn(max_length, width))
        layer = nn.TransformerDecoderLayer(
            width, N_HEADS, 2 * width, dropout, batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerDecoder(layer, layers, nn.LayerNorm(width))

    def forward(self, words: Tensor, features: Tensor) -> Tensor:
        """Words [B, T, width], features [B, P, width] -> states [B, T, width]."""
        n = words.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(n, device=words.device)
        states: Tensor = self.layers(
            words + self.positions[:n], features, tgt_mask=mask, tgt_is_causal=True
        )
        return states
