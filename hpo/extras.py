"""Packages that only some need: where they are, and what to install when they are missing."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from hpo.errors import SpecError


def need(package: str, what: str, extra: str | None = None) -> Path:
    """The folder of an installed package, which is not imported.

    Args:
        package: its import name.
        what: who needs it: `data: surnames`, `model: finetune`.
        extra: the extra of hpo-torch that installs it; None: it comes with hpo-torch itself.
    Raises:
        SpecError: it is missing.
    """
    spec = importlib.util.find_spec(package)
    folders = list(spec.submodule_search_locations or []) if spec else []
    if not folders:
        install = f"'hpo-torch[{extra}]'" if extra else package.replace("_", "-")
        raise SpecError(f"{what} needs the package {package}: pip install {install}")
    return Path(folders[0])
