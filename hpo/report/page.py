"""A report as sections, and its forms: one HTML file that needs no network, Markdown with PNGs."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pandas as pd

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

MARK = "made by hpo report"
"""Stands at the beginning of every report, HTML and Markdown."""
MOST_ROWS = 200
"""Of a table on a page."""
MOST_IMAGE_BYTES = 400_000


@dataclass(frozen=True)
class Section:
    """One part of a report.

    Attributes:
        lines: plain sentences.
        figure: shown with `alt`, a sentence that says what there is to see.
        table: shown below; folded away if it only holds the figure's numbers.
        code: commands or settings, shown as they are.
        images: PNG bytes by name.
    """

    title: str
    lines: Sequence[str] = ()
    figure: Figure | None = None
    alt: str = ""
    table: pd.DataFrame | None = None
    folded: bool = False
    code: str = ""
    images: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Page:
    """A report: its title, a sentence or two that say what came out, its sections."""

    title: str
    summary: Sequence[str]
    sections: Sequence[Section]
    refresh_s: int | None = None

    @property
    def placed(self) -> list[tuple[str, Section]]:
        """Sections with their names in links and files, each of its own."""
        found: dict[str, Section] = {}
        for section in self.sections:
            words = "".join(c if c.isalnum() else " " for c in section.title.lower()).split()
            anchor = "-".join(words)
            while anchor in found:
                anchor += "-2"
            found[anchor] = section
        return list(found.items())


def html(page: Page) -> str:
    """One file: styles, pictures, data and plotly's script are inside."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from plotly.offline import get_plotlyjs

    environment = Environment(
        loader=PackageLoader("hpo.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"html_table": _html_table, "base64": _base64, "script": _script}
    figures = any(section.figure is not None for section in page.sections)
    text: str = environment.get_template("page.html").render(
        page=page, plotly=get_plotlyjs() if figures else "", most_rows=MOST_ROWS
    )
    return text


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _script(figure: Figure) -> str:
    """A figure as JSON that cannot end the script element it stands in."""
    return str(figure.to_json()).replace("<", "\\u003c")


def _html_table(table: pd.DataFrame) -> str:
    """Rows as text.  On a narrow screen each row of more than two cells becomes a list, which needs
    the columns' names in the cells, and their roles said."""
    shown = shorten(table)
    kinds = ["n" if pd.api.types.is_numeric_dtype(table[c]) else "t" for c in table]
    names = [escape(str(column)) for column in shown.columns]
    pairs = ' class="pairs"' if len(names) <= 2 else ""
    heads = (f'<th class="{kind}">{name}</th>' for kind, name in zip(kinds, names, strict=True))
    parts = [f'<table role="table"{pairs}><thead><tr>{"".join(heads)}</tr></thead><tbody>']
    for row in shown.itertuples(index=False, name=None):
        cells = (
            f'<td role="cell" class="{kind}" data-name="{name}">{escape(str(value))}</td>'
            for kind, name, value in zip(kinds, names, row, strict=True)
        )
        parts.append(f'<tr role="row">{"".join(cells)}</tr>')
    return "".join([*parts, "</tbody></table>"])


def shorten(table: pd.DataFrame) -> pd.DataFrame:
    """The first rows, as text with four significant digits."""
    return table.head(MOST_ROWS).map(cell)


def cell(value: Any) -> str:
    """One value as text."""
    if value is None or value is pd.NaT or (isinstance(value, float) and value != value):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
    return str(value)


def markdown(page: Page, pictures: dict[str, str]) -> str:
    """The same in Markdown.

    Args:
        pictures: file names by section anchor and by image name.
    """
    parts = [f"<!-- {MARK} -->", f"# {_plain(page.title)}", *map(_plain, page.summary)]
    for anchor, section in page.placed:
        parts.append(f"## {_plain(section.title)}")
        parts += map(_plain, section.lines)
        if anchor in pictures:
            parts.append(f"![{_plain(section.alt)}]({quote(pictures[anchor])})")
        parts += [
            f"![{name}]({quote(pictures[name])})" for name in section.images if name in pictures
        ]
        if section.table is not None and len(section.table):
            parts.append(_markdown_table(section.table))
        if section.code:
            longest = max(map(len, re.findall("`+", section.code)), default=0)
            fence = "`" * max(3, 1 + longest)
            parts.append(f"{fence}\n{section.code}\n{fence}")
    return "\n\n".join(parts) + "\n"


def _plain(text: str) -> str:
    """Text that Markdown takes for no tag."""
    return text.replace("&", "&amp;").replace("<", "&lt;")


def _markdown_table(table: pd.DataFrame) -> str:
    def row(values: Iterable[Any]) -> str:
        cells = (_plain(str(v)).replace("|", "\\|").replace("\n", " ") for v in values)
        return f"| {' | '.join(cells)} |"

    shown = shorten(table)
    lines = [row(shown.columns), "|" + "---|" * len(shown.columns)]
    lines += [row(values) for values in shown.itertuples(index=False)]
    return "\n".join(lines)


def write_pictures(page: Page, folder: Path) -> tuple[dict[str, str], str | None]:
    """PNGs of the figures, and of the images that the page holds.

    Returns:
        File names by anchor or image name, and why there are no figures among them, or None.
    """
    pictures: dict[str, str] = {}
    for section in page.sections:
        for name, content in section.images.items():
            (folder / name).write_bytes(content)
            pictures[name] = name
    drawn = {anchor: s.figure for anchor, s in page.placed if s.figure is not None}
    if not drawn:
        return pictures, None
    import plotly.io

    files = [folder / f"{anchor}.png" for anchor in drawn]
    try:
        plotly.io.write_images(
            fig=list(drawn.values()), file=files, width=900, height=480, scale=1.5
        )
    except (RuntimeError, ImportError, OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        return pictures, f"no PNGs, which need Chrome or Chromium: {reason}"
    return {**pictures, **{anchor: f"{anchor}.png" for anchor in drawn}}, None


def is_report(path: Path) -> bool:
    """Whether a file was written by this module, and so may be replaced."""
    try:
        with path.open("rb") as file:
            return path.is_file() and MARK.encode() in file.read(2000)
    except OSError:
        return False


def write_whole(path: Path, text: str) -> None:
    """Writes a file whole or not at all: a page that is watched is never half there."""
    import os

    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_text(text, encoding="utf-8")
        os.replace(draft, path)
    finally:  # an interrupt leaves nothing half-written
        draft.unlink(missing_ok=True)


def json_text(value: Any) -> str:
    """Facts as JSON; NaN and infinity as null."""
    return json.dumps(_finite(value), indent=1, ensure_ascii=False, default=str)


def _finite(value: Any) -> Any:
    import math

    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
