"""How pictures are read: options of a reference, the size that fits, what is stored of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from hpo import SpecError
from hpo.outcome.artifact import Artifact
from hpo.outcome.rows import _like
from hpo.reading import (
    Reading,
    Sides,
    as_stored,
    fitting_size,
    reading_of,
    size_of,
    with_reading,
)
from hpo.registry import find_model, load_model
from hpo.storage.meta import StudyMeta
from hpo.study import StudySpec, resolve
from hpo.study_data import StudyData, study_data

CNN = load_model(find_model("cnn"))


def photos(folder: Path, size: tuple[int, int] = (400, 300), n: int = 6) -> str:
    for label in ("cat", "dog"):
        (folder / label).mkdir(parents=True, exist_ok=True)
        for k in range(n):
            Image.new("RGB", size, (40 * k, 9, 9)).save(folder / label / f"{k}.png")
    return f"imagefolder:{folder}"


def test_options_survive_being_written() -> None:
    for reading in (
        Reading((48, 64)),
        Reading((64, 64), "crop", True),
        Reading(version=1),
        Reading(skip_broken=True),
    ):
        reference = with_reading("imagefolder:/what?", reading)
        assert reading_of(reference.partition(":")[2]) == ("/what?", reading)
    assert with_reading("imagefolder:/p?size=64", Reading()) == "imagefolder:/p"
    assert reading_of("/p/what?") == ("/p/what?", None)


@pytest.mark.parametrize("option", ["size=0", "size=axb", "fit=squash", "colour=1", "reading=3"])
def test_an_unknown_option_is_refused_in_one_line(option: str) -> None:
    with pytest.raises(SpecError) as caught:
        reading_of(f"/p?{option}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([(20, 30)] * 3, (20, 30)),  # as they are
        ([(20, 30)] * 3 + [(500, 20)], (20, 30)),  # one that is different changes nothing
        ([(3000, 4000)] * 3, (56, 72)),  # made smaller, aspect kept
        ([(4, 4)] * 3, (8, 8)),
        ([(30, 3000)] * 3, (8, 256)),
        ([(100, 120), (200, 240), (90, 130)], (56, 72)),
    ],
)
def test_the_size_is_the_pictures_own_within_what_the_model_takes(
    sizes: list[tuple[int, int]], expected: tuple[int, int]
) -> None:
    assert fitting_size(sizes, Sides(8, 64, 512)) == expected


def test_a_size_is_a_side_or_height_and_width() -> None:
    assert size_of("64") == (64, 64) and size_of("48x64") == (48, 64)
    for text in ("", "0", "64x", "a", "-3", "64x0"):
        with pytest.raises(SpecError, match=r"image_size: .*must be a side in pixels"):
            size_of(text)


def test_circles_stay_circles_the_size_is_part_of_the_study(tmp_path: Path) -> None:
    data = photos(tmp_path)
    resolved = resolve(StudySpec(model="cnn", data=data))
    assert resolved.data == f"{data}?size=40x56"
    assert resolve(StudySpec(model="cnn", data=resolved.data)).data == resolved.data
    wider = resolve(StudySpec(model="cnn", data=data, image_size="40", skip_broken=True))
    assert wider.data == f"{data}?size=40&skip_broken=1"
    with pytest.raises(SpecError, match="image_size: 4: 4 x 4 pixels: CNN takes images of 8 to"):
        resolve(StudySpec(model="cnn", data=data, image_size="4"))
    with pytest.raises(SpecError, match="image_size: 64 beside data 'digits'"):
        resolve(StudySpec(model="cnn", data="digits", image_size="64"))


def test_small_data_gets_more_epochs_and_digits_what_they_had(tmp_path: Path) -> None:
    resolved = resolve(StudySpec(model="cnn", data=photos(tmp_path)))
    assert resolved.epochs == 8 * CNN.epochs
    assert resolve(StudySpec(model="cnn", data=photos(tmp_path), epochs=3)).epochs == 3
    digits = resolve(StudySpec(model="cnn"))
    assert (digits.epochs, digits.timeout, digits.data) == (CNN.epochs, CNN.timeout_s, "digits")
    mnist = resolve(StudySpec(model="cnn", data="mnist"))
    assert mnist.epochs == CNN.epochs and (mnist.timeout or 0) > 4 * (CNN.timeout_s or 0)
    assert StudyData("own").timeout(CNN, 5) == CNN.timeout_s
    named = resolve(StudySpec(model="cnn", data="mnist", timeout=9))
    assert named.timeout == 9


def test_what_hpo_0_1_0_stored_is_read_as_it_was() -> None:
    assert as_stored("imagefolder:/p") == "imagefolder:/p?reading=1"
    assert as_stored("imagefolder:/p?size=64") == "imagefolder:/p?size=64"
    assert as_stored("digits") == "digits" and as_stored("csv:/a.csv") == "csv:/a.csv"
    stored = {
        "model": "cnn",
        "metric": "accuracy",
        "direction": "maximize",
        "space": CNN.space.to_json(),
        "epochs": 5,
        "seed": 0,
    }
    for before, after in (
        ("captions:/p", "captions:/p?reading=1"),
        ("hf:org/name", "hf:org/name"),  # texts, perhaps
        ("digits", "digits"),
    ):
        assert StudyMeta.from_json({**stored, "data": before}).data == after


def test_other_data_is_read_as_a_network_s_own_was(tmp_path: Path) -> None:
    def like(data: str, own: str, **info: object) -> str:
        artifact = Artifact.__new__(Artifact)
        object.__setattr__(artifact, "data", own)
        object.__setattr__(artifact, "info", {"shape": [3, 24, 32], **info})
        return _like(artifact, data)

    new = {"reading": 2, "fit": "pad"}
    assert like("imagefolder:/q", "imagefolder:/p?size=24x32", **new) == (
        "imagefolder:/q?size=24x32"
    )
    own = "imagefolder:/p?size=24x32&skip_broken=1"
    assert like("imagefolder:/p", own, **new) == own
    assert like("imagefolder:/q", "digits", reading=2) == "imagefolder:/q?size=24x32&fit=stretch"
    assert like("imagefolder:/q", "imagefolder:/p?reading=1") == "imagefolder:/q?reading=1"
    assert like("csv:/a.csv", "digits") == "csv:/a.csv"


def test_a_folder_is_not_looked_at_where_nothing_depends_on_it(tmp_path: Path) -> None:
    data = f"{photos(tmp_path)}?size=64"
    assert study_data(CNN, data, None, False, True).look is None
    assert study_data(CNN, data, None, False, False).look is not None
