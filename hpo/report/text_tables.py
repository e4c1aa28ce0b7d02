"""Tables of Markdown files, as models write them of test rows."""

from __future__ import annotations

import re

import pandas as pd

_RULE = re.compile(r"\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?")


def split_tables(text: str) -> tuple[list[pd.DataFrame], str]:
    """The pipe tables of a Markdown text, and the text without them.

    >>> tables, rest = split_tables("Near:\\n| a | b |\\n|---|---|\\n| 1 | x\\\\|y |")
    >>> tables[0].to_dict("records"), rest
    ([{'a': '1', 'b': 'x|y'}], 'Near:')
    """
    tables: list[pd.DataFrame] = []
    rest: list[str] = []
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        head = lines[at]
        if not (head.startswith("|") and at + 1 < len(lines) and _RULE.fullmatch(lines[at + 1])):
            rest.append(head)
            at += 1
            continue
        columns = _cells(head)
        at += 2
        rows = []
        while at < len(lines) and lines[at].startswith("|"):
            cells = _cells(lines[at])
            # A text that holds a bare pipe has more cells than the table: they are one.
            last = " | ".join(cells[len(columns) - 1 :])
            rows.append([*cells[: len(columns) - 1], last] + [""] * (len(columns) - len(cells)))
            at += 1
        tables.append(pd.DataFrame(rows, columns=columns))
    return tables, "\n".join(rest).strip()


def _cells(line: str) -> list[str]:
    inner = line.strip().removeprefix("|").removesuffix("|")
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", inner)]
