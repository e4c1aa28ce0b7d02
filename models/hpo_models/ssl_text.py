"""Self-supervised text encoder: hidden characters are told from the others, or two views are near.

Source: Devlin et al. 2019 (masked modelling), here of characters; Chen et al. 2020 (SimCLR), with
hidden characters as augmentation, as Gao et al. 2021 (SimCSE) use dropout.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from hpo.model import Data, Metrics, Model, Objective, Params, Split
from hpo.space import Choice, Float, Int, Space
from hpo_models.contrastive import nt_xent
from hpo_models.probe import Probed, probe
from hpo_models.text import UNKNOWN, RecurrentEncoder, hide, n_codes

_TUNED_FROM = 0.75
"""From this share of the training on, the network is fine-tuned too, for what it costs."""


class SSLTextNet(Probed):
    """Encoder, head for the probe, and what the loss needs: characters or a projection."""

    encoder: RecurrentEncoder

    def __init__(self, params: Params, data: Data) -> None:
        codes = n_codes(data.info["vocabulary"])
        encoder = RecurrentEncoder(
            codes,
            cell=params["cell"],
            embedding=params["embedding"],
            width=params["width"],
            layers=params["layers"],
            bidirectional=True,
            dropout=params["dropout"],
            pooling=params["pooling"],
        )
        super().__init__(encoder, encoder.out_features, data)
        outputs = codes if params["method"] == "masked" else params["projected"]
        self.projector = nn.Linear(encoder.out_features, outputs)


class SSLText(Model):
    """Self-supervised text encoder: masked or contrastive, judged by a probe with 10 labels a
    class."""

    task = "self-supervised learning of texts"
    objective = Objective("probe_accuracy", "maximize")
    datasets = ("surnames", "csv:")
    n_trials = 20
    epochs = 20
    additive = False
    space = Space(
        lr=Float(5e-4, 2e-2, log=True, default=5e-3, grid=(2e-3, 5e-3, 1e-2)),
        weight_decay=Float(1e-5, 3e-1, log=True, default=1e-2, grid=(1e-3, 1e-1)),
        batch_size=Choice(128, 64, 256),
        schedule=Choice("onecycle", "cosine", "constant"),
        grad_clip=Float(0.1, 5.0, log=True, default=1.0, grid=(1.0,)),
        method=Choice("masked", "contrastive"),
        temperature=Float(
            0.05, 1.0, log=True, default=0.2, grid=(0.1, 0.3), when={"method": "contrastive"}
        ),
        projected=Choice(64, 32, 128, when={"method": "contrastive"}),
        hidden=Float(0.1, 0.5, default=0.25, grid=(0.15, 0.3)),
        cell=Choice("gru", "lstm"),
        embedding=Int(16, 128, log=True, default=64),
        width=Int(32, 192, log=True, default=96),
        layers=Int(1, 2, default=1),
        pooling=Choice("mean", "max", "last"),
        dropout=Float(0.0, 0.4, default=0.1, grid=(0.1, 0.3)),
        probe_penalty=Float(1e-1, 1e3, log=True, default=30.0, grid=(3.0, 30.0, 300.0)),
    )

    def build(self, params: Params, data: Data) -> nn.Module:
        return SSLTextNet(params, data)

    def prepare(self, batch: Split, params: Params, generator: torch.Generator) -> Split:
        """Texts with hidden characters, and what they are compared with; never the targets."""
        view = hide(batch[0], params["hidden"], generator)
        masked = params["method"] == "masked"
        return view, batch[0] if masked else hide(batch[0], params["hidden"], generator)

    def loss(self, net: nn.Module, batch: Split, params: Params) -> Tensor:
        assert isinstance(net, SSLTextNet)
        if params["method"] == "contrastive":
            a, b = net.projector(net.encoder(torch.cat(batch))).chunk(2)  # [B, projected] each
            return nt_xent(a, b, params["temperature"])
        view, codes = batch
        # The mean over hidden characters; without any, a loss of 0 that still has gradients.
        weights = ((view == UNKNOWN) & (codes != UNKNOWN)).float()  # [B, L]
        logits = net.projector(net.encoder.states(view)).transpose(1, 2)  # [B, n_codes, L]
        losses = nn.functional.cross_entropy(logits, codes, reduction="none")
        return (losses * weights).sum() / weights.sum().clamp_min(1.0)

    def begin_epoch(self, net: nn.Module, progress: float, params: Params) -> None:
        self.progress = progress

    def evaluate(self, net: nn.Module, batches: Iterable[Split], params: Params) -> Metrics:
        """The probe's accuracy and F1, and near the end that of the fine-tuned network."""
        assert isinstance(net, SSLTextNet)
        generator = torch.Generator().manual_seed(0)
        tuned = self.progress >= _TUNED_FROM
        views = (lambda codes: hide(codes, params["hidden"], generator)) if tuned else None
        return probe(net, batches, params["probe_penalty"], views)
