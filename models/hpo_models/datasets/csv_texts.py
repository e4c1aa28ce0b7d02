"""`csv:PATH`: one's own texts and their classes, a UTF-8 file with the columns text and label.

Split 70/15/15 by class.  With a third column, `lang`, the test split is made of whole languages,
those with the fewest rows, up to 15 % of the file or at least one: what is measured then is the
transfer to languages that were not trained on.  Of four languages or more, the validation split is
made in the same way of those with the next fewest, so that a search chooses by transfer too; of
fewer, the other rows are split 85/15 by class.
"""

from __future__ import annotations

import unicodedata

import pandas as pd
import torch
from torch import Tensor

from hpo.errors import SpecError
from hpo.model import Data
from hpo.reading import Look
from hpo_models.datasets.split import stratified_split, text_data

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
    tested = _fewest_languages(table, of=2)
    validated = _fewest_languages(table[~table["lang"].isin(tested)], of=3) if tested else []
    _check_classes(table, tested, validated, argument)
    class_names = sorted(table["label"].unique())
    targets = torch.tensor(table["label"].map(class_names.index).tolist())
    if tested:
        of_test, of_val = (
            torch.tensor(table["lang"].isin(part).tolist()) for part in (tested, validated)
        )
        learnt, test = torch.nonzero(~of_test & ~of_val).flatten(), torch.nonzero(of_test).flatten()
        if validated:
            parts = [learnt, torch.nonzero(of_val).flatten(), test]
        else:
            shares = (1 - _HELD_OUT, _HELD_OUT)
            parts = [learnt[rows] for rows in stratified_split(targets[learnt], shares, seed)]
            parts.append(test)
    else:
        parts = stratified_split(targets, (1 - 2 * _HELD_OUT, _HELD_OUT, _HELD_OUT), seed)
    texts, labels = table["text"].tolist(), targets.tolist()
    rows = [
        ([texts[k] for k in part], [labels[k] for k in part]) for part in map(Tensor.tolist, parts)
    ]
    return text_data(f"csv:{argument}", rows, class_names, MAX_LENGTH)


def look(argument: str) -> Look:
    """How many training rows there are."""
    return Look(round(len(_read(argument)) * (1 - 2 * _HELD_OUT)))


def _read(path: str) -> pd.DataFrame:
    """The columns text, label and perhaps lang, without empty cells or equal texts."""
    table = _cells(path)
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
    nothing = table.index[table["label"].isin(("nan", "NaN"))]
    if len(nothing):
        raise SpecError(
            f"data: {path!r}: row {nothing[0] + 1} has the label {table['label'][nothing[0]]!r}, "
            f"which stands for none ({len(nothing)} such rows): fill it in, or remove the row"
        )
    table["text"] = table["text"].map(lambda text: unicodedata.normalize("NFC", text))
    return table.drop_duplicates("text", ignore_index=True)


def _cells(path: str) -> pd.DataFrame:
    """All cells as texts, with the first line as titles.

    Raises:
        SpecError: no CSV file, or titles that stand twice.
    """
    try:
        table = _parsed(path, ",")
        if table.shape[1] == 1:  # what other programs put between cells
            title = str(table.iat[0, 0])
            other = next((mark for mark in ";\t" if mark in title), None)
            table = table if other is None else _parsed(path, other)
    except UnicodeError:
        raise SpecError(f"data: {path!r}: is not UTF-8: save it in that encoding") from None
    except pd.errors.EmptyDataError:
        raise SpecError(f"data: {path!r}: is empty: its first line must be text,label") from None
    except pd.errors.ParserError as error:
        reason = str(error).strip().partition("\n")[0].partition("C error: ")[2] or str(error)
        raise SpecError(
            f"data: {path!r}: {reason}: put quotes around texts that hold commas"
        ) from None
    except Exception as error:  # of files, and of every kind of compression
        reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        reason = " ".join(str(reason).split())[:160]
        raise SpecError(
            f"data: {path!r}: cannot be read ({reason}): check the path, or write the file anew"
        ) from None
    titles = [str(title).strip() for title in table.iloc[0]]
    twice = sorted({title for title in titles if titles.count(title) > 1})
    if twice:
        raise SpecError(
            f"data: {path!r}: has more than one column {', '.join(map(repr, twice))}: rename one"
        )
    table = table.iloc[1:].reset_index(drop=True)
    table.columns = pd.Index(titles)
    return table


def _parsed(path: str, separator: str) -> pd.DataFrame:
    table: pd.DataFrame = pd.read_csv(
        path, dtype=str, header=None, sep=separator, keep_default_na=False, encoding="utf-8-sig"
    )
    return table


def _fewest_languages(table: pd.DataFrame, of: int) -> list[str]:
    """The languages to hold out; none if there are less than `of`."""
    if "lang" not in table.columns or table["lang"].nunique() < of:
        return []
    n_rows = table.groupby("lang").size().sort_values(kind="stable")
    fit = n_rows.cumsum() <= _HELD_OUT * len(table)
    return [str(name) for name in n_rows.index[: max(1, int(fit.sum()))]]


def _check_classes(table: pd.DataFrame, tested: list[str], validated: list[str], path: str) -> None:
    """Raises SpecError unless every class can be in every part that is split by class."""
    if table["label"].nunique() < 2:
        raise SpecError(
            f"data: {path!r}: {len(table)} rows with {table['label'].nunique()} different labels: "
            "a classifier needs at least 2"
        )
    held_out = [*tested, *validated]
    learnt = table[~table["lang"].isin(held_out)] if tested else table
    n_parts = 3 if not tested else 1 if validated else 2
    n_rows = learnt.groupby("label").size().reindex(sorted(table["label"].unique()), fill_value=0)
    for label in n_rows.index[n_rows < n_parts]:
        where = f" outside {', '.join(held_out)}, which are held out" if tested else ""
        raise SpecError(
            f"data: {path!r}: class {label!r} has {n_rows[label]} different texts{where}: "
            f"each needs at least {n_parts}: add some, or remove it"
        )
