"""`csv:PATH`: one's own texts and their classes, a UTF-8 file with the columns text and label.

Split 70/15/15 by class.  With a third column, `lang`, the test split is made of whole languages,
those with the fewest rows, up to 15 % of the file or at least one: what is measured then is the
transfer to languages that were not trained on.  The others are split 85/15 by class.
"""

from __future__ import annotations

import unicodedata

import pandas as pd
import torch

from hpo.errors import SpecError
from hpo.model import Data
from hpo_models.datasets.split import stratified_split
from hpo_models.text import encode, vocabulary_of

MAX_LENGTH = 512
"""Longer texts are cut to so many characters."""
_HELD_OUT = 0.15
"""Share of the test split, and of the validation split."""


def load(argument: str, seed: int) -> Data:
    """Codes [N, L] int64 of the texts' characters, targets [N] int64; L at most MAX_LENGTH.

    Of rows with the same text only the first is kept, so that no text is in two splits.

    Raises:
        SpecError: unreadable file, missing columns or cells, one class, too few rows of a class.
    """
    table = _read(argument)
    tested = _tested_languages(table)
    _check_classes(table, tested, argument)
    class_names = sorted(table["label"].unique())
    targets = torch.tensor(table["label"].map(class_names.index).tolist())
    if tested:
        is_tested = torch.tensor(table["lang"].isin(tested).tolist())
        learnt, test = (torch.nonzero(part).flatten() for part in (~is_tested, is_tested))
        shares = (1 - _HELD_OUT, _HELD_OUT)
        parts = [learnt[rows] for rows in stratified_split(targets[learnt], shares, seed)] + [test]
    else:
        parts = stratified_split(targets, (1 - 2 * _HELD_OUT, _HELD_OUT, _HELD_OUT), seed)
    texts = table["text"].tolist()
    # Of all rows: a character that no training row holds stays untrained, but can be decoded.
    vocabulary = vocabulary_of(texts)
    max_length = min(max(map(len, texts)), MAX_LENGTH)
    codes = encode(texts, vocabulary, max_length)
    train, val, held_out = ((codes[rows], targets[rows]) for rows in parts)
    info = {
        "n_classes": len(class_names),
        "class_names": class_names,
        "vocabulary": vocabulary,
        "max_length": max_length,
    }
    return Data(f"csv:{argument}", train, val, held_out, info)


def _read(path: str) -> pd.DataFrame:
    """The columns text, label and perhaps lang, without empty cells or equal texts."""
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
        if not isinstance(table.index, pd.RangeIndex):
            raise ValueError("its rows have more cells than its first line")
    except UnicodeDecodeError:
        raise SpecError(f"data: {path!r}: is not UTF-8: save it in that encoding") from None
    except OSError as error:
        raise SpecError(f"data: {path!r}: {error.strerror}: check the path") from None
    except ValueError as error:  # pandas' own errors are ValueErrors
        reason = str(error).strip().partition("\n")[0]
        raise SpecError(
            f"data: {path!r}: {reason}: put quotes around texts that hold commas"
        ) from None
    missing = [name for name in ("text", "label") if name not in table.columns]
    if missing:
        raise SpecError(
            f"data: {path!r}: has no column {' and no '.join(missing)}, only "
            f"{', '.join(map(str, table.columns))}: its first line must be text,label[,lang]"
        )
    table = table[[name for name in ("text", "label", "lang") if name in table.columns]].copy()
    for name in table.columns:
        table[name] = table[name].str.strip()
        empty = table.index[table[name] == ""]
        if len(empty):
            raise SpecError(
                f"data: {path!r}: row {empty[0] + 1} has no {name} ({len(empty)} such rows): "
                "fill it in, or remove the row"
            )
    table["text"] = table["text"].map(lambda text: unicodedata.normalize("NFC", text))
    return table.drop_duplicates("text", ignore_index=True)


def _tested_languages(table: pd.DataFrame) -> list[str]:
    """The languages of the test split; none if the file names less than two."""
    if "lang" not in table.columns or table["lang"].nunique() < 2:
        return []
    n_rows = table.groupby("lang").size().sort_values(kind="stable")
    fit = n_rows.cumsum() <= _HELD_OUT * len(table)
    return [str(name) for name in n_rows.index[: max(1, int(fit.sum()))]]


def _check_classes(table: pd.DataFrame, tested: list[str], path: str) -> None:
    """Raises SpecError unless every class can be in every part."""
    if table["label"].nunique() < 2:
        raise SpecError(
            f"data: {path!r}: {len(table)} rows with {table['label'].nunique()} different labels: "
            "a classifier needs at least 2"
        )
    learnt = table[~table["lang"].isin(tested)] if tested else table
    n_parts = 2 if tested else 3
    n_rows = learnt.groupby("label").size().reindex(sorted(table["label"].unique()), fill_value=0)
    for label in n_rows.index[n_rows < n_parts]:
        where = f" outside {', '.join(tested)}, which are for testing" if tested else ""
        raise SpecError(
            f"data: {path!r}: class {label!r} has {n_rows[label]} different texts{where}: "
            f"each needs at least {n_parts}: add some, or remove it"
        )
