"""Characters as numbers and back, and a recurrent encoder of their sequences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

PADDING, UNKNOWN = 0, 1
_FIRST = 2
"""The code of a vocabulary's first character."""
_REPLACEMENT = "\ufffd"

Cell = Literal["gru", "lstm", "rnn"]
Pooling = Literal["last", "mean", "max"]


def vocabulary_of(texts: Iterable[str]) -> str:
    """Every character that occurs, once, in the order of Unicode."""
    return "".join(sorted(set().union(*texts)))


def n_codes(vocabulary: str) -> int:
    """How many codes there are: the characters, padding and unknown."""
    return len(vocabulary) + _FIRST


def encode(texts: Sequence[str], vocabulary: str, max_length: int) -> Tensor:
    """Texts as codes [N, max_length] int64: cut to that length, or padded with 0 behind.

    A character that the vocabulary lacks gets the code 1.
    """
    code_of = {character: code for code, character in enumerate(vocabulary, start=_FIRST)}
    rows = torch.full((len(texts), max_length), PADDING)
    for row, text in zip(rows, texts, strict=True):
        codes = [code_of.get(character, UNKNOWN) for character in text[:max_length]]
        row[: len(codes)] = torch.tensor(codes, dtype=torch.int64)
    return rows


def decode(codes: Tensor, vocabulary: str) -> list[str]:
    """The texts behind codes [N, L]; a character that was unknown becomes U+FFFD."""
    characters = ["", _REPLACEMENT, *vocabulary]
    return ["".join([characters[code] for code in row]) for row in codes.tolist()]


class RecurrentEncoder(nn.Module):
    """Codes [B, L], of different lengths, to one vector [B, out_features] a row.

    Sequences are packed: padding costs nothing and changes nothing.

    Args:
        n_codes: of the vocabulary.
        embedding: dimensions of a character's vector.
        width: of the hidden state in each direction.
        dropout: of the characters' vectors, between layers, and of the result.
        pooling: the last state of each direction, or the mean or maximum over all states.
    Source: Elman 1990; Hochreiter, Schmidhuber 1997 (LSTM); Cho et al. 2014 (GRU).
    """

    def __init__(
        self,
        n_codes: int,
        *,
        cell: Cell,
        embedding: int,
        width: int,
        layers: int,
        bidirectional: bool,
        dropout: float,
        pooling: Pooling,
    ) -> None:
        super().__init__()
        self.embed = nn.Embedding(n_codes, embedding, padding_idx=PADDING)
        self.dropout = nn.Dropout(dropout)
        self.recurrent = {"gru": nn.GRU, "lstm": nn.LSTM, "rnn": nn.RNN}[cell](
            embedding,
            width,
            layers,
            batch_first=True,
            dropout=dropout if layers > 1 else 0.0,
            bidirectional=bidirectional,
        )
        self.pooling = pooling
        self.n_directions = 2 if bidirectional else 1
        self.out_features = width * self.n_directions

    def forward(self, codes: Tensor) -> Tensor:
        lengths = (codes != PADDING).sum(1).clamp_min(1)  # an empty text is one padding long
        vectors = self.dropout(self.embed(codes))  # [B, L, embedding]
        packed = pack_padded_sequence(
            vectors, lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        outputs, final = self.recurrent(packed)
        if self.pooling == "last":
            hidden = cast(Tensor, final[0] if isinstance(final, tuple) else final)
            # [layers * directions, B, width] -> the last layer's [B, directions * width]
            pooled = hidden[-self.n_directions :].transpose(0, 1).flatten(1)
        else:
            states, _ = pad_packed_sequence(outputs, batch_first=True)  # [B, longest, out_features]
            pooled = self._pool(states, lengths)
        return cast(Tensor, self.dropout(pooled))

    def _pool(self, states: Tensor, lengths: Tensor) -> Tensor:
        """Mean or maximum of states [B, L, D] over each row's own length."""
        if self.pooling == "mean":
            return states.sum(1) / lengths[:, None]  # beyond a row's end they are 0
        steps = torch.arange(states.shape[1], device=states.device)
        beyond = steps >= lengths[:, None]
        return states.masked_fill(beyond[..., None], float("-inf")).amax(1)
