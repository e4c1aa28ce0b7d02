"""What a user may have meant by a name that does not exist: models, data, studies."""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Mapping, Sequence
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


_FLAGS = {
    "n-trials": "trials n-iter n-iters num-trials max-trials num-samples n-samples max-evals "
    "n-evals iterations n-calls budget",
    "epochs": "epoch max-epochs n-epochs num-epochs",
    "max-concurrent": "jobs n-jobs workers n-workers num-workers parallel concurrency "
    "max-concurrent-trials",
    "gpus-per-trial": "gpu gpus num-gpus n-gpus",
    "cpus-per-trial": "cpu cpus cores num-cpus",
    "memory-per-trial": "memory ram",
    "data": "dataset data-dir data-path input",
    "objective": "metric metrics goal target direction minimize maximize",
    "sampler": "algorithm algo strategy search-alg search method",
    "pruner": "scheduler pruning early-stopping",
    "storage": "db database storage-url",
    "output": "out out-dir output-dir save-dir",
    "name": "study-name experiment project",
    "timeout": "time time-limit max-time time-budget",
    "study": "config toml study-file",
    "set": "param params space override hp fix",
    "seed": "random-state random-seed",
    "top": "n limit k count",
    "to": "out output save",
    "format": "json csv",
    "dry-run": "dry check",
}
"""A flag of `hpo run`, or a key of a study file -> other names of it."""


def flags_meant(name: str) -> list[str]:
    """The flags that a name without dashes in front may stand for."""
    return [flag for flag, others in _FLAGS.items() if name in others.split()]


def unknown_setting(name: str, known: Sequence[str]) -> str:
    """The line for a key of a study file that does not exist."""
    meant = [flag.replace("-", "_") for flag in flags_meant(name.replace("_", "-").lower())]
    meant = [f"{one}s" if f"{one}s" in known else one for one in meant]
    near = [one for one in meant if one in known] or get_close_matches(name, known, n=1, cutoff=0.6)
    hint = f"did you mean {near[0]!r}?" if near else "a parameter of the model stands below [set]"
    return f"study setting: {name!r} is unknown: {hint}"


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
