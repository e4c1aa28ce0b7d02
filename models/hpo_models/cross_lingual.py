"""Text classifier for languages that it was not trained on: hashed character n-grams or a GRU.

Source: Bojanowski et al. 2017 (bags of hashed character n-grams); Cho et al. 2014 (GRU); alignment
of parallel texts by Radford et al. 2021's symmetric contrastive loss, as Reimers, Gurevych 2020
align sentences.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hpo.deployment import Deployment, classifier_of_texts
from hpo.extras import need
from hpo.model import Classifier, Data, Params, Split
from hpo.space import Choice, Float, Int, Space
from hpo_models.contrastive import clip_loss
from hpo_models.limits import BATCH, DECAY, LAYERS, RATE, SHARE, WEIGHT, WIDTH
from hpo_models.recurrence import is_exported
from hpo_models.text import PADDING, UNKNOWN, NGramEncoder, RecurrentEncoder, n_codes

_LETTERS = "\0\1 abcdefghijklmnopqrstuvwxyz0123456789"
"""What Latin letters are written with; the first two are padding and unknown."""
_WIDEST = 4
"""Latin letters that one character may become."""
_TEMPERATURE = 0.1


class Latin(nn.Module):
    """Codes [B, L] of any script to codes [B, L'] of lower-case Latin letters, L' <= 4 L."""

    table: Tensor

    def __init__(self, vocabulary: str) -> None:
        super().__init__()
        need("anyascii", "model: cross-lingual")
        from anyascii import anyascii

        rows = [[PADDING], [UNKNOWN]]
        for character in vocabulary:
            plain = anyascii(unicodedata.normalize("NFKD", character)).lower()
            kept = [_LETTERS.index(c) for c in plain if c in _LETTERS][:_WIDEST]
            rows.append(kept if kept or unicodedata.combining(character) else [UNKNOWN])
        table = torch.zeros(len(rows), _WIDEST, dtype=torch.int64)
        for row, codes in zip(table, rows, strict=True):
            row[: len(codes)] = torch.tensor(codes, dtype=torch.int64)
        self.register_buffer("table", table)

    def forward(self, codes: Tensor) -> Tensor:
        letters = self.table[codes].flatten(1)  # [B, 4 L], with gaps
        # Each letter to its number in the row, and gaps to a column that is cut off: ONNX has no
        # sort that keeps an order.
        width, real = letters.shape[1], letters != PADDING
        place = torch.where(real, real.cumsum(dim=1) - 1, width)
        closed = letters.new_zeros(letters.shape[0], width + 1).scatter(1, place, letters)
        letters = closed[:, :width]
        if is_exported() or torch.jit.is_tracing():  # type: ignore[attr-defined,no-untyped-call]
            return letters  # a length that depends on the texts cannot be exported
        return letters[:, : max(1, int((letters != PADDING).sum(dim=1).max()))]


class CrossLingualNet(nn.Module):
    """Codes [B, L] to logits [B, n_classes]; `aligned` is the vector that alignment compares."""

    def __init__(self, params: Params, data: Data) -> None:
        super().__init__()
        vocabulary = data.info["vocabulary"]
        latin = params["letters"] == "latin"
        self.letters = Latin(vocabulary) if latin else nn.Identity()
        size, dropout = params["size"], params["dropout"]
        self.encoder: NGramEncoder | RecurrentEncoder = (
            NGramEncoder(size, params["longest"], params["dropped"])
            if params["encoder"] == "ngrams"
            else RecurrentEncoder(
                len(_LETTERS) if latin else n_codes(vocabulary),
                cell="gru",
                embedding=params["embedding"],
                width=size,
                layers=1,
                bidirectional=True,
                dropout=dropout,
                pooling="max",
            )
        )
        hidden = params["hidden"]
        self.body = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(self.encoder.out_features, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
        )
        self.head = nn.Linear(hidden, data.info["n_classes"])

    def aligned(self, codes: Tensor) -> Tensor:
        vectors: Tensor = self.body(self.encoder(self.letters(codes)))  # [B, hidden]
        return vectors

    def forward(self, codes: Tensor) -> Tensor:
        logits: Tensor = self.head(self.aligned(codes))
        return logits


class CrossLingual(Classifier):
    """Cross-lingual text classifier: character n-grams or GRU, Latin or own letters, alignment."""

    task = "cross-lingual text classification"
    datasets = ("cldr", "cldr-things", "csv:")
    n_trials = 20
    epochs = 10
    additive = False
    space = Space(
        lr=Float(5e-4, 2e-2, log=True, default=4e-3, grid=(2e-3, 4e-3, 8e-3), within=RATE),
        weight_decay=Float(1e-4, 1.0, log=True, default=1e-2, grid=(1e-2, 1e-1), within=DECAY),
        batch_size=Choice(128, 64, 256, within=BATCH),
        schedule=Choice("onecycle", "cosine", "constant"),
        letters=Choice("latin", "own"),
        encoder=Choice("ngrams", "gru"),
        longest=Int(2, 6, default=4, when={"encoder": "ngrams"}, within=LAYERS),
        dropped=Float(
            0.0, 0.6, default=0.3, grid=(0.0, 0.3), when={"encoder": "ngrams"}, within=SHARE
        ),
        embedding=Choice(32, 64, when={"encoder": "gru"}, within=WIDTH),
        size=Int(32, 128, log=True, default=64, within=WIDTH),
        hidden=Int(32, 256, log=True, default=128, within=WIDTH),
        dropout=Float(0.0, 0.6, default=0.3, grid=(0.2, 0.4), within=SHARE),
        label_smoothing=Float(0.0, 0.2, default=0.05, grid=(0.0, 0.1), within=SHARE),
        alignment=Float(0.0, 1.0, default=0.1, grid=(0.0, 0.3), within=WEIGHT),
    )

    def build(self, params: Params, data: Data) -> nn.Module:
        return CrossLingualNet(params, data)

    def loss(self, net: nn.Module, batch: Split, params: Params) -> Tensor:
        """Cross-entropy, and how far names of one thing in two languages are from each other.

        Without a column of parallel texts, as in `csv:`, the cross-entropy alone.
        """
        assert isinstance(net, CrossLingualNet)
        codes, targets, *parallel = batch
        vectors = net.aligned(codes)
        loss = nn.functional.cross_entropy(
            net.head(vectors), targets, label_smoothing=params["label_smoothing"]
        )
        if parallel and params["alignment"]:
            others = net.aligned(parallel[0])
            loss = loss + params["alignment"] * clip_loss(vectors, others, _TEMPERATURE)
        return loss

    def deployment(self, net: nn.Module, params: Params, info: Mapping[str, Any]) -> Deployment:
        return classifier_of_texts(net, info)
