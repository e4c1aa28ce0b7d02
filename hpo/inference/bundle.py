"""The exported model: a folder that is used without torch and without the model's code.

FOLDER/
  bundle.json           everything in `Bundle`
  NAME.onnx             a file a graph (`.pt`, `.pt2`, `.safetensors` in other formats)
  tokenizer.json, ...   what else its task reads
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpo.errors import HpoError, SpecError

FACTS = "bundle.json"
FORMAT = 1
KINDS = ("onnx", "torchscript", "pt2", "safetensors")
_FIELDS: dict[str, type | tuple[type, ...]] = {
    "kind": str,
    "task": str,
    "settings": dict,
    "graphs": dict,
    "model": str,
    "study": str,
    "data": str,
    "metric": str,
    "test": dict,
    "versions": dict,
    "created": str,
    "sha256": dict,
}
_GRAPH_FIELDS: dict[str, type] = {"file": str, "inputs": list, "outputs": list, "dynamic": dict}
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Bundle:
    """A bundle that was checked.

    Attributes:
        path: its folder.
        facts: what `bundle.json` holds: kind, task, settings, graphs, model, study, data, metric,
            test, versions, created, sha256, ...
    """

    path: Path
    facts: Mapping[str, Any]

    @property
    def kind(self) -> str:
        return str(self.facts["kind"])

    @property
    def task(self) -> str:
        return str(self.facts["task"])

    @property
    def settings(self) -> Mapping[str, Any]:
        settings: Mapping[str, Any] = self.facts["settings"]
        return settings

    @property
    def graphs(self) -> Mapping[str, Mapping[str, Any]]:
        graphs: Mapping[str, Mapping[str, Any]] = self.facts["graphs"]
        return graphs

    @classmethod
    def open(cls, path: str | Path) -> Bundle:
        """Reads and checks a bundle; runs no code of it.

        Raises:
            SpecError: no bundle there, of another format, or changed since it was written.
        """
        folder = Path(path).expanduser()
        try:
            if not (folder / FACTS).is_file():  # a pipe would be waited for
                raise FileNotFoundError
            facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise SpecError(
                f"path: {str(path)!r} holds no exported model ({type(error).__name__}): give the "
                "folder that `hpo export` printed"
            ) from None
        if problem := _problem(facts) or _changed(folder, facts["sha256"]):
            raise SpecError(f"path: {str(folder / FACTS)!r}: {problem}: export the model again")
        return cls(folder.resolve(), facts)

    def file(self, name: str) -> Path:
        """The path of one of its files."""
        return self.path / name


def is_bundle(path: str | Path) -> bool:
    """Whether there is a file `bundle.json`."""
    return (Path(path).expanduser() / FACTS).is_file()


def _problem(facts: Any) -> str | None:
    """What is wrong with the content of a `bundle.json`."""
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        found = facts.get("format") if isinstance(facts, dict) else type(facts).__name__
        return f"has the format {found!r}, and this version reads {FORMAT}"
    for name, kind in _FIELDS.items():
        if not isinstance(facts.get(name), kind):
            return f"{name}: {facts.get(name)!r} is not as it is written"
    if facts["kind"] not in KINDS:
        return f"kind: {facts['kind']!r} is none of {', '.join(KINDS)}"
    for name, graph in facts["graphs"].items():
        if not isinstance(graph, dict) or not all(
            isinstance(graph.get(key), kind) for key, kind in _GRAPH_FIELDS.items()
        ):
            return f"graphs: {name!r} is not as it is written"
        if graph["file"] not in facts["sha256"]:
            return f"sha256: has no entry for {graph['file']!r}"
    return None


def _changed(folder: Path, digests: Mapping[str, Any]) -> str | None:
    """Which file is missing or not the one that was written."""
    for name, digest in digests.items():
        if Path(name).name != name or "\0" in name:
            return f"sha256: {name!r} is no plain file name"
        try:
            if not (folder / name).is_file():
                return f"{name!r} is missing"
            found = sha256(folder / name)
        except OSError:
            return f"{name!r} cannot be read"
        if found != digest:
            return f"{name!r} is not the file that was written"
    return None


def sha256(file: Path) -> str:
    """Hexadecimal digest of a file's content."""
    digest = hashlib.sha256()
    with file.open("rb") as content:
        while chunk := content.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def write(folder: Path, facts: Mapping[str, Any], files: Mapping[str, bytes]) -> Path:
    """Writes a bundle, whole or not at all; an older bundle there is replaced.

    Args:
        folder: is made; if it exists it must be a bundle.
        facts: see `Bundle`; `format` and `sha256` are added here.
        files: content by plain name.
    Raises:
        SpecError: something else is there.
        HpoError: the folder cannot be written.
    """
    check_target(folder)
    draft = folder.with_name(f".{folder.name}-{os.getpid()}")
    old = folder.with_name(f".{folder.name}-{os.getpid()}-old")
    try:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        digests = {}
        for name, content in files.items():
            _write(draft / Path(name).name, content)
            digests[name] = hashlib.sha256(content).hexdigest()
        whole = {"format": FORMAT, **facts, "sha256": digests}
        text = json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False)
        _write(draft / FACTS, text.encode())
        if folder.exists():
            folder.rename(old)
        draft.rename(folder)
    except OSError as error:
        raise HpoError(f"to: cannot write {str(folder)!r}: {error.strerror}") from None
    finally:
        if old.exists() and not folder.exists():  # interrupted in between
            old.rename(folder)
        shutil.rmtree(draft, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
    return folder.resolve()


def check_target(folder: Path) -> None:
    """Raises SpecError unless a bundle can be written there."""
    if folder.exists() and not is_bundle(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise SpecError(f"to: {str(folder)!r} exists and is no exported model: choose another")


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
