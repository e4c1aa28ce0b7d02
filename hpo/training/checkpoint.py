"""Checkpoints of a training under way: written whole or not at all, read only if intact.

A file is a line with the SHA-256 of what follows, then what `torch.save` wrote.  The last two are
kept, so that a file cut off by a full disk or a power cut leaves the one before.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import os
from pathlib import Path
from typing import Any

_KEPT = 2
_log = logging.getLogger("hpo.training")


def save(folder: Path, epoch: int, state: dict[str, Any]) -> None:
    """Writes `state` as the checkpoint of an epoch; a disk that refuses is no reason to stop."""
    import torch

    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    path = _path(folder, epoch)
    draft = path.with_suffix(f".draft-{os.getpid()}")
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with draft.open("wb") as file:
            file.write(hashlib.sha256(content).hexdigest().encode() + b"\n" + content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        for old in sorted(folder.glob("epoch-*.pt"))[:-_KEPT]:
            old.unlink(missing_ok=True)
    except OSError as error:
        _log.warning("checkpoint: cannot write %s: %s", path, error.strerror)
        with contextlib.suppress(OSError):
            draft.unlink()


def holds(folder: Path, epoch: int) -> bool:
    """Whether there is a checkpoint of that epoch, so that a training could go on from there."""
    return _path(folder, epoch).is_file()


def _path(folder: Path, epoch: int) -> Path:
    return folder / f"epoch-{epoch:06d}.pt"


def load(folder: Path) -> dict[str, Any] | None:
    """The newest intact checkpoint, on the CPU, or None; code in a file is never run."""
    import torch

    for path in sorted(folder.glob("epoch-*.pt"), reverse=True):
        try:
            digest, newline, content = path.read_bytes().partition(b"\n")
            if not newline or hashlib.sha256(content).hexdigest().encode() != digest:
                _log.warning("checkpoint: %s is damaged: taking the one before", path)
                continue
            state = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
        except Exception as error:  # whatever is in the file, the trial can start afresh
            _log.warning("checkpoint: %s cannot be read: %s", path, error)
            continue
        return dict(state)
    return None
