"""Files, folders, patterns and texts that a user names, as named items for a `Predictor`."""

from __future__ import annotations

import csv
import glob
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpo.errors import SpecError
from hpo.inference.images import (
    UNREAD_ENDINGS,
    FileRow,
    channels_first,
    image_endings,
    is_hidden,
    number_range,
)
from hpo.inference.inputs import Item
from hpo.inference.readers import MAX_BYTES

_PATTERN = frozenset("*?[")
_STDIN = "-"
_TEXT_ENDINGS = (".txt", ".csv")

Load = Callable[[], Item]


@dataclass(frozen=True)
class Source:
    """One named item; `load` reads it only when it is wanted, and raises SpecError."""

    name: str
    load: Load


def sources_of(inputs: Sequence[str], texts: Sequence[str], field: str) -> Iterator[Source]:
    """The items behind what a user names.

    Args:
        inputs: files, folders, patterns, `-` for lines of standard input; where the model takes
            texts alone, texts too.
        texts: taken as they are.
        field: of an item: `image`, `text` or `inputs`.
    """
    for text in texts:
        yield _constant(text or "(empty text)", "text", text)
    for name in inputs:
        yield from _sources(name, field)


def _constant(name: str, field: str, value: Any) -> Source:
    return Source(name, lambda: {field: value})


def _wrong(name: str, problem: str) -> Source:
    """An input that cannot be read: told where the others are answered."""

    def load() -> Item:
        raise SpecError(problem)

    return Source(name, load)


def _sources(name: str, field: str) -> Iterator[Source]:
    if name == _STDIN:
        for line in _lines_of_stdin():
            yield from _line(line, field)
        return
    path = Path(name).expanduser()
    try:
        there, folder = path.exists(), path.is_dir()
    except OSError:  # a text longer than a name may be, or a part without permission
        there = folder = False
    if folder:
        yield from _folder(path, field)
    elif there:
        yield from _file(path, field)
    elif _PATTERN & set(name) and (found := sorted(glob.glob(str(path), recursive=True))):
        for match in found:
            yield from _sources(match, field)
    elif field == "text" and not name.lower().endswith((*_TEXT_ENDINGS, ".npz")):
        yield _constant(name, "text", name)
    else:
        yield _wrong(name, "no such file, folder or pattern" + _hint(field))


def _hint(field: str) -> str:
    return "" if field == "image" else ": a text needs --text" if field == "text" else ""


def _lines_of_stdin() -> Iterator[str]:
    sys.stdin.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]
    for line in sys.stdin:
        if line.strip():
            yield line.rstrip("\r\n")


def _line(line: str, field: str) -> Iterator[Source]:
    """A line of standard input: a path, a text, or numbers as JSON."""
    if field == "image":
        yield from _sources(line.strip(), field)
    elif field == "text":
        yield _text(line, line)
    else:
        yield Source(line[:40], lambda: {field: _json(line)})


def _text(name: str, text: str) -> Source:
    if any("\udc80" <= character <= "\udcff" for character in text):
        shown = text.encode(errors="surrogateescape").decode(errors="replace")
        return _wrong(shown[:60], "is not UTF-8: save it in that encoding")
    return _constant(name, "text", text)


