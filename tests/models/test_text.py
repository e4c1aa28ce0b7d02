"""Texts: n-grams that padding does not change, Latin letters, data split without leaks."""

from __future__ import annotations

import pytest
import torch
from hpo_models.cross_lingual import Latin
from hpo_models.datasets import cldr, icons, topics
from hpo_models.text import NGramEncoder, RecurrentEncoder, decode, encode, ngram_ids, vocabulary_of


def test_equal_ngrams_have_equal_ids_and_padding_has_none() -> None:
    codes = encode(["abab", "ab"], "ab", 6)
    ids = ngram_ids(codes, 2)  # of ^abab$ and ^ab$
    assert ids[0, 2, 1] == ids[0, 4, 1] != ids[0, 3, 1]
    assert ids[0, 2, 1] == ids[1, 2, 1]
    assert (ids[1, 4:] == 0).all() and ids[0, 0, 1] == 0
    assert len(set(ids[0, 1:5, 0].tolist())) == 2


@pytest.mark.parametrize("pooling", ["last", "mean", "max"])
def test_padding_changes_nothing(pooling: str) -> None:
    torch.manual_seed(0)
    texts, vocabulary = ["kowalski", "li", ""], vocabulary_of(["kowalski", "li"])
    short, long = (encode(texts, vocabulary, n) for n in (8, 20))
    recurrent = RecurrentEncoder(
        len(vocabulary) + 2,
        cell="gru",
        embedding=8,
        width=8,
        layers=1,
        bidirectional=True,
        dropout=0.0,
        pooling=pooling,  # type: ignore[arg-type]
    )
    for encoder in (recurrent.eval(), NGramEncoder(8, 3, 0.0).eval()):
        assert torch.allclose(encoder(short), encoder(long), atol=1e-6)


def test_every_script_becomes_latin_letters() -> None:
    texts = ["Łódź", "Москва", "Αθήνα"]
    vocabulary = vocabulary_of(texts)
    latin = Latin(vocabulary)(encode(texts, vocabulary, 10))
    assert decode(latin, " abcdefghijklmnopqrstuvwxyz0123456789") == ["lodz", "moskva", "athina"]


def test_no_name_of_an_unseen_language_was_learned() -> None:
    data = cldr.load("", 0)
    assert data.test is not None
    seen = [{tuple(row) for row in split[0].tolist()} for split in (data.train, data.val)]
    tested = [tuple(row) for row in data.test[0].tolist()]
    assert len(set(tested)) == len(tested) > 10_000
    assert not (seen[0] | seen[1]).intersection(tested) and not seen[0] & seen[1]
    # Parallel names are of one kind.
    kind_of = dict(zip(map(tuple, data.train[0].tolist()), data.train[1].tolist(), strict=True))
    others = [tuple(row) for row in data.train[2].tolist()]
    assert all(kind_of.get(o, k) == k for o, k in zip(others, data.train[1].tolist(), strict=True))


def test_topics_hold_every_class_in_every_part() -> None:
    data = topics.load("", 0)
    assert data.test is not None
    for split in (data.train, data.val, data.test):
        assert len(torch.unique(split[1])) == data.info["n_classes"] == 11
    again = topics.load("", 1)
    assert again.test is not None and torch.equal(again.test[0], data.test[0])


def test_common_icons_have_no_word_that_training_lacks_everywhere() -> None:
    data = icons.load_common("", 0)
    assert data.test is not None
    assert len(data.val[0]) == len(data.test[0]) == 500
    assert len(data.info["words"]) < 700


def test_cldr_validates_on_languages_that_training_lacks() -> None:
    from babel import Locale

    data = cldr.load("", 0)
    spanish = set(Locale.parse("es").territories.values())
    texts = [set(decode(split[0], data.info["vocabulary"])) for split in (data.train, data.val)]
    # What is written as in another language stays with that one.
    assert len(texts[1] & spanish) > 100
    assert "Alemania" in texts[1] and "Alemania" not in texts[0]
    assert "Deutschland" in texts[0] and "Германия" in texts[1]
    other = cldr.load("", 1)
    assert "Alemania" in decode(other.train[0], other.info["vocabulary"])


def test_no_part_of_cldr_things_names_what_another_does() -> None:
    data = cldr.load_things("", 0)
    assert data.test is not None
    vocabulary = data.info["vocabulary"]
    of = {}
    for k, split in enumerate((data.train, data.val, data.test)):
        for text, other in zip(
            decode(split[0], vocabulary), decode(split[2], vocabulary), strict=True
        ):
            of[text] = (k, other)
    apart = [(text, other) for text, (k, other) in of.items() if of.get(other, (k,))[0] != k]
    assert len(apart) < 0.005 * len(of)  # names that two things share stand in one part alone
    assert of["Deutschland"][0] == of["Alemania"][0] == of["Almanya"][0]
    again = cldr.load_things("", 1)
    assert again.test is not None
    kept = set(decode(again.test[0], again.info["vocabulary"]))
    assert kept == {text for text, (k, _) in of.items() if k == 2}
