"""Retrieval between images and texts by a dual encoder.

Source: Radford et al. 2021 (CLIP: contrastive loss, learned temperature); Bojanowski et al. 2017
(hashed character n-grams beside words).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from hpo.deployment import (
    Call,
    Deployment,
    Graph,
    first_column,
    image_example,
    image_settings,
    standing_in,
)
from hpo.model import Data, Metrics, Model, Objective, Params, Split
from hpo.space import Choice, Float, Int, Space
from hpo_models.contrastive import clip_loss
from hpo_models.datasets.captions import BEGIN, END, PAD, UNKNOWN, texts_of
from hpo_models.images import ImageEncoder, Tile, augment, tiles_png
from hpo_models.limits import BATCH, BLOCKS, DECAY, POSITIVE, RATE, SHARE, STRENGTH, WIDTH
from hpo_models.parts import Part
from hpo_models.recurrence import is_exported, padded_states

N_BUCKETS = 8192
MAX_SCALE = math.log(100)
N_QUERIES, N_NEAREST = 6, 5


class NGrams(nn.Module):
    """Mean embedding of a text's character n-grams, which are hashed into buckets."""

    powers: Tensor

    def __init__(self, n: int, width: int) -> None:
        super().__init__()
        self.n = n
        powers = [69_069**k % N_BUCKETS for k in range(n)]  # no product beyond 64 bits
        self.register_buffer("powers", torch.tensor(powers), False)
        self.buckets = nn.EmbeddingBag(N_BUCKETS + 1, width, mode="mean", padding_idx=0)

    def forward(self, letters: Tensor) -> Tensor:
        """Code points [B, L], 0 after the end -> [B, width]."""
        ended = functional.pad(letters, (0, self.n))
        n_grams = letters.shape[1] + 1
        grams = torch.stack([ended[:, k : k + n_grams] for k in range(self.n)], 2)  # [B, L + 1, n]
        ids = (grams * self.powers).sum(dim=2) % N_BUCKETS + 1
        return _mean(self.buckets, ids * (grams > 0).all(dim=2))


def _mean(bag: nn.EmbeddingBag, ids: Tensor) -> Tensor:
    """Mean vector of ids [B, L] that are not 0, the padding; 0 if all are."""
    if is_exported():  # a bag would be exported for two rows or more
        real = (ids > 0).to(bag.weight.dtype)
        shares = real / real.sum(dim=1, keepdim=True).clamp_min(1.0)
        return (shares[:, None] @ bag.weight[ids])[:, 0]
    vectors: Tensor = bag(ids)
    return vectors


class TextEncoder(nn.Module):
    """Words as a bag or through a GRU, and character n-grams -> [B, size]."""

    def __init__(self, params: Params, n_words: int) -> None:
        super().__init__()
        width = params["width"]
        self.words: nn.EmbeddingBag | nn.Embedding
        self.gru = nn.GRU(width, width, batch_first=True) if params["text"] == "gru" else None
        if self.gru is None:
            self.words = nn.EmbeddingBag(n_words, width, mode="mean", padding_idx=PAD)
        else:
            self.words = nn.Embedding(n_words, width, padding_idx=PAD)
        self.ngrams = NGrams(params["ngram"], width) if params["ngram"] else None
        self.head = nn.Sequential(
            nn.LayerNorm(width),
            nn.Dropout(params["dropout"]),
            nn.Linear(width, width),
            nn.GELU(),
            nn.Linear(width, params["size"]),
        )

    def forward(self, words: Tensor, letters: Tensor) -> Tensor:
        if self.gru is None:
            assert isinstance(self.words, nn.EmbeddingBag)
            hidden = _mean(self.words, torch.where(words > END, words, PAD))
        else:
            last = (words == END).int().argmax(dim=1)
            if is_exported():
                _, hidden = padded_states(self.gru, self.words(words), last + 1)
            else:
                states, _ = self.gru(self.words(words))  # [B, T, width]
                hidden = states[torch.arange(words.shape[0], device=words.device), last]
        if self.ngrams is not None:
            hidden = hidden + self.ngrams(letters)
        vectors: Tensor = self.head(hidden)
        return vectors


