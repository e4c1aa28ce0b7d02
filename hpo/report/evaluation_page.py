"""The page of an evaluation, and the files beside it: what is written for `hpo evaluate`.

FOLDER/report.html       the page
FOLDER/evaluation.json   the same in numbers
FOLDER/predictions.csv   a line for each row
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hpo.errors import SpecError
from hpo.outcome.classified import Classified
from hpo.outcome.evaluate import Evaluation
from hpo.outcome.evaluated import Evaluated, facts_of
from hpo.registry import texts_in
from hpo.report import evaluation_plots as plots
from hpo.report.page import MOST_IMAGE_BYTES, Page, Section, html, json_text

PAGE, FACTS, PREDICTIONS = "report.html", "evaluation.json", "predictions.csv"
N_HARDEST = 24
_SIDE = 112
"""Pixels of a shown picture's longer side, about."""
_LONGEST_TEXT = 300
_MOST_PAIRS = 15
MEANINGS = {
    "accuracy": "share of rows that are told right",
    "balanced_accuracy": "mean of the classes' recalls",
    "top_3": "share with the true class among the three likeliest",
    "top_5": "share with the true class among the five likeliest",
    "mcc": "Matthews' correlation of truth and prediction; 0: chance",
    "kappa": "Cohen's agreement beyond chance",
    "log_loss": "mean -log of the true class's probability, nats; 0 is best",
    "brier": "mean squared error of the probabilities; 0 is best",
    "roc_auc": "area under the ROC curve, one class against the rest, mean over classes",
    "average_precision": "area under precision and recall, the same way",
    "ece": "expected calibration error, 15 ranges of confidence of one width",
    "adaptive_ece": "the same, 15 ranges with as many rows each",
    "precision_macro": "mean over classes",
    "recall_macro": "mean over classes",
    "f1_macro": "mean over classes",
    "precision_weighted": "mean over classes, by their rows",
    "recall_weighted": "mean over classes, by their rows",
    "f1_weighted": "mean over classes, by their rows",
}


def evaluation_page(evaluated: Evaluated) -> Page:
    """The evaluation as sections."""
    evaluation, rows = evaluated.evaluation, evaluated.rows
    name = evaluated.artifact.study.get("name") or evaluated.path.name
    kind = {"test": "test rows", "val": "validation rows", "all": "rows"}[rows.part]
    summary = [
        f"{evaluated.artifact.model}, trained on {evaluated.artifact.data}; here on "
        f"{evaluation.n_rows} {kind} of {rows.data}.",
        *evaluated.notes,
    ]
    sections = [_measures(evaluated), *_shown(evaluation)]
    if evaluation.classified is not None:
        sections += _of_classes(evaluation.classified)
    sections += [*_spread(evaluation), *_hardest(evaluated)]
    return Page(f"Evaluation of {name}", summary, sections)


def _measures(evaluated: Evaluated) -> Section:
    measures = evaluated.evaluation.measures
    table = pd.DataFrame(
        {
            "measure": list(measures),
            "value": [m.text.partition(" [")[0] for m in measures.values()],
            "95 % interval": [_unbroken(m.text.partition(" ")[2]) for m in measures.values()],
            "what it is": [_unbroken(MEANINGS.get(name, "the model's own")) for name in measures],
        }
    )
    hows = {m.how for m in measures.values()}
    lines = []
    if "bootstrap" in hows:
        lines.append(
            f"Intervals are percentile bootstraps over the rows, {evaluated.n_resamples} resamples "
            "of a fixed seed: the chance of having drawn these rows, not that of another training."
        )
    if "Wilson" in hows:
        lines.append("The accuracy's interval is Wilson's.")
    if "" in hows:
        lines.append(
            "Where there is none, the measure is no mean over rows, or resampling would bias it."
        )
    return Section("Measures", lines, table=table)


def _unbroken(text: str) -> str:
    """Text that a narrow screen scrolls instead of breaking it over many lines."""
    return text.replace(" ", "\N{NO-BREAK SPACE}") or "-"


