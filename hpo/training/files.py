"""Where a training leaves what it prints and what its own code writes."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Self

LOGS, FOLDERS = "logs", "trials"
"""Folders of a study's own folder."""


@dataclass(frozen=True)
class TrialFiles:
    """A training's own files, in the study's folder.

    Attributes:
        log: what it prints, capped; made when it prints something.
        folder: what a function has as `trial.folder`; made when it is asked for.
    """

    log: str
    folder: str

    @classmethod
    def new(cls, study: Path, label: str | int) -> Self:
        """Those of a training that begins, named after its trial or after what it is for.

        An earlier study of this name may have left files: its log is removed, its folder stays,
        and the new one has another name (`3-2`).
        """
        log = log_of(study, label)
        with contextlib.suppress(OSError):
            log.unlink(missing_ok=True)
        folder = study / FOLDERS / str(label)
        n = 1
        while folder.exists():
            n += 1
            folder = folder.with_name(f"{label}-{n}")
        return cls(str(log), str(folder))


def log_of(study: Path, label: str | int) -> Path:
    """The log of a training of the study with this folder."""
    return study / LOGS / f"{label}.log"
