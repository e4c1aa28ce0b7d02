"""Self-supervised text encoder: two views of a text are to be near, or hidden characters are told.

Source: Chen et al. 2020 (SimCLR), with hidden characters as augmentation, as Gao et al. 2021
(SimCSE) use dropout; Tian et al. 2020 (two descriptions of one thing as views); Devlin et al. 2019
(masked modelling), here of characters; Bojanowski et al. 2017 (character n-grams).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hpo.deployment import Call, Deployment, classifier_of_texts
from hpo.model import Data, Metrics, Model, Objective, Params, Split
from hpo.space import Choice, Float, Int, Space
from hpo_models.contrastive import nt_xent
from hpo_models.limits import BATCH, DECAY, LAYERS, POSITIVE, RATE, SHARE, WIDTH
from hpo_models.probe import Probed, probe
from hpo_models.text import UNKNOWN, NGramEncoder, RecurrentEncoder, decode, hide, n_codes

_TUNED_FROM = 0.75
"""From this share of the training on, the network is fine-tuned too, for what it costs."""
_N_QUERIES, _N_NEAREST = 12, 4
_RECURRENT = ("gru", "lstm")


class SSLTextNet(Probed):
    """Encoder, head for the probe, and what the loss needs: characters or a projection."""

    encoder: NGramEncoder | RecurrentEncoder

    def __init__(self, params: Params, data: Data) -> None:
        codes = n_codes(data.info["vocabulary"])
        encoder: NGramEncoder | RecurrentEncoder = (
            NGramEncoder(params["size"], params["longest"], params["dropped"])
            if params["encoder"] == "ngrams"
            else RecurrentEncoder(
                codes,
                cell=params["encoder"],
                embedding=params["embedding"],
                width=params["size"] // 2,
                layers=params["layers"],
                bidirectional=True,
                dropout=params["dropout"],
                pooling=params["pooling"],
            )
        )
        super().__init__(encoder, encoder.out_features, data)
        outputs = codes if params["method"] == "masked" else params["projected"]
        self.projector = nn.Linear(encoder.out_features, outputs)


class SSLText(Model):
    """Self-supervised text encoder: contrastive or masked, judged by a probe with 10 labels a
    class.

    Where data has two texts of the same thing, as `cldr` has its names in two languages, these are
    the two views; else both are of one text.
    """

    task = "self-supervised learning of texts"
    objective = Objective("probe_accuracy", "maximize")
    datasets = ("cldr-things", "surnames", "topics", "csv:", "hf:")
    n_trials = 20
    epochs = 10
    additive = False
    classifies = True
    space = Space(
        lr=Float(5e-4, 2e-2, log=True, default=3e-3, grid=(1e-3, 3e-3, 1e-2), within=RATE),
        weight_decay=Float(1e-5, 3e-1, log=True, default=1e-2, grid=(1e-3, 1e-1), within=DECAY),
        batch_size=Choice(256, 128, 512, within=BATCH),
        schedule=Choice("onecycle", "cosine", "constant"),
        grad_clip=Float(0.1, 5.0, log=True, default=1.0, grid=(1.0,), within=POSITIVE),
        encoder=Choice("ngrams", *_RECURRENT),
        longest=Int(2, 6, default=4, when={"encoder": "ngrams"}, within=LAYERS),
        dropped=Float(
            0.0, 0.8, default=0.5, grid=(0.3, 0.6), when={"encoder": "ngrams"}, within=SHARE
        ),
        embedding=Int(16, 128, log=True, default=64, when={"encoder": _RECURRENT}, within=WIDTH),
        layers=Int(1, 2, default=1, when={"encoder": _RECURRENT}, within=LAYERS),
        pooling=Choice("max", "mean", "last", when={"encoder": _RECURRENT}),
        dropout=Float(
            0.0, 0.4, default=0.1, grid=(0.1, 0.3), when={"encoder": _RECURRENT}, within=SHARE
        ),
        size=Int(32, 256, log=True, default=128, within=WIDTH),
        method=Choice("contrastive", "masked"),
        temperature=Float(
            0.05,
            1.0,
            log=True,
            default=0.2,
            grid=(0.1, 0.3),
            when={"method": "contrastive"},
            within=POSITIVE,
        ),
        projected=Choice(64, 32, 128, when={"method": "contrastive"}, within=WIDTH),
        hidden=Float(0.02, 0.5, default=0.1, grid=(0.1, 0.25), within=SHARE),
        probe_penalty=Float(
            1e-1, 1e3, log=True, default=30.0, grid=(3.0, 30.0, 300.0), within=POSITIVE
        ),
        # A bag of n-grams has no state at a character to tell it from.
        forbidden=[{"encoder": "ngrams", "method": "masked"}],
    )

    def build(self, params: Params, data: Data) -> nn.Module:
        return SSLTextNet(params, data)

    def prepare(self, batch: Split, params: Params, generator: torch.Generator) -> Split:
        """Texts with hidden characters, and what they are compared with; never the targets."""
        codes, _, *others = batch
        view = hide(codes, params["hidden"], generator)
        if params["method"] == "masked":
            return view, codes
        return view, hide(others[0] if others else codes, params["hidden"], generator)

    def loss(self, net: nn.Module, batch: Split, params: Params) -> Tensor:
        assert isinstance(net, SSLTextNet)
        if params["method"] == "contrastive":
            a, b = net.projector(net.encoder(torch.cat(batch))).chunk(2)  # [B, projected] each
            return nt_xent(a, b, params["temperature"])
        assert isinstance(net.encoder, RecurrentEncoder)
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

    def show(
        self, net: nn.Module, split: Split, params: Params, info: Mapping[str, Any]
    ) -> Mapping[str, bytes]:
        """neighbours.md: test texts and the nearest others in the space of the features."""
        assert isinstance(net, SSLTextNet)
        features = nn.functional.normalize(net.encoder(split[0]), dim=1)
        texts, n = decode(split[0], info["vocabulary"]), len(features)
        classes = [info["class_names"][k] for k in split[1].tolist()]
        lines = ["| text | class | nearest texts |", "|---|---|---|"]
        for query in range(0, n, max(1, n // _N_QUERIES)):
            near = (features @ features[query]).topk(min(1 + _N_NEAREST, n)).indices.tolist()
            named = [f"{texts[k]} ({classes[k]})" for k in near if k != query]
            lines.append(f"| {texts[query]} | {classes[query]} | {', '.join(named)} |")
        return {"neighbours.md": "\n".join(lines).encode() + b"\n"}

    def deployment(self, net: nn.Module, params: Params, info: Mapping[str, Any]) -> Deployment:
        assert isinstance(net, SSLTextNet)
        plain = classifier_of_texts(net, info)
        return net.deployment(plain.graphs["classifier"], plain.settings)

    def by_graphs(self, net: nn.Module, graphs: Mapping[str, Call]) -> nn.Module:
        assert isinstance(net, SSLTextNet)
        return net.by_graph(graphs["encoder"])
