"""Texts become the codes that training has for them."""

from __future__ import annotations

import pytest
import torch
from hpo_models.text import decode, encode

from hpo.errors import InputError
from hpo.inference.inputs import CharacterInput, clean, field_of, text_form
from tests.artifacts import data_of


@pytest.mark.parametrize("name", ["rnn", "ssl-text", "cross-lingual", "finetune"])
def test_every_text_of_the_data_is_read_as_it_was_trained(name: str) -> None:
    data = data_of(name)
    info = data.info
    settings = {k: info[k] for k in ("vocabulary", "max_length")} | text_form(info["vocabulary"])
    reader = CharacterInput(settings)
    codes = data.train[0][:: max(1, len(data.train[0]) // 500)]
    # Where a cut of the training data fell behind a space, the text here would end with it.
    space = encode([" "], info["vocabulary"], 1)[0, 0]
    codes = codes[codes[:, -1] != space]
    texts = decode(codes, info["vocabulary"])
    (found,) = reader.batch([reader.read(0, {"text": text}) for text in texts])
    assert torch.equal(torch.from_numpy(found), codes[:, : found.shape[1]])
    assert not codes[:, found.shape[1] :].any()


def test_other_white_space_and_unknown_characters_are_read() -> None:
    form = text_form("abc ")
    assert clean("  A\t\nB ", **form) == "a b"
    assert clean("e\u0301", lower=False, one_space=True) == "é"
    reader = CharacterInput({"vocabulary": "abc ", "max_length": 4, **form})
    assert reader.read(0, {"text": "Axb c"}) == encode(["a?b "], "abc ", 4)[0].tolist()
    (empty,) = reader.batch([reader.read(0, {"text": ""})])
    assert empty.tolist() == [[0]]


@pytest.mark.parametrize("item", [None, "text", {}, {"image": 1}, {"text": "a", "more": 1}])
def test_an_item_has_the_field_and_no_other(item: object) -> None:
    with pytest.raises(InputError, match=r"input: .*text"):
        field_of(0, item, "text")
