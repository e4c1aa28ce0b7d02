"""Recurrent text classifier over characters.

Source: Elman 1990; Hochreiter, Schmidhuber 1997 (LSTM); Cho et al. 2014 (GRU); names to languages
after Robertson's PyTorch tutorial 2017.
"""

from __future__ import annotations

import torch
from torch import nn

from hpo.model import Classifier, Data, Params, Split
from hpo.space import Choice, Float, Int, Space
from hpo_models.text import PADDING, UNKNOWN, RecurrentEncoder, n_codes

_SHOWN = 40
"""Test rows in the table that `show` writes."""


class RNN(Classifier):
    """Recurrent text classifier: cell, embedding, width, layers, pooling, dropout, optimizer."""

    task = "text classification"
    datasets = ("surnames", "csv:")
    n_trials = 20
    epochs = 15
    space = Space(
        lr=Float(5e-4, 2e-2, log=True, default=4e-3, grid=(1e-3, 4e-3, 1e-2)),
        weight_decay=Float(1e-4, 3e-1, log=True, default=1e-2, grid=(1e-3, 1e-1)),
        batch_size=Choice(64, 32, 128),
        schedule=Choice("onecycle", "cosine", "plateau"),
        grad_clip=Float(0.1, 5.0, log=True, default=1.0, grid=(1.0,)),
        cell=Choice("gru", "lstm", "rnn"),
        embedding=Int(16, 128, log=True, default=64),
        width=Int(32, 256, log=True, default=128),
        layers=Int(1, 2, default=1),
        bidirectional=Choice(True, False),
        pooling=Choice("max", "mean", "last"),
        dropout=Float(0.0, 0.6, default=0.4, grid=(0.2, 0.4)),
        character_dropout=Float(0.0, 0.3, default=0.05, grid=(0.0, 0.1)),
        label_smoothing=Float(0.0, 0.2, default=0.1, grid=(0.0, 0.1)),
    )

    def build(self, params: Params, data: Data) -> nn.Module:
        """A recurrent encoder and one linear layer: codes [B, L] to logits [B, n_classes]."""
        encoder = RecurrentEncoder(
            n_codes(data.info["vocabulary"]),
            cell=params["cell"],
            embedding=params["embedding"],
            width=params["width"],
            layers=params["layers"],
            bidirectional=params["bidirectional"],
            dropout=params["dropout"],
            pooling=params["pooling"],
        )
        return nn.Sequential(encoder, nn.Linear(encoder.out_features, data.info["n_classes"]))

    def prepare(self, batch: Split, params: Params, generator: torch.Generator) -> Split:
        """Hides characters at random, as Iyyer et al. 2015 do with words."""
        codes, targets = batch
        drawn = torch.rand(codes.shape, generator=generator).to(codes.device)
        hidden = (drawn < params["character_dropout"]) & (codes != PADDING)
        return codes.masked_fill(hidden, UNKNOWN), targets
