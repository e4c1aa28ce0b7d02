"""Image captioner: convolutional encoder, GRU or Transformer decoder with attention to the image.

Source: Xu et al. 2015 (attention over the feature map); Vaswani et al. 2017 (Transformer).
"""

from __future__ import annotations

from collections import Counter
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
from hpo_models.datasets.captions import BEGIN, END, PAD, UNKNOWN, texts_of
from hpo_models.decoders import GRUDecoder, TransformerDecoder
from hpo_models.images import ImageEncoder, Tile, augment, tiles_png
from hpo_models.limits import BATCH, BLOCKS, DECAY, LAYERS, RATE, SHARE, STRENGTH, WIDTH
from hpo_models.parts import Part

N_SHOWN = 24
"""Test rows in the picture."""


class CaptionNet(nn.Module):
    """Next-word logits of captions, given their images."""

    def __init__(self, params: Params, info: Mapping[str, Any]) -> None:
        super().__init__()
        width, dropout, n_words = params["width"], params["dropout"], len(info["words"])
        self.words: list[str] = info["words"]
        self.max_words: int = info["max_words"]
        self.encoder = ImageEncoder(info, params["image_width"], params["image_blocks"])
        channels, h, w = self.encoder.shape
        self.places = nn.Parameter(0.02 * torch.randn(h * w, width))
        self.project = nn.Linear(channels, width)
        self.embed = nn.Sequential(
            nn.Embedding(n_words, params["embedding"]),
            nn.Dropout(dropout),
            nn.Linear(params["embedding"], width),
        )
        self.decoder: nn.Module = (
            GRUDecoder(width, params["layers"], dropout)
            if params["decoder"] == "gru"
            else TransformerDecoder(width, params["layers"], dropout, self.max_words + 2)
        )
        self.output = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, n_words))

    def encode(self, images: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, P, width]: a feature for each place of the image."""
        features: Tensor = self.project(self.encoder(images).flatten(2).transpose(1, 2))
        return features + self.places

    def decode(self, words: Tensor, features: Tensor) -> Tensor:
        """Words [B, T] so far, features [B, P, width] -> states [B, T, width]."""
        states: Tensor = self.decoder(self.embed(words), features)
        return states

    def forward(self, images: Tensor, words: Tensor) -> Tensor:
        """Images [B, C, H, W], words [B, T] -> logits of each next word [B, T, n_words]."""
        logits: Tensor = self.output(self.decode(words, self.encode(images)))
        return logits

    def next_word(self, words: Tensor, features: Tensor) -> Tensor:
        """Words [B, T] so far, features [B, P, width] -> logits of the next one [B, n_words]."""
        logits: Tensor = self.output(self.decode(words, features)[:, -1])
        return logits

    def generate(self, images: Tensor, beam: int) -> Tensor:
        """Captions by beam search, the best by mean log probability of its words.

        Args:
            images: [B, C, H, W].
            beam: captions that are followed at a time; 1: always the likeliest word.
        Returns:
            [B, T] words, from BEGIN to END, then PAD.
        """
        features = self.encode(images)
        n = len(images)
        words = torch.full((n, 1, 1), BEGIN, device=images.device)
        scores = torch.zeros(n, 1, device=images.device)
        for _ in range(self.max_words + 1):
            n_beams = words.shape[1]
            logits = self.next_word(words.flatten(0, 1), features.repeat_interleave(n_beams, 0))
            logits[:, [PAD, BEGIN, UNKNOWN]] = -torch.inf
            gains = logits.float().log_softmax(1).view(n, n_beams, -1)
            ended = (words[:, :, -1:] == END) | (words[:, :, -1:] == PAD)
            only_pad = torch.full_like(gains[0, 0], -torch.inf)
            only_pad[PAD] = 0.0
            totals = scores[:, :, None] + torch.where(ended, only_pad, gains)
            n_words = totals.shape[2]
            scores, best = totals.flatten(1).topk(min(beam, n_words), dim=1)
            origin = (best // n_words)[:, :, None].expand(-1, -1, words.shape[2])
            words = torch.cat([words.gather(1, origin), best[:, :, None] % n_words], dim=2)
            if (words[:, :, -1] <= END).all():
                break
        lengths = (words != PAD).sum(dim=2) - 1
        chosen = (scores / lengths).argmax(dim=1)
        return words[torch.arange(n, device=words.device), chosen]

    def captions(self, images: Tensor, beam: int) -> list[str]:
        """The texts that `generate` finds."""
        return [
            " ".join(self.words[k] for k in row if k > UNKNOWN)
            for row in self.generate(images, beam).tolist()
        ]


def word_f1(predicted: str, true: str) -> float:
    """F1 of the words, as multisets."""
    a, b = predicted.split(), true.split()
    common = sum((Counter(a) & Counter(b)).values())
    return 2 * common / (len(a) + len(b))


class Captioner(Model):
    """Image captioner: GRU or Transformer decoder with attention over a convolutional map."""

    task = "image captioning"
    objective = Objective("word_f1", "maximize")
    datasets = ("icons-common", "icons", "captions:")
    n_trials = 20
    epochs = 12
    space = Space(
        lr=Float(3e-4, 1e-2, log=True, default=2e-3, grid=(1e-3, 2e-3, 4e-3), within=RATE),
        weight_decay=Float(1e-4, 1.0, log=True, default=1e-1, grid=(1e-2, 1e-1), within=DECAY),
        batch_size=Choice(64, 32, 128, within=BATCH),
        schedule=Choice("onecycle", "cosine", "constant"),
        decoder=Choice("gru", "transformer"),
        embedding=Choice(64, 32, 128, within=WIDTH),
        width=Choice(192, 128, 256, within=WIDTH),
        layers=Int(1, 3, default=1, within=LAYERS),
        image_width=Int(16, 40, log=True, default=32, within=WIDTH),
        image_blocks=Int(0, 2, default=1, within=BLOCKS),
        dropout=Float(0.0, 0.5, default=0.2, grid=(0.1, 0.3), within=SHARE),
        label_smoothing=Float(0.0, 0.2, default=0.1, grid=(0.0, 0.1), within=SHARE),
        augment=Float(0.0, 0.2, default=0.08, grid=(0.0, 0.08), within=STRENGTH),
        beam=Choice(3, 1, 5, within=(1, 20)),
    )

    def build(self, params: Params, data: Data) -> nn.Module:
        return CaptionNet(params, data.info)

    def prepare(self, batch: Split, params: Params, generator: torch.Generator) -> Split:
        """Shifts, turns and scales the images; never mirrors them, for names say left and right."""
        return augment(batch[0], params["augment"], generator), *batch[1:]

    def loss(self, net: nn.Module, batch: Split, params: Params) -> Tensor:
        """Cross-entropy of the next word, mean over a row's words, then over rows."""
        images, words, _ = batch
        losses = _word_losses(net, images, words, params["label_smoothing"])
        return (losses.sum(dim=1) / (words[:, 1:] != PAD).sum(dim=1)).mean()

    def evaluate(self, net: nn.Module, batches: Iterable[Split], params: Params) -> Metrics:
        """Word F1 and exact matches are means over rows; chrF and BLEU are 0..100, of all rows."""
        import sacrebleu

        rows = self.per_row(net, batches, params)
        predicted, true = rows["predicted"], rows["true"]
        return {
            "word_f1": float(rows["word_f1"].mean()),
            "exact": float(rows["exact"].mean()),
            "chrf": sacrebleu.corpus_chrf(predicted, [true]).score,
            "bleu": sacrebleu.corpus_bleu(predicted, [true]).score,
            "loss": float((rows["loss"] * rows["n_words"]).sum() / rows["n_words"].sum()),
        }

    def per_row(self, net: nn.Module, batches: Iterable[Split], params: Params) -> dict[str, Any]:
        """Both captions, their word F1, whether they are equal; mean loss and number of words."""
        assert isinstance(net, CaptionNet)
        predicted: list[str] = []
        true: list[str] = []
        losses, n_words = [], []
        for images, words, letters in batches:
            losses.append(_word_losses(net, images, words, 0.0).double().sum(dim=1))
            n_words.append((words[:, 1:] != PAD).double().sum(dim=1))
            predicted += net.captions(images, params["beam"])
            true += texts_of(letters)
        pairs = list(zip(predicted, true, strict=True))
        return {
            "true": true,
            "predicted": predicted,
            "word_f1": torch.tensor([word_f1(*pair) for pair in pairs], dtype=torch.float64),
            "exact": torch.tensor([a == b for a, b in pairs], dtype=torch.float64),
            "loss": torch.cat(losses) / torch.cat(n_words),
            "n_words": torch.cat(n_words),
        }

    def infer(self, net: nn.Module, batch: Split, params: Params) -> list[str]:
        """The images' captions."""
        assert isinstance(net, CaptionNet)
        return net.captions(batch[0], params["beam"])

    def show(
        self, net: nn.Module, split: Split, params: Params, info: Mapping[str, Any]
    ) -> Mapping[str, bytes]:
        """captions.png: images, their captions in black and the network's in colour.

        Green is the caption itself, orange has a word of it, red has none.
        """
        assert isinstance(net, CaptionNet)
        images, _, letters = (column[:N_SHOWN] for column in split)
        tiles = []
        predictions = net.captions(images, params["beam"])
        for image, true, predicted in zip(images, texts_of(letters), predictions, strict=True):
            score = word_f1(predicted, true)
            colour = "green" if predicted == true else "darkorange" if score else "firebrick"
            tiles.append(Tile(image, [(true, "black"), (predicted, colour)]))
        return {"captions.png": tiles_png(tiles, columns=6)}

    def deployment(self, net: nn.Module, params: Params, info: Mapping[str, Any]) -> Deployment:
        """Graphs `encoder`: images -> features of places; `decoder`: words so far -> the next."""
        assert isinstance(net, CaptionNet)
        images = image_example(info)
        with torch.no_grad():
            features = net.encode(images[0])
        words = torch.full((len(features), net.max_words), BEGIN)
        encoder = Part(net, "encode", "decoder", "embed", "output")
        decoder = Part(net, "next_word", "encoder", "project")
        graphs = {
            "encoder": Graph(encoder, ("images",), ("features",), images, rows=first_column),
            "decoder": Graph(
                decoder,
                ("words", "features"),
                ("logits",),
                (words, features),
                {"words": {1: "n_words"}},
                {"n_words": net.max_words + 2},
                rows=lambda split: (split[1][:, :-1], net.encode(split[0])),
            ),
        }
        settings = {
            **image_settings(info, resample="bicubic"),
            "words": net.words,
            "max_words": net.max_words,
            "beam": params["beam"],
        }
        return Deployment("captioning", settings, graphs)

    def by_graphs(self, net: nn.Module, graphs: Mapping[str, Call]) -> nn.Module:
        encode, next_word = graphs["encoder"], graphs["decoder"]

        def logits(images: Tensor, words: Tensor) -> Tensor:
            features = encode(images)
            steps = range(1, words.shape[1] + 1)
            return torch.stack([next_word(words[:, :k], features) for k in steps], dim=1)

        return standing_in(net, encode=encode, next_word=next_word, forward=logits)


def _word_losses(net: nn.Module, images: Tensor, words: Tensor, smoothing: float) -> Tensor:
    """Cross-entropy of each word after BEGIN [B, T - 1], 0 at padding."""
    longest = int((words != PAD).sum(dim=1).max())
    words = words[:, :longest]
    logits = net(images, words[:, :-1]).transpose(1, 2)  # [B, n_words, T - 1]
    return functional.cross_entropy(
        logits, words[:, 1:], ignore_index=PAD, label_smoothing=smoothing, reduction="none"
    )
