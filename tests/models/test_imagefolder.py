"""One's own picture files: layouts, sizes, what is broken, deep pixels, orientation, memory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hpo_models.datasets import imagefolder
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from hpo import SpecError

Draw = np.random.default_rng(0)


def write_images(root: Path, n: int = 6, mode: str = "RGB", ending: str = "png") -> str:
    for label, colour in (("cat", 40), ("dog", 200)):
        (root / label).mkdir(parents=True, exist_ok=True)
        for i in range(n):
            pixels = (colour + i,) * len(mode) if mode == "RGB" else colour + i
            Image.new(mode, (20 + i, 30), pixels).save(root / label / f"{i}.{ending}")
    return str(root)


def write_arrays(root: Path, make: Callable[[], NDArray[Any]], ending: str = "tif") -> str:
    for label in ("cat", "dog"):
        (root / label).mkdir(parents=True)
        for k in range(6):
            Image.fromarray(make()).save(root / label / f"{k}.{ending}")
    return str(root)


def test_a_folder_of_images_loads_and_names_its_rows(tmp_path: Path) -> None:
    data = imagefolder.load(write_images(tmp_path), 0)
    assert data.info["class_names"] == ["cat", "dog"]
    assert data.train[0].shape[1:] == (3, 32, 24)
    assert data.train[0][data.train[1] == 0].mean() < data.train[0][data.train[1] == 1].mean()
    assert data.test is not None
    for part, split in (("train", data.train), ("val", data.val), ("test", data.test)):
        labels = [name.partition("/")[0] for name in data.names[part]]
        assert labels == [data.info["class_names"][k] for k in split[1].tolist()]
    assert len({name for names in data.names.values() for name in names}) == 12
    assert data.for_search().names == data.names


def test_grey_images_stay_grey(tmp_path: Path) -> None:
    assert imagefolder.load(write_images(tmp_path, mode="L"), 0).info["shape"] == [1, 32, 24]


def test_circles_stay_circles(tmp_path: Path) -> None:
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        for k in range(3):
            image = Image.new("L", (200, 100))
            ImageDraw.Draw(image).ellipse((60 + k, 10, 140 + k, 90), fill=255)
            image.save(tmp_path / label / f"{k}.png")
    for options in ("", "?size=64", "?size=40x64&fit=crop", "?size=30"):
        (image, *_), _ = imagefolder.load(f"{tmp_path}{options}", 0).train
        circle = image[0] > 0.5
        height, width = int(circle.any(dim=1).sum()), int(circle.any(dim=0).sum())
        assert abs(height - width) <= 1 and height > 8, options
    squashed = imagefolder.load(f"{tmp_path}?reading=1", 0).train[0][0, 0] > 0.5
    assert int(squashed.any(dim=1).sum()) > 1.5 * int(squashed.any(dim=0).sum())


def test_every_broken_file_is_listed_and_may_be_skipped(tmp_path: Path) -> None:
    path = write_images(tmp_path)
    (tmp_path / "dog" / "0.png").write_bytes(b"no image")
    (tmp_path / "cat" / "1.png").write_bytes((tmp_path / "cat" / "1.png").read_bytes()[:60])
    (tmp_path / "cat" / "2.png").write_bytes(b"")
    (tmp_path / "cat" / "link.png").symlink_to("nowhere.png")
    with pytest.raises(SpecError) as caught:
        imagefolder.load(path, 0)
    *lines, last = caught.value.problems
    assert [line.partition("'")[2].partition("'")[0] for line in lines] == [
        "cat/1.png",
        "cat/2.png",
        "cat/link.png",
        "dog/0.png",
    ]
    assert "4 of 13 pictures cannot be read" in last and "--skip-broken" in last
    data = imagefolder.load(f"{path}?skip_broken=1", 0)
    assert sum(map(len, data.names.values())) == 9
    assert any("Skips 4 unreadable files: cat/1.png" in n for n in data.notes)


def test_too_few_images_of_a_class_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="0 class folders"):
        imagefolder.load(str(tmp_path), 0)
    path = write_images(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "a.heicx").write_bytes(b"x")
    with pytest.raises(SpecError, match=r"'empty' holds 0 images.*1 \.heicx.*at least 3"):
        imagefolder.load(path, 0)


def test_hidden_files_are_passed_over_and_unreadable_formats_counted(tmp_path: Path) -> None:
    path = write_images(tmp_path)
    for name in ("._1.png", ".DS_Store", "Thumbs.db", "desktop.ini"):
        (tmp_path / "cat" / name).write_bytes(b"\0\5\x16\7")
    (tmp_path / "__MACOSX" / "cat").mkdir(parents=True)
    (tmp_path / "__MACOSX" / "cat" / "._1.png").write_bytes(b"\0\5\x16\7")
    for name in ("a.svg", "b.svg", "c.raw"):
        (tmp_path / "dog" / name).write_bytes(b"<svg/>")
    data = imagefolder.load(path, 0)
    assert sum(map(len, data.names.values())) == 12 and data.info["n_classes"] == 2
    (note,) = (note for note in data.notes if "Passed over" in note)
    assert "2 .svg, 1 .raw." in note


@pytest.mark.parametrize(
    ("names", "n_val", "n_test"),
    [
        (("train", "val", "test"), 8, 8),
        (("Training", "validation", "testing"), 8, 8),
        (("train", "dev"), 8, 2),
        (("train", "test"), 2, 8),
        (("train",), 2, 2),
    ],
)
def test_train_val_and_test_are_splits_and_no_classes(
    tmp_path: Path, names: tuple[str, ...], n_val: int, n_test: int
) -> None:
    for k, name in enumerate(names):
        write_images(tmp_path / name, n=8 if k == 0 else 4)
    data = imagefolder.load(str(tmp_path), 0)
    assert data.info["class_names"] == ["cat", "dog"] and data.test is not None
    assert (len(data.val[1]), len(data.test[1])) == (n_val, n_test)
    assert all(name.startswith(f"{names[0]}/") for name in data.names["train"])
    assert abs(imagefolder.look(str(tmp_path)).n_train - len(data.train[1])) <= 1


def extra_class(root: Path) -> None:
    write_images(root / "train"), write_images(root / "test")
    (root / "test" / "dog").rename(root / "test" / "dogs")


def nested(root: Path) -> None:
    write_images(root)
    (root / "cat" / "more").mkdir()
    (root / "cat" / "0.png").rename(root / "cat" / "more" / "0.png")


def unlabelled(root: Path) -> None:
    write_images(root / "train")
    (root / "test").mkdir()
    Image.new("L", (9, 9)).save(root / "test" / "0.png")


def no_train(root: Path) -> None:
    write_images(root / "val"), write_images(root / "test")


def twice(root: Path) -> None:
    write_images(root / "train"), write_images(root / "val"), write_images(root / "valid")


def empty_class(root: Path) -> None:
    write_images(root / "train"), write_images(root / "val")
    for file in (root / "val" / "dog").iterdir():
        file.unlink()


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (extra_class, "class 'dog' is in train and not in test"),
        (nested, "class folder 'cat' holds images in a folder of its own, '.*more'"),
        (lambda root: write_images(root / "data"), "holds one folder, 'data'.*name that one"),
        (unlabelled, "test' holds images outside class folders"),
        (no_train, "must hold one train"),
        (twice, "must hold one train, at most one val"),
        (empty_class, "class 'dog' holds 0 images in val: needs at least 1"),
    ],
)
def test_other_layouts_are_refused_by_name(
    tmp_path: Path, make: Callable[[Path], None], expected: str
) -> None:
    make(tmp_path)
    with pytest.raises(SpecError, match=expected) as caught:
        imagefolder.load(str(tmp_path), 0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "ending", "ranges"),
    [
        (lambda: Draw.random((20, 30)).astype("f4"), "tif", {"wide": [0, 1]}),
        (lambda: (Draw.random((20, 30)) * 255).astype("f4"), "tif", {"wide": [0, 255]}),
        (lambda: Draw.integers(0, 60000, (20, 30)).astype("i4"), "tif", {"wide": [0, 65535]}),
        (lambda: Draw.integers(0, 4096, (20, 30)).astype("u2"), "png", {"16": [0, 4095]}),
        (lambda: Draw.integers(0, 65536, (20, 30)).astype("u2"), "png", {"16": [0, 65535]}),
    ],
    ids=["floats", "floats of 0..255", "int32", "12 bits", "16 bits"],
)
def test_deep_pixels_keep_their_range(
    tmp_path: Path, make: Callable[[], NDArray[Any]], ending: str, ranges: dict[str, list[float]]
) -> None:
    data = imagefolder.load(write_arrays(tmp_path, make, ending), 0)
    assert data.info["ranges"] == ranges
    pixels = data.train[0]
    assert 0.4 < float(pixels.mean()) < 0.6 and float(pixels.max()) > 0.9
    assert len(pixels.unique()) > 1000  # and not 16 levels


def test_pixels_that_are_no_numbers_are_broken(tmp_path: Path) -> None:
    path = write_arrays(tmp_path, lambda: np.full((9, 9), np.nan, "f4"))
    with pytest.raises(SpecError, match="holds NaN or infinity"):
        imagefolder.load(path, 0)


def test_different_files_that_come_out_alike_are_refused(tmp_path: Path) -> None:
    levels = iter(range(1, 13))
    path = write_arrays(tmp_path, lambda: np.full((40, 40, 3), next(levels) // 20, "u1"), "png")
    imagefolder.load(path, 0)  # copies of one file: no fault of the reading
    for k, file in enumerate(sorted(tmp_path.rglob("*.png"))):
        Image.new("RGB", (40 + k, 40)).save(file)
    with pytest.raises(SpecError, match="all 12 pictures come out alike"):
        imagefolder.load(f"{path}?fit=stretch&size=8", 0)


def test_pictures_are_turned_upright_and_transparency_is_white(tmp_path: Path) -> None:
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        for k in range(3):
            image = Image.new("L", (40, 20))
            image.paste(255, (0, 0, 20, 20))
            exif = Image.Exif()
            if label == "dog":
                exif[0x0112] = 6  # shown turned by a quarter: the left half is on top
            image.save(tmp_path / label / f"{k}.jpg", exif=exif)
    data = imagefolder.load(f"{tmp_path}?size=40", 0)
    cat, dog = (data.train[0][data.train[1] == k][0, 0] for k in (0, 1))
    assert float(cat[:, :20].mean()) > 0.4 > 0.1 > float(cat[:, 20:].mean())
    assert float(dog[:20].mean()) > 0.4 > 0.1 > float(dog[20:].mean())
    clear = Image.new("RGBA", (40, 20))
    ImageDraw.Draw(clear).rectangle((0, 0, 20, 20), fill=(0, 0, 0, 255))
    for k in range(3):
        clear.save(tmp_path / "cat" / f"clear{k}.png")
    data = imagefolder.load(f"{tmp_path}?size=20x40", 0)
    row = next(k for k, name in enumerate(data.names["train"]) if "clear" in name)
    assert float(data.train[0][row, :, :, 30:].mean()) == 1
    assert float(data.train[0][row, :, :, :15].mean()) == 0


MEASURE = """
import resource, sys
from PIL import Image
from hpo_models.datasets import captions, imagefolder
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
imagefolder.load(sys.argv[1], 0)
captions.load(sys.argv[1], 0)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_memory_is_in_proportion_to_what_is_kept(tmp_path: Path) -> None:
    lines = ["image,caption"]
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        for k in range(8):
            name = f"{label}/{k}.{'png' if k % 2 else 'jpg'}"
            Image.new("RGB", (2400, 2000), (k * 6, 0, 99)).save(tmp_path / name)
            lines.append(f"{name},a {label} {k}")
    (tmp_path / "captions.csv").write_text("\n".join(lines))
    command = [sys.executable, "-c", MEASURE, str(tmp_path)]
    grown = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert grown < 100  # MB; all of them decoded are 230


def test_the_options_of_a_reference_reach_the_pixels(tmp_path: Path) -> None:
    path = write_images(tmp_path)
    data = imagefolder.load(f"{path}?size=16x24&fit=stretch", 0)
    assert data.info["shape"] == [3, 16, 24] and data.info["fit"] == "stretch"
    assert float(data.train[0].min()) > 0  # nothing is padded
    assert torch.equal(
        data.train[0], imagefolder.load(f"{path}?size=16x24&fit=stretch", 0).train[0]
    )