def _json(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise SpecError(f"is no JSON ({error}): write nested lists of numbers") from None


def _folder(folder: Path, field: str) -> Iterator[Source]:
    if field != "image":
        yield _wrong(str(folder), "is a folder, and the model takes no images: name files")
        return
    endings = image_endings()
    files = sorted(
        path
        for path in folder.rglob("*")
        if not path.is_dir() and not any(map(is_hidden, path.relative_to(folder).parts))
    )
    found = [path for path in files if path.suffix.lower() in endings]
    unread = Counter(path.suffix.lower() for path in files) & Counter(
        {end: len(files) for end in UNREAD_ENDINGS.difference(endings)}
    )
    if unread:
        counts = ", ".join(f"{n} {ending}" for ending, n in unread.most_common())
        yield _wrong(str(folder), f"pictures that cannot be read here are passed over: {counts}")
    elif not found:
        kinds = ", ".join(f"*{ending}" for ending in endings)
        yield _wrong(str(folder), f"holds no images ({kinds})")
    for path in found:
        yield _image(path)


def _image(path: Path) -> Source:
    def load() -> Item:
        return {"image": _bytes_of(path)}

    return Source(str(path), load)


def _bytes_of(path: Path) -> bytes:
    """A file's content, within the limit."""
    try:
        if not path.is_file():
            raise SpecError("is no regular file")
        n_bytes = path.stat().st_size
        if n_bytes > MAX_BYTES:
            raise SpecError(f"{n_bytes} bytes: may hold {MAX_BYTES}: make it smaller")
        return path.read_bytes()
    except OSError as error:
        raise SpecError(f"cannot be read: {error.strerror}") from None


def _file(path: Path, field: str) -> Iterator[Source]:
    ending = path.suffix.lower()
    if ending in (".npz", ".npy"):
        yield from _guarded(path, _arrays, field)
    elif ending in _TEXT_ENDINGS and field != "inputs":
        yield from _guarded(path, _table if ending == ".csv" else _text_lines, "text")
    elif field == "text":
        yield from _guarded(path, _text_lines, field)
    elif field == "image":
        yield _image(path)
    elif ending == ".csv":
        yield from _guarded(path, _number_table, field)
    else:
        yield Source(str(path), lambda: {field: _json(_text_of(path))})


def _guarded(
    path: Path, reader: Callable[[Path, str], Iterable[Source]], field: str
) -> Iterator[Source]:
    """A file's rows; that it cannot be read is one line."""
    try:
        yield from reader(path, field)
    except SpecError as error:
        yield _wrong(str(path), str(error))


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise SpecError("is not UTF-8: save it in that encoding") from None
    except OSError as error:
        raise SpecError(f"cannot be read: {error.strerror}") from None


def _text_lines(path: Path, field: str) -> list[Source]:
    lines = [line for line in _text_of(path).splitlines() if line.strip()]
    if not lines:
        raise SpecError("holds no text: write one a line")
    return [_constant(line, field, line) for line in lines]


def _rows(path: Path) -> list[list[str]]:
    try:
        rows = list(csv.reader(_text_of(path).splitlines()))
    except csv.Error as error:
        raise SpecError(f"is no CSV file ({error}): save it as CSV") from None
    rows = [row for row in rows if row]
    if not rows:
        raise SpecError("is empty")
    return rows


def _table(path: Path, field: str) -> list[Source]:
    """Texts of a CSV file: its column `text`, or its only one, which may have no title."""
    title, *rows = _rows(path)
    names = [name.strip().lower() for name in title]
    if "text" in names:
        column = names.index("text")
    elif len(names) == 1:
        column, rows = 0, [title, *rows]
    else:
        raise SpecError(f"has no column text, only {', '.join(title)}: name one so")
    texts = [row[column] for row in rows if len(row) > column]
    if not texts:
        raise SpecError("holds no text: write one a row")
    return [_constant(text, field, text) for text in texts]


def _number_table(path: Path, field: str) -> list[Source]:
    """Rows of numbers; a first row that is none is the titles."""
    rows = _rows(path)
    first = 0 if _numbers(rows[0]) is not None else 1
    found = []
    for number, row in enumerate(rows[first:], start=1):
        values = _numbers(row)
        name = f"{path}:{number}"
        found.append(
            _wrong(name, "holds what is no number")
            if values is None
            else _constant(name, field, values)
        )
    if not found:
        raise SpecError("holds no numbers")
    return found


def _numbers(row: Sequence[str]) -> list[float] | None:
    try:
        return [float(cell) for cell in row]
    except ValueError:
        return None


def _arrays(path: Path, field: str) -> Iterator[Source]:
    """The rows of the array x of a NumPy file, or of its only array."""
    import numpy as np

    try:
        loaded = np.load(path, allow_pickle=False)
        arrays = {"x": loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
    except Exception as error:  # of zip files, headers and pickles
        reason = str(error).partition("\n")[0][:120]
        raise SpecError(f"is no NumPy file of numbers ({reason})") from None
    name = "x" if "x" in arrays else next(iter(arrays), "")
    if len(arrays) > 1 and "x" not in arrays:
        raise SpecError(f"has no array x, only {', '.join(arrays)}: name one so")
    if field == "text" or name not in arrays or arrays[name].ndim < 1:
        raise SpecError("holds no rows that this model takes")
    rows = arrays[name]
    if field != "image" or rows.ndim not in (3, 4) or rows.dtype.kind not in "fiub":
        for number, row in enumerate(rows):
            yield _constant(f"{path}:{number}", field, row)
        return
    own = number_range(float(rows.min(initial=0)), float(rows.max(initial=0)), rows.dtype.kind)
    for number, row in enumerate(channels_first(rows)):
        yield _constant(f"{path}:{number}", field, FileRow(row, own))
