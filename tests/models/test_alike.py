"""Other data made like the trained one: by names of classes, shape, vocabulary, words."""

from __future__ import annotations

import pytest
import torch
from hpo_models.datasets.alike import as_trained, texts
from hpo_models.datasets.captions import BEGIN, END, UNKNOWN, caption_data
from hpo_models.datasets.split import text_data
from hpo_models.text import decode

from hpo import SpecError

TRAINED = text_data("t", [(["abc", "cab", "bca"], [0, 1, 0])] * 3, ["x", "y"], 3).info


def other(rows: list[str], targets: list[int], names: list[str]):  # type: ignore[no-untyped-def]
    data = text_data("o", [(rows, targets)] * 3, names, 10)
    return data.train, data.info


def test_texts_are_encoded_by_the_networks_own_vocabulary() -> None:
    split, info = other(["bb", "caba", "zb"], [1, 0, 1], ["y", "x"])
    (codes, targets), notes = as_trained(split, info, TRAINED, True)
    assert decode(codes, TRAINED["vocabulary"]) == ["bb", "cab", "\ufffdb"]
    assert codes.shape == (3, 3)
    assert targets.tolist() == [0, 1, 0]  # 1 was x here, which is 0 there
    assert notes == [
        "1 texts were cut to 3 characters, which the network takes.",
        "14.3% of the characters are in no training text, and so unknown.",
    ]
    assert texts(split, info) == ["bb", "caba", "zb"]


def test_only_classes_that_occur_have_to_be_known() -> None:
    split, info = other(["a", "b"], [0, 2], ["x", "never", "y"])
    (_, targets), _ = as_trained(split, info, TRAINED, True)
    assert targets.tolist() == [0, 1]
    split, info = other(["a", "b"], [0, 1], ["x", "z"])
    with pytest.raises(SpecError, match=r"classes 'z' are unknown .* knows x, y"):
        as_trained(split, info, TRAINED, True)
    rows, notes = as_trained(split, info, TRAINED, False)
    assert len(rows) == 1 and "unknown" in notes[0]


@pytest.mark.parametrize(("channels", "taken"), [(1, 3), (3, 1), (3, 3)])
def test_images_get_the_networks_channels_and_size(channels: int, taken: int) -> None:
    trained = {"shape": [taken, 8, 8], "mean": [0.5] * taken, "std": [0.3] * taken}
    images = torch.full((2, channels, 16, 12), 0.25)
    (found,), notes = as_trained((images,), {"shape": [channels, 16, 12]}, trained, True)
    assert found.shape == (2, taken, 8, 8) and found.tolist() == pytest.approx(0.25 * found / found)
    assert notes == [
        f"Images were made {taken}x8x8 of {channels}x16x12, channels by height by width."
    ]
    grey = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    if (channels, taken) == (3, 1):
        (found,), _ = as_trained((grey,), {}, trained, True)
        assert found.mean().item() == pytest.approx(0.299)


def test_what_is_of_another_kind_or_scale_is_refused() -> None:
    trained = {"shape": [1, 8, 8], "mean": [0.13], "std": [0.3]}
    with pytest.raises(SpecError, match="5 channels, and the network takes 1"):
        as_trained((torch.rand(2, 5, 8, 8),), {}, trained, True)
    with pytest.raises(SpecError, match="scale them alike"):
        as_trained((255 * torch.rand(2, 1, 8, 8),), {}, trained, True)
    with pytest.raises(SpecError, match="has no images"):
        as_trained((torch.ones(2, 5, dtype=torch.int64),), {}, trained, True)
    with pytest.raises(SpecError, match="has no texts"):
        as_trained((torch.rand(2, 1, 8, 8),), {}, TRAINED, True)
    with pytest.raises(SpecError, match="has no captions"):
        as_trained((torch.rand(2, 1, 8, 8),), {}, {"words": []}, True)


def test_captions_get_the_networks_words() -> None:
    images = torch.rand(3, 1, 8, 8)
    trained = caption_data("t", images, ["a b", "b", "b a"], [[0, 1, 2], [0], [1]]).info
    data = caption_data("o", torch.rand(3, 3, 16, 16), ["z b", "a", "b a b"], [[0, 1, 2], [0], [1]])
    (pixels, words, letters), notes = as_trained(data.train, data.info, trained, False)
    assert pixels.shape == (3, 1, 8, 8) and torch.equal(letters, data.train[2])
    b, a = trained["words"].index("b"), trained["words"].index("a")
    assert words.tolist() == [[BEGIN, UNKNOWN, b, END], [BEGIN, a, END, 0], [BEGIN, b, a, END]]
    assert notes[1:] == [
        "16.7% of the words are in no training caption.",
        "Captions whose loss is of their first 2 words alone: 1.",
    ]