def _shown(evaluation: Evaluation) -> Iterator[Section]:
    """The model's own pictures and texts."""
    files = {name: content for name, content in evaluation.shown.items() if name != "classes.md"}
    images = {
        name: content
        for name, content in files.items()
        if name.endswith(".png") and len(content) <= MOST_IMAGE_BYTES
    }
    texts = [
        content.decode("utf-8", "replace")[:4000]
        for name, content in files.items()
        if not name.endswith(".png")
    ]
    if images or texts:
        yield Section("What the network makes of the rows", images=images, code="\n".join(texts))


def _of_classes(found: Classified) -> list[Section]:
    table = pd.DataFrame(found.classes)
    n_missing = len(found.class_names) - len(set(found.targets.tolist()))
    lines = [f"{n_missing} classes have no row here."] if n_missing else []
    alt = "A point a class: its F1 and the bootstrap's 95 % interval; rows in parentheses."
    sections = [
        Section("Classes", lines, plots.by_class(found), alt, table, folded=True),
        _confusion(found),
        _calibration(found),
    ]
    if classes := plots.drawn_classes(found):
        some = f" The {len(classes)} of {len(found.class_names)} classes that are told apart worst."
        more = some if len(classes) < len(found.class_names) else ""
        alt = f"A curve a class, against all others; nearer to the upper left is better.{more}"
        sections.append(Section("ROC curves", (), plots.roc(found), alt))
        alt = f"A curve a class, against all others; nearer to the upper right is better.{more}"
        sections.append(Section("Precision and recall", (), plots.precision_recall(found), alt))
    return sections


def _confusion(found: Classified) -> Section:
    wrong = found.confusion.copy()
    np.fill_diagonal(wrong, 0)
    order = [k for k in np.argsort(-wrong, axis=None, kind="stable") if wrong.flat[k]]
    pairs = [divmod(int(k), len(wrong)) for k in order[:_MOST_PAIRS]]
    table = pd.DataFrame(
        [
            {
                "true": found.class_names[a],
                "predicted": found.class_names[b],
                "rows": int(wrong[a, b]),
                "share of the class": float(wrong[a, b] / found.confusion[a].sum()),
            }
            for a, b in pairs
        ]
    )
    lines = [f"{int(wrong.sum())} of {int(found.confusion.sum())} rows are told wrong."]
    if len(table):
        lines.append("The table has the pairs that are confused most.")
    if len(wrong) > plots.MOST_CONFUSED:
        return Section("Confusion", lines, table=table)
    alt = "Rows are true classes, columns predicted ones; the darker, the larger the class's share."
    return Section("Confusion", lines, plots.confusion(found), alt, table)


def _calibration(found: Classified) -> Section:
    error, chance = found.measures["ece"].value, found.chance["ece"]
    lines = [
        f"Expected calibration error {error:.4f}. A calibrated network with the same confidences "
        f"would have {chance.mean:.4f} on so many rows by chance, and up to {chance.most:.4f} in "
        "95 % of the draws: "
        + (
            "what is measured is within that."
            if error <= chance.most
            else f"this one is {'too sure' if _too_sure(found) else 'not sure enough'}."
        )
    ]
    table = pd.DataFrame([vars(one) for one in found.bins["ece"]])
    alt = (
        "A point a range of confidence: the share that is right, with Wilson's interval; on the "
        "dashed line a network is calibrated, below it too sure. Bars: share of the rows."
    )
    return Section("Calibration", lines, plots.reliability(found), alt, table, folded=True)


def _too_sure(found: Classified) -> bool:
    return bool(found.confidence.mean() > (found.predicted == found.targets).mean())


def _spread(evaluation: Evaluation) -> Iterator[Section]:
    """How the loss is spread over the rows of models that do not classify."""
    losses = evaluation.losses
    if losses is None or evaluation.classified is not None or len(losses) < 2:
        return
    ends = np.quantile(losses, (0.05, 0.5, 0.95))
    line = f"Median {ends[1]:.4g}; nine tenths of the rows lie in {ends[0]:.4g} to {ends[2]:.4g}."
    drawn = plots.histogram(losses, "loss of a row")
    yield Section("Losses", [line], drawn, "How many rows have which loss; the line is the mean.")


