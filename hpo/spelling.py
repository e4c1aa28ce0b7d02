"""What a user may have meant by a name that does not exist: models, data, studies."""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path

from hpo.habits import space_of, tunables_in

_FORMS = {".npz": "npz", ".npy": "npz", ".csv": "csv", ".tsv": "csv", ".gz": "csv"}
_DATA_NAMES = {
    "fashion": "fashionmnist",
    "cifar": "cifar10",
    "images": "imagefolder:PATH",
    "folder": "imagefolder:PATH",
    "image": "imagefolder:PATH",
    "numpy": "npz:PATH",
    "huggingface": "hf:ID",
    "datasets": "hf:ID",
    "text": "csv:PATH",
}
"""Other names of data; those of files by their ending."""


def unknown(kind: str, name: str, known: Mapping[str, object] | list[str]) -> str:
    """The line for a name that does not exist, with a suggestion."""
    near = get_close_matches(name.lower(), list(known), n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(known)}"
    return f"{kind}: {name!r} is unknown: {hint}"


def no_model(name: str, models: Mapping[str, object]) -> str:
    """The line for what is no model's name, with the form that it may stand for."""
    path = Path(name).expanduser()
    if path.suffix == ".py" or (path.is_file() and path.suffix != ".toml"):
        return f"model: {name!r} names no class or function: write {models_in(path)}"
    if path.suffix == ".toml" or name in ready_studies():
        return f"model: {name!r} is a study: write --study {name}"
    if path.with_suffix(".py").is_file():
        return f"model: {name!r} is a file: write {models_in(path.with_suffix('.py'))}"
    return unknown("model", name, models) + " (or package.module:NAME, ./file.py:NAME)"


def models_in(path: Path) -> str:
    """`./mine.py:Net`, or with NAME where the file declares none or several."""
    try:
        names = tunables_in(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        names = []
    shown = str(path) if "/" in str(path) else f"./{path}"
    forms = [f"{shown}:{name}" for name in names] or [f"{shown}:NAME"]
    return " or ".join(forms)


def declaration(found: object) -> str:
    """`@hpo.tunable(Space(lr=Float(...)), 'accuracy')`, from the habits of a plain function."""
    space = space_of(found) if callable(found) else ""
    return f"@hpo.tunable({space or 'Space(...)'}, 'accuracy')"


def no_data(name: str, datasets: Mapping[str, object]) -> str:
    """The line for what is no data's name, with the form that it may stand for."""
    kind, colon, argument = name.partition(":")
    path = Path(name).expanduser()
    if path.is_dir():
        form = "imagefolder"
        if (path / "captions.csv").is_file():
            form = "captions"
        elif (path / "dataset_info.json").is_file() or (path / "dataset_dict.json").is_file():
            form = "hf"
        return f"data: {name!r} is a folder: write --data {form}:{name}"
    if path.is_file() or path.suffix in _FORMS:
        form = _FORMS.get(path.suffix, "npz or csv")
        return f"data: {name!r} is a file: write --data {form}:{name}"
    if "/" in kind:
        return (
            f"data: {name!r}: nothing is there, and no data is named so: write imagefolder:PATH, "
            "csv:PATH, npz:PATH, captions:PATH or hf:ID"
        )
    meant = _DATA_NAMES.get(re.sub(r"[^a-z]", "", kind.lower()))
    if meant:
        shown = f"{meant.partition(':')[0]}:{argument}" if colon and ":" in meant else meant
        return f"data: {name!r} is unknown: did you mean {shown!r}?"
    return unknown("data", kind, datasets)


def studies_folder() -> Path:
    """Where the ready-made studies are: in the wheel, or in the checkout."""
    inside = Path(str(importlib.resources.files("hpo"))) / "studies"
    return inside if inside.is_dir() else Path(__file__).resolve().parents[1] / "studies"


def ready_studies() -> dict[str, Path]:
    """Names of the ready-made studies and their files."""
    return {path.stem: path for path in sorted(studies_folder().glob("*.toml"))}
