"""Pictures with texts: one's own files and what they get wrong, captioner, retrieval."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hpo_models.captioner import Captioner, CaptionNet, word_f1
from hpo_models.contrastive import clip_loss
from hpo_models.datasets import captions
from hpo_models.datasets.captions import BEGIN, END, PAD, UNKNOWN, split_by_hash, texts_of
from hpo_models.retrieval import Retrieval, ranks
from PIL import Image
from torch import Tensor

from hpo import SpecError
from hpo.training.loop import Training, TrainSettings

NOUNS = ("square", "dot", "bar", "cross")


def write(folder: Path, table: str | bytes | None = None, n: int = 12) -> str:
    """Grey pictures that differ, and a table of them unless another is given."""
    for k in range(n):
        Image.new("L", (20, 12), 10 + 7 * k).save(folder / f"{k}.png")
    lines = ["image,caption", *(f"{k}.png,A {NOUNS[k % 4]}; number {k}!" for k in range(n))]
    text = "\n".join(lines) if table is None else table
    (folder / "captions.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(folder)


def test_pictures_and_captions_load_and_no_picture_is_in_two_parts(tmp_path: Path) -> None:
    path = write(tmp_path)
    rows = (tmp_path / "captions.csv").read_text() + "\n0.png,zero again\n"
    Image.open(tmp_path / "1.png").save(tmp_path / "copy.png")
    data = captions.load(write(tmp_path, rows + "copy.png,the first one copied"), 0)
    assert data.test is not None
    splits = (data.train, data.val, data.test)
    assert sum(len(split[0]) for split in splits) == 14
    assert data.train[0].shape[1:] == (1, 12, 20)
    of_version_1 = captions.load(f"{path}?reading=1", 0)
    assert of_version_1.train[0].shape[1:] == (1, 48, 48) and "reading" not in of_version_1.info
    seen = [{float(image.mean()) for image in split[0]} for split in splits]
    assert not seen[0] & seen[1] and not seen[0] & seen[2] and not seen[1] & seen[2]
    texts = [text for split in splits for text in texts_of(split[2])]
    assert "a bar number 2" in texts and "zero again" in texts
    assert all((split[1][:, 0] == BEGIN).all() for split in splits)
    # Words that only held-out rows have are unknown: the vocabulary is of the training rows.
    known = set(data.info["words"])
    for words, text in zip(data.test[1].tolist(), texts_of(data.test[2]), strict=True):
        expected = [word not in known for word in text.split()]
        assert [k == UNKNOWN for k in words[1 : 1 + len(expected)]] == expected
    assert torch.equal(captions.load(path, 0).test[0], data.test[0])  # type: ignore[index]


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("", "lacks the column caption, image"),
        ("file,caption\n0.png,a", r"lacks the column image \(it has file, caption\)"),
        ("image,caption\n", "captions.csv has no rows"),
        ("image,caption\n0.png,a\n1.png,\n", "row 2 of captions.csv lacks an image or words"),
        ("image,caption\n0.png,a\n1.png,!?\n", "row 2 of captions.csv lacks an image or words"),
        ("image,caption\n0.png,a\n1.png,b\n", "2 different images: needs at least 3"),
        ("image,caption\n0.png,a\nnone.png,b\n", "no image 'none.png', which captions.csv names"),
        ("image,caption\n0.png,caf\xe9\n".encode("latin-1"), "captions.csv is not UTF-8"),
        ("image,caption\ncaptions.csv,a\n", "'captions.csv' cannot be read: is not a recognised"),
    ],
)
def test_what_is_wrong_with_a_folder_is_said_in_one_line(
    tmp_path: Path, table: str | bytes, expected: str
) -> None:
    path = write(tmp_path, table)
    with pytest.raises(SpecError, match=expected) as caught:
        captions.load(path, 0)
    problems = caught.value.problems
    assert all("\n" not in problem and problem.startswith("data: ") for problem in problems)
    assert f"data: {path!r}: " in problems[-1]


def test_a_folder_without_table_and_a_cut_off_picture_are_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"holds no captions\.csv"):
        captions.load(str(tmp_path), 0)
    path = write(tmp_path)
    whole = (tmp_path / "3.png").read_bytes()
    (tmp_path / "3.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SpecError, match=r"'3\.png' cannot be read"):
        captions.load(path, 0)


def test_keys_stay_together_and_parts_have_their_sizes() -> None:
    keys = [str(k % 30) for k in range(90)]
    train, val, test = split_by_hash(keys, 4, 5, 0)
    assert (len(train), len(val), len(test)) == (63, 12, 15)
    assert sorted(train + val + test) == list(range(90))
    of = [{keys[row] for row in part} for part in (train, val, test)]
    assert not of[0] & of[1] and not of[1] & of[2] and not of[0] & of[2]


def test_word_f1_counts_words_as_often_as_they_stand() -> None:
    assert word_f1("a b", "a b") == 1.0
    assert word_f1("", "a") == 0.0
    assert word_f1("a a", "a b") == 0.5
    assert word_f1("a", "a b c") == pytest.approx(0.5)


class Scripted(CaptionNet):
    """A captioner whose next words are given: greedy takes `trap`, which leads nowhere likely."""

    FIRST, TRAP, SECOND = 4, 5, 6

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)
        self.words, self.max_words = ["", "", "", "", "first", "trap", "second"], 2
        self.output = torch.nn.Identity()

    def encode(self, images: Tensor) -> Tensor:
        return images

    def decode(self, words: Tensor, features: Tensor) -> Tensor:
        chances = torch.full((len(words), words.shape[1], 7), 1e-6)
        for row, last in zip(chances, words[:, -1].tolist(), strict=True):
            if last == BEGIN:
                row[-1, self.TRAP], row[-1, self.FIRST] = 0.55, 0.45
            elif last == self.TRAP:
                row[-1, self.TRAP : self.SECOND + 1] = row[-1, END] = 1 / 3
            elif last == self.FIRST:
                row[-1, self.SECOND] = 0.99
            else:
                row[-1, END] = 0.99
        return chances.log()


def test_a_beam_finds_the_likelier_caption_that_greedy_search_misses() -> None:
    net = Scripted()
    images = torch.zeros(2, 1)
    assert net.captions(images, 2) == ["first second"] * 2
    assert all(text.startswith("trap") for text in net.captions(images, 1))
    rows = net.generate(images, 2)
    assert (rows[:, 0] == BEGIN).all() and (rows[:, -1] <= END).all()


def test_the_decoders_see_no_later_word(tmp_path: Path) -> None:
    data = captions.load(write(tmp_path), 0)
    for decoder in ("gru", "transformer"):
        params = {**Captioner.space.default(), "decoder": decoder}
        net = Captioner().build(params, data).eval()
        assert isinstance(net, CaptionNet)
        images, words = data.train[0], data.train[1].clone()
        with torch.no_grad():
            before = net(images, words)
            words[:, 3:] = UNKNOWN
            after = net(images, words)
        assert torch.allclose(before[:, :3], after[:, :3], atol=1e-5)
        assert not torch.allclose(before[:, 3:], after[:, 3:], atol=1e-5)


@pytest.mark.parametrize("model", [Captioner(), Retrieval()])
def test_they_learn_one_s_own_pictures_and_show_what_they_make(
    tmp_path: Path, model: Captioner | Retrieval
) -> None:
    data = captions.load(write(tmp_path, n=30), 0)
    params = {**model.space.default(), "batch_size": 8, "dropout": 0.0, "augment": 0.0}
    training = Training(model, params, data, TrainSettings(25))
    losses = [training.run_epoch()["train_loss"] for _ in range(25)]
    assert losses[-1] < 0.7 * losses[0]
    files = training.show(data.test or ())
    assert all(content.startswith(b"\x89PNG") for content in files.values()) and files


def test_ranks_count_from_one_and_ties_against() -> None:
    scores = torch.tensor([[0.9, 0.1, 0.5], [0.2, 0.2, 0.2], [0.3, 0.9, 0.1]])
    assert ranks(scores, torch.eye(3, dtype=torch.bool)).tolist() == [1, 3, 3]
    twins = torch.tensor([[1, 0, 0], [0, 1, 1], [0, 1, 1]], dtype=torch.bool)
    assert ranks(scores, twins).tolist() == [1, 2, 1]


def test_the_contrastive_loss_is_chance_at_equal_scores_and_falls_with_a_match() -> None:
    same = torch.ones(8, 4)
    assert float(clip_loss(same, same, 0.1)) == pytest.approx(math.log(8), abs=1e-5)
    assert float(clip_loss(torch.eye(8), torch.eye(8), 0.1)) < 0.01
    assert PAD == 0  # what EmbeddingBag leaves out