class DualEncoder(nn.Module):
    """Images and texts as unit vectors of one space."""

    def __init__(self, params: Params, info: Mapping[str, Any]) -> None:
        super().__init__()
        self.images = ImageEncoder(info, params["image_width"], params["image_blocks"])
        channels, h, w = self.images.shape
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(params["dropout"]),
            nn.Linear(channels * h * w, params["size"]),
        )
        self.texts = TextEncoder(params, len(info["words"]))
        self.log_scale = nn.Parameter(torch.tensor(-math.log(params["temperature"])))

    def forward(self, images: Tensor, words: Tensor, letters: Tensor) -> tuple[Tensor, Tensor]:
        """[B, C, H, W], [B, T], [B, L] -> unit vectors of the images and of the texts [B, size]."""
        return self.of_images(images), self.of_texts(words, letters)

    def of_images(self, images: Tensor) -> Tensor:
        return functional.normalize(self.head(self.images(images)), dim=1)

    def of_texts(self, words: Tensor, letters: Tensor) -> Tensor:
        return functional.normalize(self.texts(words, letters), dim=1)


class Retrieval(Model):
    """Retrieval between images and texts: dual encoder with a contrastive loss."""

    task = "image-text retrieval"
    objective = Objective("recall_at_10", "maximize")
    datasets = ("icons", "icons-common", "captions:")
    n_trials = 20
    epochs = 12
    additive = False
    space = Space(
        lr=Float(3e-4, 1e-2, log=True, default=2e-3, grid=(1e-3, 2e-3, 4e-3), within=RATE),
        weight_decay=Float(1e-4, 1.0, log=True, default=1e-1, grid=(1e-2, 1e-1), within=DECAY),
        batch_size=Choice(128, 64, 256, within=BATCH),
        schedule=Choice("onecycle", "cosine", "constant"),
        temperature=Float(0.02, 0.2, log=True, default=0.07, grid=(0.07,), within=POSITIVE),
        size=Choice(128, 64, 256, within=WIDTH),
        text=Choice("bag", "gru"),
        ngram=Choice(3, 0, 4),
        width=Choice(128, 64, 256, within=WIDTH),
        image_width=Int(16, 40, log=True, default=32, within=WIDTH),
        image_blocks=Int(0, 2, default=1, within=BLOCKS),
        dropout=Float(0.0, 0.5, default=0.2, grid=(0.1, 0.3), within=SHARE),
        word_dropout=Float(0.0, 0.3, default=0.1, grid=(0.0, 0.1), within=SHARE),
        augment=Float(0.0, 0.2, default=0.08, grid=(0.0, 0.08), within=STRENGTH),
    )

    def build(self, params: Params, data: Data) -> nn.Module:
        return DualEncoder(params, data.info)

    def prepare(self, batch: Split, params: Params, generator: torch.Generator) -> Split:
        """Shifts, turns and scales images; makes some words unknown, as in texts to come."""
        images, words, letters = batch
        draw = torch.rand(words.shape, generator=generator).to(words.device)
        dropped = (draw < params["word_dropout"]) & (words > END)
        words = torch.where(dropped, UNKNOWN, words)
        return augment(images, params["augment"], generator), words, letters

    def loss(self, net: nn.Module, batch: Split, params: Params) -> Tensor:
        """Each image is to find its text among the batch's, and each text its image."""
        assert isinstance(net, DualEncoder)
        of_images, of_texts = net(*batch)
        return clip_loss(of_images, of_texts, (-net.log_scale.clamp(max=MAX_SCALE)).exp())

    def evaluate(self, net: nn.Module, batches: Iterable[Split], params: Params) -> Metrics:
        """Recall at 10 and 1 and the median rank among all rows, means of both directions."""
        both, _, _ = _ranked(net, batches)
        return {
            "recall_at_10": float((both <= 10).double().mean()),
            "recall_at_1": float((both <= 1).double().mean()),
            "median_rank": float(both.median(dim=1).values.mean()),
        }

    def per_row(
        self, net: nn.Module, batches: Iterable[Split], params: Params
    ) -> dict[str, Tensor | list[str]]:
        """Of each row as two queries, among all rows: ranks, recalls, cross-entropy of its own
        text among all texts and of its own image among all images; the nearest text."""
        assert isinstance(net, DualEncoder)
        both, scores, texts = _ranked(net, batches)
        logits = scores * net.log_scale.clamp(max=MAX_SCALE).exp()
        losses = (logits.log_softmax(dim=1) + logits.T.log_softmax(dim=1)).diagonal() / -2
        return {
            "true": texts,
            "predicted": [texts[k] for k in scores.argmax(dim=1).tolist()],
            "text_rank": both[0],
            "image_rank": both[1],
            "recall_at_10": (both <= 10).double().mean(dim=0),
            "recall_at_1": (both <= 1).double().mean(dim=0),
            "loss": losses,
        }

    def show(
        self, net: nn.Module, split: Split, params: Params, info: Mapping[str, Any]
    ) -> Mapping[str, bytes]:
        """neighbours.png: texts and their nearest images, images and their nearest texts."""
        of_images, of_texts = net(*split)
        scores = of_texts @ of_images.T
        names = texts_of(split[2])
        tiles = []
        for query in range(min(N_QUERIES, len(names))):
            tiles.append(Tile(None, [(names[query], "black")]))
            for row in scores[query].topk(min(N_NEAREST, len(names))).indices.tolist():
                frame = "green" if row == query else None
                tiles.append(Tile(split[0][row], [(names[row], "grey")], frame))
        return {"neighbours.png": tiles_png(tiles, columns=1 + N_NEAREST)}

    def deployment(self, net: nn.Module, params: Params, info: Mapping[str, Any]) -> Deployment:
        """Graphs `images` and `texts`: unit vectors of either."""
        assert isinstance(net, DualEncoder)
        words = torch.tensor([[BEGIN, UNKNOWN, END], [BEGIN, END, PAD], [BEGIN, UNKNOWN, END]])
        letters = torch.full((len(words), 7), ord("a"))
        graphs = {
            "images": Graph(
                Part(net, "of_images", "texts"),
                ("images",),
                ("vectors",),
                image_example(info),
                rows=first_column,
            ),
            "texts": Graph(
                Part(net, "of_texts", "images", "head"),
                ("words", "letters"),
                ("vectors",),
                (words, letters),
                {"words": {1: "n_words"}, "letters": {1: "n_letters"}},
                rows=lambda split: split[1:3],
            ),
        }
        settings = {**image_settings(info, resample="bicubic"), "words": info["words"]}
        return Deployment("retrieval", settings, graphs)

    def by_graphs(self, net: nn.Module, graphs: Mapping[str, Call]) -> nn.Module:
        return standing_in(net, of_images=graphs["images"], of_texts=graphs["texts"])