def _hardest(evaluated: Evaluated) -> Iterator[Section]:
    """The rows with the highest losses: pictures, texts, what was said and what is true."""
    evaluation = evaluated.evaluation
    places = evaluation.hardest(N_HARDEST)
    if not places:
        return
    inputs, info = evaluated.rows.split[0], evaluated.artifact.info
    texts = texts_in(evaluated.rows.split, info)
    has_images = inputs.dim() == 4 and "shape" in info
    names = evaluated.rows.names
    table = row_table(evaluation, texts if not has_images else None, names).iloc[places]
    if "text" in table:
        table = table.assign(text=table["text"].str.slice(0, _LONGEST_TEXT))
    lines = [f"The {len(places)} rows with the highest loss, the worst first."]
    if (found := evaluation.classified) is not None:
        right = found.predicted[places] == found.targets[places]
        lines.append(f"{int((~right).sum())} of them are told wrong.")
    images = {}
    if has_images:
        for place in places:
            images[_caption(evaluation, place, names)] = picture(inputs[place].numpy())
    yield Section("Hardest rows", lines, table=table, images=images, folded=has_images)


def _caption(evaluation: Evaluation, place: int, names: list[str] | None) -> str:
    columns = evaluation.rows
    parts = [f"row {place}" if names is None else f"row {place}: {names[place]}"]
    if "true" in columns and "predicted" in columns:
        parts.append(f"true: {columns['true'][place]}")
        sure = f" ({columns['probability'][place]:.2f})" if "probability" in columns else ""
        parts.append(f"predicted: {columns['predicted'][place]}{sure}")
    else:
        parts.append(f"loss {columns['loss'][place]:.4g}")
    return ", ".join(parts)


def picture(image: Any) -> bytes:
    """An image [C, H, W] as PNG; what is not in 0..1 is stretched to it."""
    from PIL import Image

    low, high = float(image.min()), float(image.max())
    if low < 0 or high > 1:
        image = (image - low) / max(high - low, 1e-9)
    shown = image[:3] if len(image) >= 3 else image[:1].repeat(3, axis=0)
    pixels = Image.fromarray((shown.transpose(1, 2, 0) * 255).round().astype("uint8"))
    times = max(1, round(_SIDE / max(pixels.size)))
    if max(pixels.size) > 2 * _SIDE:
        pixels.thumbnail((_SIDE, _SIDE))
    else:
        size = (pixels.width * times, pixels.height * times)
        pixels = pixels.resize(size, Image.Resampling.NEAREST)
    file = io.BytesIO()
    pixels.save(file, "PNG", optimize=True)
    return file.getvalue()


def row_table(
    evaluation: Evaluation, texts: list[str] | None, names: list[str] | None = None
) -> pd.DataFrame:
    """A line for each row, in the order of the data set's part."""
    columns: dict[str, Any] = {"row": np.arange(evaluation.n_rows)}
    if names is not None:
        columns["file"] = names
    if texts is not None:
        columns["text"] = texts
    return pd.DataFrame(columns | dict(evaluation.rows))


def check_folder(folder: Path) -> None:
    """Raises SpecError: a folder that holds something else than an earlier evaluation."""
    if folder.is_dir() and any(folder.iterdir()) and not (folder / FACTS).is_file():
        raise SpecError(
            f"to: {str(folder)!r} is not empty and holds no evaluation: name another folder"
        )


def write_evaluation(evaluated: Evaluated, folder: Path) -> Path:
    """Writes the three files; each of them is whole or not there, and so is what they replace.

    Returns:
        The page.
    """
    texts = texts_in(evaluated.rows.split, evaluated.artifact.info)
    if evaluated.evaluation.rows.get("true") == texts:
        texts = None
    table = row_table(evaluated.evaluation, texts, evaluated.rows.names)
    contents = {
        PREDICTIONS: table.to_csv(index=False),
        FACTS: json_text(facts_of(evaluated)),
        PAGE: html(evaluation_page(evaluated)),
    }
    folder.mkdir(parents=True, exist_ok=True)
    drafts = {}
    try:
        for name, content in contents.items():
            drafts[name] = folder / f".{name}.{os.getpid()}"
            drafts[name].write_text(content, encoding="utf-8", newline="")
        for name, draft in drafts.items():
            os.replace(draft, folder / name)
    finally:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)
    return folder / PAGE
