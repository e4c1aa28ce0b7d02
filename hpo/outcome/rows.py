"""Which rows a saved network is evaluated on: its own test split, or other data made like it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hpo.errors import SpecError
from hpo.model import Data, Model, Split
from hpo.outcome.artifact import Artifact
from hpo.reading import PICTURES, Reading, reading_of, with_reading
from hpo.registry import as_trained, find_data, load_data
from hpo.training.session import SPLIT_SEED

if TYPE_CHECKING:
    from torch import Tensor

PARTS = ("test", "val")
_SIZES = ("n_train", "n_test")


@dataclass(frozen=True)
class Rows:
    """Rows to evaluate on.

    Attributes:
        data: reference of the data set, as `find_data` gives it.
        part: `test`, `val` or, of other data than the network's own, `all`.
        split: the rows as the network takes them.
        trained: what the network was trained on, training and validation rows joined; None if
            that is not there any more.
        n_seen: rows that it was trained on.
        notes: what was changed, and what a reader has to know.
        names: of the rows, such as their files, where the data has them.
    """

    data: str
    part: str
    split: Split
    trained: Data | None
    own: bool
    n_seen: int
    notes: list[str]
    unknown_classes: bool = False
    names: list[str] | None = None


def find_rows(artifact: Artifact, model: Model, data: str | None, part: str | None) -> Rows:
    """Loads the rows.

    Args:
        data: a form of `hpo run --data`; None: the data that the network was trained on.
        part: of PARTS; None: the test split of the network's own data, all rows of other data.
    Raises:
        SpecError: the data does not fit, is not there or is not what it was.
    """
    if part is not None and part not in PARTS:
        raise SpecError(f"split: {part!r} is unknown: choose from {', '.join(PARTS)}")
    reference = artifact.data if data is None else _like(artifact, find_data(model, data))
    if reference == artifact.data:
        return _own_rows(artifact, model, part or "test")
    loaded = _load(model, reference)
    trained, why = _trained(artifact, model)
    split, notes = as_trained(_part_of(loaded, part), loaded.info, artifact.info, model.classifies)
    if part is None:
        notes.insert(0, "This is not the data it was trained on: all of its rows are evaluated.")
    notes += loaded.notes
    n_seen = 0
    if trained is None:
        notes.append(f"Whether some of these rows were trained on cannot be told: {why}.")
    elif n_seen := _n_seen(split[0], trained.train[0]):
        notes.append(
            f"{n_seen} of these {len(split[0])} rows are among those it was trained on: the "
            "figures are better than they would be on new rows."
        )
    dropped = len(split) < len(loaded.train)  # its classes, which the network does not know
    names = _names_of(loaded, part)
    return Rows(reference, part or "all", split, trained, False, n_seen, notes, dropped, names)


def _like(artifact: Artifact, reference: str) -> str:
    """The reference with pictures read as the network's own were."""
    kind, _, argument = reference.partition(":")
    shape = artifact.info.get("shape", ())
    if kind not in PICTURES or len(shape) != 3:
        return reference
    path, given = reading_of(argument)
    if given is None and f"{kind}:{path}" == artifact.data.rpartition("?")[0]:
        return artifact.data
    skip = given is not None and given.skip_broken
    if artifact.info.get("reading", 1) == 1:
        return with_reading(reference, Reading(skip_broken=skip, version=1))
    fit = artifact.info.get("fit", "stretch")
    return with_reading(reference, Reading((shape[1], shape[2]), fit, skip))


def _own_rows(artifact: Artifact, model: Model, part: str) -> Rows:
    loaded = _load(model, find_data(model, artifact.data))
    if problem := _changed(artifact, loaded):
        raise SpecError(
            f"data: {artifact.data!r} is not what it was when the network was trained ({problem}), "
            "and its split may hold training rows: bring it back, or give new rows with --data"
        )
    notes = []
    if part == "val":
        notes.append(
            "The network was retrained on training and validation rows: it has learned from these."
        )
    split = _part_of(loaded, part)
    n_seen = len(split[0]) if part == "val" else 0
    names = _names_of(loaded, part)
    trained = loaded.for_retraining()
    return Rows(artifact.data, part, split, trained, True, n_seen, notes, names=names)


def _load(model: Model, reference: str) -> Data:
    loaded = load_data(model, reference, SPLIT_SEED)
    if loaded is None:
        raise SpecError(f"data: {type(model).__name__} gives no data of its own: use --data")
    return loaded


def _part_of(data: Data, part: str | None) -> Split:
    import torch

    if part is not None:
        found = data.test if part == "test" else data.val
        if not found or not len(found[0]):
            raise SpecError(
                f"split: {data.name!r} has no {part} rows: use "
                f"--split {PARTS[part == 'test']}, or give other rows with --data"
            )
        return found
    parts = [split for split in (data.train, data.val, data.test or ()) if split and len(split[0])]
    if not parts:
        raise SpecError(f"data: {data.name!r} has no rows")
    return tuple(torch.cat(column) for column in zip(*parts, strict=True))


def _names_of(data: Data, part: str | None) -> list[str] | None:
    """In the order of `_part_of`."""
    if not data.names:
        return None
    parts = ("train", "val", "test") if part is None else (part,)
    return [name for one in parts for name in data.names.get(one, ())]


def _trained(artifact: Artifact, model: Model) -> tuple[Data | None, str]:
    """The network's training rows, or why they are not to be had."""
    try:
        loaded = _load(model, find_data(model, artifact.data))
    except SpecError as error:
        return None, str(error).partition("\n")[0]
    if problem := _changed(artifact, loaded):
        return None, f"{artifact.data!r} has changed ({problem})"
    return loaded.for_retraining(), ""


def _changed(artifact: Artifact, loaded: Data) -> str:
    """How a data set differs from what the network was told of it; '' if it does not."""
    n_train = sum(len(split[0]) for split in (loaded.train, loaded.val) if split)
    n_test = len(loaded.test[0]) if loaded.test else 0
    sizes = {"n_train": n_train, "n_test": n_test}
    for name in _SIZES:
        was = artifact.info.get(name, sizes[name])
        if was != sizes[name]:
            return f"{name} was {was} and is {sizes[name]}"
    for name, value in loaded.info.items():
        if name == "reading" and name not in artifact.info:  # of hpo 0.1.0
            continue
        if name not in artifact.info or not _alike(value, artifact.info[name]):
            return f"{name} is another"
    return ""


def _alike(now: Any, was: Any) -> bool:
    """Equal but for rounding; what JSON does not hold cannot be compared."""
    if isinstance(now, bool | str) or now is None:
        return bool(now == was)
    if isinstance(now, int | float):
        number = isinstance(was, int | float)
        return number and math.isclose(now, was, rel_tol=1e-4, abs_tol=1e-6)
    if isinstance(now, list | tuple):
        same_length = isinstance(was, list) and len(now) == len(was)
        return same_length and all(map(_alike, now, was))
    if isinstance(now, Mapping):
        return isinstance(was, Mapping) and all(
            _alike(value, was.get(str(key))) for key, value in now.items()
        )
    return True


def _n_seen(rows: Tensor, trained: Tensor) -> int:
    """How many rows equal a training row, byte by byte."""
    if rows.shape[1:] != trained.shape[1:] or rows.dtype != trained.dtype:
        return 0
    known = {_digest(row) for row in trained.contiguous()}
    return sum(_digest(row) in known for row in rows.contiguous())


def _digest(row: Tensor) -> bytes:
    return hashlib.blake2b(row.numpy().tobytes(), digest_size=16).digest()