def _ranked(net: nn.Module, batches: Iterable[Split]) -> tuple[Tensor, Tensor, list[str]]:
    """Ranks [2, N] of the texts for each image and of the images for each text, scores [N, N] of
    images and texts, and the texts."""
    rows = [(*net(*batch), batch[0], batch[2]) for batch in batches]
    of_images, of_texts, images, letters = (torch.cat(c) for c in zip(*rows, strict=True))
    relevant = _same(images) | _same(letters)
    scores: Tensor = of_images.float() @ of_texts.float().T
    both = torch.stack((ranks(scores, relevant), ranks(scores.T, relevant.T))).double()
    return both, scores, texts_of(letters)


def ranks(scores: Tensor, relevant: Tensor) -> Tensor:
    """Rank of each query's best relevant candidate, 1 the first; ties count as before it.

    Args:
        scores: [N, N], queries by candidates.
        relevant: [N, N] bool, one or more a row.
    """
    best = scores.masked_fill(~relevant, -torch.inf).amax(dim=1, keepdim=True)
    return 1 + ((scores >= best) & ~relevant).sum(dim=1)


def _same(column: Tensor) -> Tensor:
    """[N, N] bool: whether two rows are equal."""
    _, kind = torch.unique(column.flatten(1), dim=0, return_inverse=True)
    same: Tensor = kind[:, None] == kind
    return same
