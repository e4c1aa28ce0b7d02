"""`imagefolder:PATH`: one's own images, `PATH/CLASS/*.png`, split 70/15/15 by class.

Or with splits of their own, `PATH/train/CLASS/*.png` and `val`, `test` beside it; a missing one is
taken from the training rows, 15 % by class.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from hpo.errors import SpecError
from hpo.inference.images import image_endings, is_hidden
from hpo.model import Data
from hpo.reading import Look, reading_of
from hpo_models.datasets.pictures import (
    path_sources,
    read_pictures,
    sizes_of,
    unread_note,
)
from hpo_models.datasets.split import image_info, stratified_split

PARTS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
_HELD_OUT = 0.15


@dataclass
class Tree:
    """What a folder holds.

    Attributes:
        files: of each part, and the class of each; without splits all are of `train`.
        split: whether the folder has splits of its own.
        passed: endings of files that are none of pictures that can be read.
    """

    class_names: list[str]
    files: dict[str, list[tuple[Path, int]]]
    split: bool = False
    passed: Counter[str] = field(default_factory=Counter)

    @property
    def n_train(self) -> int:
        """Training rows, about."""
        n_missing = sum(not self.files.get(part) for part in ("val", "test"))
        return round(len(self.files["train"]) * (1 - _HELD_OUT * n_missing))


def load(argument: str, seed: int) -> Data:
    """Images [N, C, H, W] in 0..1 and targets [N]; options as in `hpo.reading`.

    Raises:
        SpecError: no class folders, another layout, an empty class, unreadable images, ...
    """
    path, reading = reading_of(argument)
    tree = _tree(path)
    root = Path(path)
    rows = [(file, label, part) for part, of in tree.files.items() for file, label in of]
    names = [str(file.relative_to(root)) for file, _, _ in rows]
    read = read_pictures(repr(path), names, path_sources(file for file, _, _ in rows), reading)
    kept = [rows[place] for place in read.kept]
    targets = torch.tensor([label for _, label, _ in kept])
    _check_classes(tree, Counter((part, label) for _, label, part in kept))
    places = _places(targets, [part for _, _, part in kept], seed)
    train, val, test = ((read.images[rows], targets[rows]) for rows in places)
    files = [names[place] for place in read.kept]
    return Data(
        f"imagefolder:{path}",
        train,
        val,
        test,
        image_info(train[0], tree.class_names, read.info),
        notes=(*read.notes, *unread_note(tree.passed)),
        names={
            part: tuple(files[k] for k in rows.tolist())
            for part, rows in zip(PARTS, places, strict=True)
        },
    )


def look(argument: str) -> Look:
    """How many training rows there are, and sizes of the pictures."""
    tree = _tree(reading_of(argument)[0])
    files = [file for of in tree.files.values() for file, _ in of]
    return Look(tree.n_train, sizes_of(path_sources(files)))


def _places(targets: Tensor, parts: Sequence[str], seed: int) -> list[Tensor]:
    """Row numbers of training, validation and test."""
    own = [torch.tensor([k for k, of in enumerate(parts) if of == part]).long() for part in PARTS]
    missing = [k for k in (1, 2) if not len(own[k])]
    if not missing:
        return own
    shares = (1 - _HELD_OUT * len(missing), *(_HELD_OUT for _ in missing))
    drawn = stratified_split(targets[own[0]], shares, seed)
    places = [own[0][drawn[0]], own[1], own[2]]
    for k, rows in zip(missing, drawn[1:], strict=True):
        places[k] = own[0][rows]
    return places


def _tree(path: str) -> Tree:
    """Raises SpecError: no folder, one that may not be read, or another layout."""
    try:
        return _listed(path)
    except OSError as error:
        raise SpecError(
            f"data: {str(error.filename)!r} cannot be read: {error.strerror}: allow it"
        ) from None


def _listed(path: str) -> Tree:
    root = Path(path)
    if not root.is_dir():
        raise SpecError(f"data: {path!r} is no folder: name one that holds CLASS/*.png")
    folders = _folders(root)
    part_of = {name: part for part, names in PARTS.items() for name in names}
    parts = {folder: part_of.get(folder.name.lower()) for folder in folders}
    if folders and all(parts.values()) and any(_folders(folder) for folder in folders):
        return _split_tree(path, {folder: str(part) for folder, part in parts.items()})
    if len(folders) < 2:
        raise SpecError(_too_few(path, folders))
    tree = Tree([folder.name for folder in folders], {"train": []})
    for label, folder in enumerate(folders):
        tree.files["train"] += [(file, label) for file in _images(folder, tree.passed)]
    return tree


def _split_tree(path: str, parts: dict[Path, str]) -> Tree:
    """A tree of splits, each with folders of the same classes."""
    named = ", ".join(folder.name for folder in parts)
    if len(set(parts.values())) < len(parts) or "train" not in parts.values():
        raise SpecError(
            f"data: {path!r} holds the folders {named}, which name splits: it must hold one train, "
            "at most one val and one test, with class folders in each"
        )
    classes = {folder: {one.name for one in _folders(folder)} for folder in parts}
    train = next(folder for folder, part in parts.items() if part == "train")
    for folder, found in classes.items():
        if not found or _loose(folder):
            raise SpecError(
                f"data: {str(folder)!r} holds images outside class folders: every split must hold "
                "CLASS/*.png, as train does"
            )
        for one, other, lacking in (
            (train, folder, classes[train] - found),
            (folder, train, found - classes[train]),
        ):
            if lacking:
                raise SpecError(
                    f"data: {path!r}: class {', '.join(map(repr, sorted(lacking)[:5]))} is in "
                    f"{one.name} and not in {other.name}: every split must hold the same classes"
                )
    names = sorted(classes[train])
    if len(names) < 2:
        raise SpecError(
            f"data: {str(train)!r} holds {len(names)} class folders: needs at least 2, CLASS/*.png"
        )
    tree = Tree(names, {part: [] for part in PARTS}, split=True)
    for folder, part in parts.items():
        for label, name in enumerate(names):
            tree.files[part] += [(f, label) for f in _images(folder / name, tree.passed)]
    return tree


def _folders(root: Path) -> list[Path]:
    return sorted(one for one in root.iterdir() if one.is_dir() and not is_hidden(one.name))


def _loose(folder: Path) -> bool:
    """Whether images lie in the folder itself."""
    return any(one.suffix.lower() in image_endings() and one.is_file() for one in folder.iterdir())


def _too_few(path: str, folders: Sequence[Path]) -> str:
    if len(folders) == 1 and len(_folders(folders[0])) > 1:
        return (
            f"data: {path!r} holds one folder, {folders[0].name!r}, which holds folders itself: "
            f"name that one: imagefolder:{folders[0]}"
        )
    return f"data: {path!r} holds {len(folders)} class folders: needs at least 2, CLASS/*.png"


def _images(folder: Path, passed: Counter[str]) -> list[Path]:
    """The pictures of a class; other files are counted in `passed`.

    Raises:
        SpecError: they lie in folders of the class folder.
    """
    files = []
    for one in sorted(folder.iterdir()):
        if is_hidden(one.name):
            continue
        if one.is_dir():
            if not one.is_symlink() and any(
                file.suffix.lower() in image_endings() for file in one.rglob("*")
            ):
                raise SpecError(
                    f"data: class folder {folder.name!r} holds images in a folder of its own, "
                    f"{str(one)!r}: the layout must be CLASS/*.png, or train/CLASS/*.png with val "
                    "and test beside it: move them up"
                )
        elif one.suffix.lower() in image_endings():
            files.append(one)
        else:
            passed[one.suffix.lower()] += 1
    return files


def _check_classes(tree: Tree, n_images: Counter[tuple[str, int]]) -> None:
    """Raises SpecError unless every class can be in every part."""
    missing = [part for part in ("val", "test") if not tree.files.get(part)]
    needed = {"train": 1 + len(missing)} | {part: 1 for part in PARTS if tree.files.get(part)}
    needed["train"] = 1 + len(missing)
    for part, least in needed.items():
        for label, name in enumerate(tree.class_names):
            n = n_images[part, label]
            if n < least:
                where = f" in {part}" if tree.split else ""
                passed = f" ({unread_note(tree.passed)[0].rstrip('.')})" if tree.passed else ""
                more = ", for training, validation and test" if least == 3 else ""
                images = "image" if n == 1 else "images"
                raise SpecError(
                    f"data: class {name!r} holds {n} {images}{where}{passed}: needs at least "
                    f"{least}{more}"
                )
