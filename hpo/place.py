"""Where in a user's code an error came about."""

from __future__ import annotations

import functools
import os
import site
import sysconfig
import traceback
from collections.abc import Collection, Iterator
from importlib.util import find_spec
from pathlib import Path

_ZOO = "hpo_models"


def place_of(
    error: BaseException, *, root: str, module: str, sources: Collection[str] = ()
) -> str | None:
    """`mine.py:11`: the innermost line of the user's code, relative to the working folder if it is
    there; of a model of the zoo, its own line.  None: it came about elsewhere.

    Args:
        root, module, sources: of the user's model, as `hpo.registry.ModelRef` has them.
    """
    cause: BaseException | None = error
    while cause is not None:
        for file, line in _innermost_first(cause):
            if _is_users(file, root, module):
                return f"{_shown(file, root, sources)}:{line}"
        cause = cause.__cause__
    return None


def _innermost_first(error: BaseException) -> Iterator[tuple[str, int]]:
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        yield error.filename, error.lineno
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        yield frame.f_code.co_filename, line


def _is_users(file: str, root: str, module: str) -> bool:
    if not file.endswith(".py") or file.startswith("<"):
        return False
    if not root:
        own = _folder_of(_ZOO if module.startswith(_ZOO) else module)
        if own and file.startswith(own):
            return True
    return "site-packages" not in file and not file.startswith(_not_users())


def _folder_of(module: str) -> str | None:
    """Where an installed model's own top package, or its one file, is."""
    try:
        spec = find_spec(module.partition(".")[0])
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None:
        return None
    return f"{Path(spec.origin).parent}{os.sep}" if spec.submodule_search_locations else spec.origin


@functools.cache
def _not_users() -> tuple[str, ...]:
    """Folders of Python itself, of what is installed, and of this service."""
    paths = sysconfig.get_paths()
    known = [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    known += [*site.getsitepackages(), site.getusersitepackages(), str(Path(__file__).parent)]
    known += [zoo] if (zoo := _folder_of(_ZOO)) else []
    return tuple(f"{folder.rstrip(os.sep)}{os.sep}" for folder in known)


def _shown(file: str, root: str, sources: Collection[str]) -> str:
    zoo = _folder_of(_ZOO) or ""
    if zoo and file.startswith(zoo):
        return f"{_ZOO}/{file.removeprefix(zoo)}"
    if root and not file.startswith(root):
        # A node without the user's disk has the sources in a folder of its own.
        own = next((r for r in sorted(sources) if file.endswith(f"{os.sep}{r}")), None)
        file = file if own is None else str(Path(root) / own)
    return file.removeprefix(f"{Path.cwd()}{os.sep}")
