"""Recurrent text classifier over characters.

Source: Elman 1990; Hochreiter, Schmidhuber 1997 (LSTM); Cho et al. 2014 (GRU); names to languages
after Robertson's PyTorch tutorial 2017; a linear part beside a deep one, Cheng et al. 2016.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hpo.deployment import Deployment, classifier_of_texts
from hpo.model import Classifier, Data, Params, Split
from hpo.space import Choice, Float, Int, Space
from hpo_models.limits import BATCH, DECAY, LAYERS, POSITIVE, RATE, SHARE, WIDTH
from hpo_models.text import NGramEncoder, RecurrentEncoder, hide, n_codes


class RNNNet(nn.Module):
    """Codes [B, L] to logits [B, n_classes]: a recurrent encoder and, beside it, n-grams."""

    def __init__(self, params: Params, data: Data) -> None:
        super().__init__()
        n_classes = data.info["n_classes"]
        self.encoder = RecurrentEncoder(
            n_codes(data.info["vocabulary"]),
            cell=params["cell"],
            embedding=params["embedding"],
            width=params["width"],
            layers=params["layers"],
            bidirectional=params["bidirectional"],
            dropout=params["dropout"],
            pooling=params["pooling"],
        )
        self.head = nn.Linear(self.encoder.out_features, n_classes)
        longest = params["longest"]
        self.wide = NGramEncoder(n_classes, longest, params["dropped"], 0.0) if longest else None

    def forward(self, codes: Tensor) -> Tensor:
        logits: Tensor = self.head(self.encoder(codes))
        return logits if self.wide is None else logits + self.wide(codes)


class RNN(Classifier):
    """Recurrent text classifier: cell, embedding, width, layers, pooling, dropout, optimizer."""

    task = "text classification"
    datasets = ("surnames", "topics", "csv:", "hf:")
    n_trials = 20
    epochs = 20
    space = Space(
        lr=Float(5e-4, 3e-2, log=True, default=8e-3, grid=(2e-3, 8e-3, 2e-2), within=RATE),
        weight_decay=Float(1e-4, 3e-1, log=True, default=1e-2, grid=(1e-3, 1e-1), within=DECAY),
        batch_size=Choice(64, 32, 128, within=BATCH),
        schedule=Choice("onecycle", "cosine", "plateau"),
        grad_clip=Float(0.1, 5.0, log=True, default=1.0, grid=(1.0,), within=POSITIVE),
        cell=Choice("gru", "lstm", "rnn"),
        longest=Choice(4, 0, 3, 5),
        dropped=Float(
            0.0, 0.8, default=0.3, grid=(0.0, 0.3), when={"longest": (3, 4, 5)}, within=SHARE
        ),
        embedding=Int(16, 128, log=True, default=64, within=WIDTH),
        width=Int(32, 256, log=True, default=128, within=WIDTH),
        layers=Int(1, 2, default=1, within=LAYERS),
        bidirectional=Choice(True, False),
        pooling=Choice("max", "mean", "last"),
        dropout=Float(0.0, 0.6, default=0.4, grid=(0.2, 0.4), within=SHARE),
        character_dropout=Float(0.0, 0.3, default=0.05, grid=(0.0, 0.1), within=SHARE),
        label_smoothing=Float(0.0, 0.2, default=0.1, grid=(0.0, 0.1), within=SHARE),
    )

    def build(self, params: Params, data: Data) -> nn.Module:
        return RNNNet(params, data)

    def prepare(self, batch: Split, params: Params, generator: torch.Generator) -> Split:
        """Hides characters at random, as Iyyer et al. 2015 do with words."""
        codes, targets = batch
        return hide(codes, params["character_dropout"], generator), targets

    def deployment(self, net: nn.Module, params: Params, info: Mapping[str, Any]) -> Deployment:
        return classifier_of_texts(net, info)
