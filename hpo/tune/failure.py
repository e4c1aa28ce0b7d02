"""What is told of a trial that failed: why, where in the user's code, and the traceback."""

from __future__ import annotations

import functools
import os
import re
import site
import sysconfig
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from hpo.registry import ModelRef
from hpo.storage.attempts import FailKind
from hpo.tune.report import kind_of, one_line

_ZOO = "hpo_models"


@dataclass(frozen=True)
class Failure:
    """Why a training ended without a result.

    Attributes:
        error: one line, with file and line of the user's code where it came from there.
        alike: failures of one cause have the same: type and place, else the line itself; None:
            it came of the parameters.
    """

    error: str
    kind: FailKind
    traceback: str
    alike: str | None


def failure_of(error: BaseException, ref: ModelRef) -> Failure:
    """What is told of an error that a training with this model raised, in its launch folder."""
    place, line = place_of(error, ref), one_line(error)
    alike = f"{place}: {type(error).__name__}" if place else line
    return Failure(
        error=f"{place}: {line}"[:500] if place else line,
        kind=kind_of(error),
        traceback="".join(traceback.format_exception(error)),
        alike=None if line.startswith("diverged") else alike,
    )


def without_place(reason: str) -> str:
    """A failure's line without its file and line, which depend on where the study was started.

    >>> without_place("src/mine.py:11: KeyError: 'b'")
    "KeyError: 'b'"
    """
    return re.sub(r"^[^:]+\.py:\d+: ", "", reason)


def place_of(error: BaseException, ref: ModelRef) -> str | None:
    """`mine.py:11`: the innermost line of the user's code, relative to the working folder if it is
    there; of a model of the zoo, its own line.  None: it came about elsewhere."""
    cause: BaseException | None = error
    while cause is not None:
        for file, line in _innermost_first(cause):
            if _is_users(file, ref):
                return f"{_shown(file, ref)}:{line}"
        cause = cause.__cause__
    return None


def _innermost_first(error: BaseException) -> Iterator[tuple[str, int]]:
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        yield error.filename, error.lineno
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        yield frame.f_code.co_filename, line


def _is_users(file: str, ref: ModelRef) -> bool:
    if not file.endswith(".py") or file.startswith("<"):
        return False
    package = _folder_of(_ZOO if not ref.root and ref.module.startswith(_ZOO) else ref.module)
    if not ref.root and package and file.startswith(package):
        return True
    return "site-packages" not in file and not file.startswith(_not_users())


def _folder_of(module: str) -> str | None:
    """Where an installed model's own top package, or its one file, is."""
    top = module.partition(".")[0]
    try:
        spec = find_spec(top)
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
    known += [*site.getsitepackages(), site.getusersitepackages(), str(Path(__file__).parents[1])]
    known += [zoo] if (zoo := _folder_of(_ZOO)) else []
    return tuple(f"{folder.rstrip(os.sep)}{os.sep}" for folder in known)


def _shown(file: str, ref: ModelRef) -> str:
    zoo = _folder_of(_ZOO) or ""
    if zoo and file.startswith(zoo):
        return f"{_ZOO}/{file.removeprefix(zoo)}"
    if ref.root and not file.startswith(ref.root):
        # A node without the user's disk has the sources in a folder of its own.
        of_user = next((r for r in sorted(ref.sources) if file.endswith(f"{os.sep}{r}")), None)
        file = file if of_user is None else str(Path(ref.root) / of_user)
    here = f"{Path.cwd()}{os.sep}"
    return file.removeprefix(here)
