"""The page of a compression: what is written for `hpo compress`.

FOLDER/report.html        the page
FOLDER/compression.json   the same in numbers
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import plotly.graph_objects as go

from hpo.errors import HpoError, SpecError
from hpo.outcome.latency import BATCHES
from hpo.outcome.variants import ORIGINAL, Compression, Test, Variant, facts_of, signed
from hpo.report.page import Page, Section, html, json_text, write_whole
from hpo.report.plots import COLORS, SYMBOLS, figure

PAGE, FACTS = "report.html", "compression.json"


def compression_page(found: Compression) -> Page:
    """The variants as sections."""
    summary = [
        f"{found.model}, trained on {found.data}; variants are measured on {found.n_rows} "
        f"validation rows by {found.metric} ({found.direction}).",
        found.verdict,
        *tested(found.metric, found.test),
        *found.notes,
    ]
    best, alt = found.front, "Stars are the Pareto front; the ring is the chosen variant."
    names = found.study or found.path.name
    sections = [
        Section("Variants", (), table=variant_table(found)),
        Section(f"Size and {found.metric}", (), pareto(found, "size", best["size"]), alt),
        Section(f"Latency and {found.metric}", (), pareto(found, "latency", best["latency"]), alt),
        Section("How it was measured", MEASURED),
    ]
    return Page(f"Compression of {names}", summary, sections)


MEASURED = (
    "Size: the graphs' files in ONNX; packed: the same in a zip file; weights: the numbers in them "
    "alone. The rest is names and nodes, which count in a small network.",
    "Latency: one pass through every graph of the model by onnxruntime on one core, all variants "
    "in turns, so that other work on the machine hits them alike: compare within the table.",
    "The drop is paired: the same rows through the variant and through the original; 95 % "
    "bootstrap.",
    "Where int8 is slower than floats, onnxruntime's float kernels are the better ones for this "
    "network here: it saves room, not time.",
)


def tested(metric: str, test: Test | None) -> list[str]:
    """What the test rows say, as a sentence."""
    if test is None:
        return []
    return [
        f"On {test.n_rows} test rows {metric} is {test.chosen.text}, the original's "
        f"{test.original.text}; the chosen variant loses {signed(test.drop)} there."
    ]


def variant_table(found: Compression) -> pd.DataFrame:
    """A line a variant, the original first."""
    return pd.DataFrame([_line(found, v) for v in found.variants])


def _line(found: Compression, v: Variant) -> dict[str, str | float]:
    line: dict[str, str | float] = {
        "variant": v.name + (" (chosen)" if v.name == found.chosen else ""),
        "kB": v.n_bytes / 1e3,
        "smaller": f"{found.original.n_bytes / v.n_bytes:.2f}x" if v.n_bytes else "-",
        "packed kB": v.packed / 1e3,
        "weights kB": v.weights / 1e3,
        found.metric: "failed" if v.quality is None else v.quality.text,
        "drop": "-" if v.drop is None or v.name == ORIGINAL else signed(v.drop),
    }
    for n in BATCHES:
        one = v.latency.get(n)
        said = "-" if one is None else f"{one.p50:.3f} / {one.p99:.3f}"
        line[f"ms, {n} row{'s' * (n > 1)} (median / p99)"] = said
    return line


def pareto(found: Compression, amount: str, front: list[str]) -> go.Figure:
    """The metric of each variant against its size or its latency of one row."""
    title = "kB" if amount == "size" else "ms, one row, median"
    drawn = figure(title, found.metric)
    for v in found.variants:
        if v.quality is None:
            continue
        ends: dict[str, object] = {}
        if v.quality.low is not None and v.quality.high is not None:
            ends["error_y"] = {
                "array": [v.quality.high - v.quality.value],
                "arrayminus": [v.quality.value - v.quality.low],
                "thickness": 1,
            }
        chosen = v.name == found.chosen
        drawn.add_scatter(
            x=[v.n_bytes / 1e3 if amount == "size" else v.latency[1].p50],
            y=[v.quality.value],
            mode="markers",
            name=v.name,
            marker={
                "symbol": "star" if v.name in front else SYMBOLS[0],
                "size": 16 if v.name in front else 9,
                "color": COLORS[found.variants.index(v) % len(COLORS)],
                "line": {"width": 3 if chosen else 0, "color": "#808890"},
            },
            **ends,
        )
    return drawn


def check_folder(folder: Path) -> None:
    """Raises SpecError: a folder that holds something else than an earlier compression."""
    if folder.is_dir() and any(folder.iterdir()) and not (folder / FACTS).is_file():
        raise SpecError(f"path: {str(folder)!r} is not empty and holds no compression: move it")


def write_compression(found: Compression, folder: Path) -> Path:
    """Writes both files, each whole or not at all.

    Returns:
        The page.
    Raises:
        HpoError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / FACTS, json_text(facts_of(found)))
        write_whole(folder / PAGE, html(compression_page(found)))
    except OSError as error:
        raise HpoError(f"path: cannot write {str(folder)!r}: {error.strerror}") from None
    return folder / PAGE
