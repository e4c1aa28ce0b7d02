"""What the readers take, and what they refuse, of images, numbers and texts."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hpo_models.datasets import captions, imagefolder
from PIL import Image

from hpo.deployment import image_settings
from hpo.errors import InputError
from hpo.inference.images import ImageForm
from hpo.inference.readers import MAX_CHARACTERS, read_image, read_numbers, read_text

SHAPE = (1, 6, 5)


def file_of(image: Image.Image, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def grey(value: int, size: tuple[int, int] = (10, 12)) -> Image.Image:
    return Image.new("L", size, value)


@pytest.mark.parametrize(
    "content",
    [
        file_of(grey(128), "PNG"),
        file_of(grey(128).convert("RGBA"), "PNG"),
        file_of(grey(128).convert("P"), "GIF", save_all=True, append_images=[grey(0).convert("P")]),
        file_of(Image.fromarray(np.full((12, 10), 128 * 257, dtype=np.uint16)), "PNG"),
        file_of(grey(128).convert("RGB").convert("CMYK"), "JPEG", quality=95),
        file_of(grey(128), "WEBP", lossless=True),
        base64.b64encode(file_of(grey(128), "PNG")).decode(),
    ],
    ids=["grey", "alpha", "animation", "16 bits", "CMYK", "webp", "base64"],
)
@pytest.mark.parametrize("version", [1, 2])
def test_pictures_of_every_kind_come_to_the_model_s_shape(
    content: bytes | str, version: int
) -> None:
    image = read_image(0, content, ImageForm(SHAPE, version=version))
    assert image.shape == SHAPE and image.dtype == np.float32
    assert np.allclose(image, 128 / 255, atol=0.02)


def test_a_colour_picture_has_its_channels_first() -> None:
    form = ImageForm((3, 6, 5))
    image = read_image(0, file_of(Image.new("RGB", (5, 6), (255, 0, 51)), "PNG"), form)
    assert np.allclose(image.mean(axis=(1, 2)), [1, 0, 0.2])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"", "is empty"),
        (b"hello", "no format that is known"),
        (file_of(grey(3, (50, 50)), "PNG")[:60], "cannot be decoded"),
        (file_of(Image.new("1", (8000, 8000)), "PNG"), "million"),
        (file_of(Image.new("1", (20000, 20000)), "PNG"), "million"),
        ("no base64!", "base64"),
        ([[0.5] * 5] * 6, r"shape \[6, 5\]"),
        ([[[0.5] * 5] * 5 + [[0.5]]], "ragged"),
        ([[["a"] * 5] * 6], "must be numbers"),
        ([[[float("nan")] * 5] * 6], "NaN"),
        ([[[1e39] * 5] * 6], "infinity"),
        (None, "must be numbers"),
        ({"a": 1}, "must be numbers"),
    ],
)
def test_what_is_no_image_is_refused_with_its_place(value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        read_image(3, value, ImageForm(SHAPE))
    assert error.value.index == 3
    assert "\n" not in str(error.value)


def test_numbers_of_whole_models_are_whole() -> None:
    assert read_numbers(0, [1, 2], (2,), "inputs", "int64").dtype == np.int64
    with pytest.raises(InputError, match="fractions"):
        read_numbers(0, [1.5, 2], (2,), "inputs", "int64")


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("mode", ["L", "RGB", "I;16", "RGBA"])
def test_a_picture_is_read_as_the_training_data_was(
    mode: str, version: int, tmp_path: Path
) -> None:
    draw = np.random.default_rng(0)
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for k in range(3):
            if mode == "I;16":
                picture = Image.fromarray(draw.integers(0, 65536, (60, 45)).astype(np.uint16))
            else:
                n = len(mode)
                pixels = draw.integers(0, 256, (60, 45, n)).astype(np.uint8).squeeze()
                picture = Image.fromarray(pixels, mode)
            picture.save(tmp_path / label / f"{k}.png")
    (tmp_path / "captions.csv").write_text(
        "image,caption\n" + "".join(f"a/{k}.png,picture {'abc'[k]}\n" for k in range(3))
    )
    options = {1: "?reading=1", 2: "?size=24x32"}[version]
    folder = imagefolder.load(f"{tmp_path}{options}", 0)
    captioned = captions.load(f"{tmp_path}{options}", 0)
    files = [file.read_bytes() for file in sorted(tmp_path.rglob("*.png"))]
    for data, resample in ((folder, "bilinear"), (captioned, "bicubic")):
        form = ImageForm.of(image_settings(data.info, resample))
        read = [read_image(0, content, form) for content in files]
        for row in data.train[0].numpy():
            assert min(np.abs(row - image).max() for image in read) < 1e-6
    assert 0.2 < float(folder.train[0].mean()) < 0.6  # not clipped to white


@pytest.mark.parametrize("value", [3, None, "x" * (MAX_CHARACTERS + 1), "a\ud800"])
def test_what_is_no_text_is_refused(value: Any) -> None:
    with pytest.raises(InputError, match="text: "):
        read_text(0, value)
