"""One's own texts: `csv:PATH`, its splits and what real files get wrong; codes and back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hpo_models.datasets import csv_texts
from hpo_models.text import decode, encode, n_codes, vocabulary_of

from hpo import SpecError


def table(n: int = 40, languages: tuple[str, ...] = ()) -> str:
    lines = ["text,label" + (",lang" if languages else "")]
    for i in range(n):
        language = f",{languages[i % len(languages)]}" if languages else ""
        lines.append(f'"text, number {i} é",{"good" if i // 4 % 2 else "bad"}{language}')
    return "\n".join(lines)


def write(folder: Path, content: str | bytes) -> str:
    path = folder / "texts.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def test_texts_survive_encoding() -> None:
    texts = ["naïve", "", "ß字", "a b"]
    vocabulary = vocabulary_of(texts)
    codes = encode(texts, vocabulary, 6)
    assert codes.shape == (4, 6)
    assert codes.dtype == torch.int64
    assert int(codes.max()) < n_codes(vocabulary)
    assert decode(codes, vocabulary) == texts
    assert decode(encode(["axb"], "ab", 5), "ab") == ["a\ufffdb"]
    assert decode(encode(["abab"], "ab", 2), "ab") == ["ab"]


def test_a_file_is_split_by_class_and_only_by_its_seed(tmp_path: Path) -> None:
    path = write(tmp_path, table())
    data = csv_texts.load(path, 0)
    assert data.test is not None
    splits = (data.train, data.val, data.test)
    assert [len(split[1]) for split in splits] == [28, 6, 6]
    assert [torch.bincount(split[1]).tolist() for split in splits] == [[14, 14], [3, 3], [3, 3]]
    texts = [text for split in splits for text in decode(split[0], data.info["vocabulary"])]
    assert sorted(texts) == sorted(f"text, number {i} é" for i in range(40))
    assert data.info["class_names"] == ["bad", "good"]
    assert data.train[0].shape[1] == data.info["max_length"] == len("text, number 10 é")
    assert torch.equal(csv_texts.load(path, 0).train[0], data.train[0])
    assert not torch.equal(csv_texts.load(path, 1).train[0], data.train[0])
    assert len(data.for_retraining().train[0]) == 34


def test_whole_languages_are_tested(tmp_path: Path) -> None:
    languages = ("de",) * 6 + ("en",) * 6 + ("fr",)
    data = csv_texts.load(write(tmp_path, table(130, languages)), 0)
    assert data.test is not None
    numbers = [int(text.split()[2]) for text in decode(data.test[0], data.info["vocabulary"])]
    assert numbers == [i for i in range(130) if i % 13 == 12]
    assert len(data.val[1]) == 18


def test_of_four_languages_one_validates_and_one_tests(tmp_path: Path) -> None:
    languages = ("de",) * 6 + ("en",) * 6 + ("fr",) * 2 + ("it",)
    data = csv_texts.load(write(tmp_path, table(150, languages)), 0)
    assert data.test is not None
    for split, of in ((data.val, {12, 13}), (data.test, {14})):
        numbers = [int(text.split()[2]) for text in decode(split[0], data.info["vocabulary"])]
        assert numbers == [i for i in range(150) if i % 15 in of]
    assert len(data.train[1]) == 120


def test_two_languages_leave_one_for_training_and_one_is_none(tmp_path: Path) -> None:
    data = csv_texts.load(write(tmp_path, table(40, ("de", "de", "de", "en"))), 0)
    assert data.test is not None
    assert len(data.test[0]) == 10
    data = csv_texts.load(write(tmp_path, table(40, ("de",))), 0)
    assert data.test is not None
    assert len(data.test[0]) == 6


def test_equal_texts_stand_once_and_long_ones_are_cut(tmp_path: Path) -> None:
    rows = [f"{i % 6}{'x' * 600},{'good' if i % 2 else 'bad'}" for i in range(12)]
    data = csv_texts.load(write(tmp_path, "\n".join([table(), *rows])), 0)
    assert data.info["max_length"] == csv_texts.MAX_LENGTH
    assert data.test is not None
    assert sum(len(s[1]) for s in (data.train, data.val, data.test)) == 46


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "is empty: its first line must be text,label"),
        ("text,label\n", "0 rows with 0 different labels"),
        ("sentence,class\na,b", "no column text and no label, only sentence, class"),
        ("text;mood\na;b", "no column label, only text, mood"),
        ("text,label\none, two,a\nthree, four,b", "Expected 2 fields in line 2, saw 3"),
        ("text,label,label\na,b,c", "more than one column 'label'"),
        (table() + "\none,nan", "row 41 has the label 'nan'"),
        ("text\na\nb", "no column label, only text"),
        ("text,label\na,b\nd,e,f,g", "Expected 2 fields in line 3, saw 4: put quotes"),
        (table().encode("latin-1"), "is not UTF-8"),
        (table().replace("good", "bad"), "40 rows with 1 different labels"),
        (table() + "\none,", "row 41 has no label"),
        (table() + "\n ,good", "row 41 has no text"),
        (table(8, ("de", "en")) + "\none,good,", "row 9 has no lang"),
        (table() + "\none,rare\ntwo,rare", "class 'rare' has 2 different texts"),
        (table(39, ("de", "de", "en")) + "\none,x,en\n", "'x' has 0 different texts outside en"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    tmp_path: Path, content: str | bytes, expected: str
) -> None:
    path = write(tmp_path, content)
    with pytest.raises(SpecError, match=expected) as caught:
        csv_texts.load(path, 0)
    assert str(caught.value).startswith(f"data: {path!r}: ")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="No such file"):
        csv_texts.load(str(tmp_path / "none.csv"), 0)
