"""Characters as numbers and back, and encoders of their sequences: n-grams, recurrent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from hpo_models.recurrence import is_exported, padded_states

PADDING, UNKNOWN = 0, 1
_FIRST = 2
"""The code of a vocabulary's first character."""
N_BUCKETS = 2**15
"""Rows that n-grams are hashed to."""
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


def hide(codes: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Codes [B, L] with that share of the characters, drawn at random, as unknown."""
    drawn = torch.rand(codes.shape, generator=generator).to(codes.device)
    return codes.masked_fill((drawn < share) & (codes != PADDING), UNKNOWN)


def ngram_ids(codes: Tensor, longest: int) -> Tensor:
    """The n-grams of 1 to `longest` characters that end at each character, hashed.

    Args:
        codes: [B, L], padded with 0 behind.
    Returns:
        [B, L + 2, longest] in 0..N_BUCKETS; the text's two ends count as characters, and 0 stands
        where there is no such n-gram.
    Source: Bojanowski et al. 2017.
    """
    ended = functional.pad(codes, (1, 1), value=PADDING)  # [B, L + 2]
    ends = (codes != PADDING).sum(dim=1, keepdim=True) + 1
    # The code of unknown characters marks both ends.
    ended = ended.scatter(1, ends, UNKNOWN).index_fill(1, ends.new_tensor([0]), UNKNOWN)
    hashes, hashed = [], torch.zeros_like(ended)
    for n in range(1, longest + 1):
        # The hash of the n - 1 characters before, then this one.
        before = functional.pad(hashed, (1, 0))[:, :-1]
        hashed = (before * 1_000_003 + ended) % 2_147_483_647
        whole = (ended != PADDING) & (torch.arange(ended.shape[1], device=codes.device) >= n - 1)
        hashes.append(torch.where(whole, 1 + (hashed * 31 + n) % N_BUCKETS, 0))
    return torch.stack(hashes, dim=2)


def decode(codes: Tensor, vocabulary: str) -> list[str]:
    """The texts behind codes [N, L]; a character that was unknown becomes U+FFFD."""
    characters = ["", _REPLACEMENT, *vocabulary]
    return ["".join([characters[code] for code in row]) for row in codes.tolist()]


class NGramEncoder(nn.Module):
    """Codes [B, L] to the sum of the vectors [B, out_features] of their n-grams, by its root.

    Args:
        longest: n-grams of 1 to so many characters.
        dropped: share of the n-grams that a training step leaves out.
        spread: standard deviation of the first vectors.
    """

    def __init__(self, size: int, longest: int, dropped: float, spread: float = 0.1) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(N_BUCKETS + 1, size, mode="sum", padding_idx=0)
        nn.init.normal_(self.bag.weight, std=spread)
        self.longest, self.dropped, self.out_features = longest, dropped, size

    def forward(self, codes: Tensor) -> Tensor:
        ids = ngram_ids(codes, self.longest).flatten(1)
        weight = (ids > 0).to(self.bag.weight.dtype)
        if self.training and self.dropped:
            weight = weight * (torch.rand_like(weight) >= self.dropped)
        weight = weight / weight.sum(dim=1, keepdim=True).clamp_min(1.0).sqrt()
        if is_exported():  # a bag would be exported for two rows or more
            return (weight[:, None] @ self.bag.weight[ids])[:, 0]
        vectors: Tensor = self.bag(ids, per_sample_weights=weight)
        return vectors


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
        if is_exported():
            return self._exported(codes)
        outputs, final, lengths = self._run(codes)
        if self.pooling == "last":
            hidden = cast(Tensor, final[0] if isinstance(final, tuple) else final)
            # [layers * directions, B, width] -> the last layer's [B, directions * width]
            pooled = hidden[-self.n_directions :].transpose(0, 1).flatten(1)
        else:
            states, _ = pad_packed_sequence(outputs, batch_first=True)  # [B, longest, out_features]
            pooled = self._pool(states, lengths)
        return cast(Tensor, self.dropout(pooled))

    def _exported(self, codes: Tensor) -> Tensor:
        """The same without packed sequences."""
        lengths = _lengths(codes)
        states, final = padded_states(self.recurrent, self.embed(codes), lengths)
        return final if self.pooling == "last" else self._pool(states, lengths)

    def states(self, codes: Tensor) -> Tensor:
        """The states [B, L, out_features] at each character, 0 at padding."""
        outputs, _, _ = self._run(codes)
        states, _ = pad_packed_sequence(outputs, batch_first=True, total_length=codes.shape[1])
        return cast(Tensor, self.dropout(states))

    def _run(self, codes: Tensor) -> tuple[PackedSequence, Any, Tensor]:
        """States of all characters, final states of all layers, lengths [B]."""
        lengths = _lengths(codes)
        vectors = self.dropout(self.embed(codes))  # [B, L, embedding]
        packed = pack_padded_sequence(
            vectors, lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        outputs, final = self.recurrent(packed)
        return outputs, final, lengths

    def _pool(self, states: Tensor, lengths: Tensor) -> Tensor:
        """Mean or maximum of states [B, L, D] over each row's own length."""
        if self.pooling == "mean":
            return states.sum(1) / lengths[:, None]  # beyond a row's end they are 0
        steps = torch.arange(states.shape[1], device=states.device)
        beyond = steps >= lengths[:, None]
        return states.masked_fill(beyond[..., None], float("-inf")).amax(1)


def _lengths(codes: Tensor) -> Tensor:
    """Characters of each row of codes [B, L]; an empty text is one padding long."""
    return (codes != PADDING).sum(1).clamp_min(1)
