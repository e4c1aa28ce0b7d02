"""`hpo evaluate`: a saved network measured in every way that fits it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpo.cli.flags import Open, SkipBroken, check_output, option
from hpo.cli.output import Format, print_json, print_rows
from hpo.cli.streams import answer, user_code
from hpo.errors import HpoError, SpecError
from hpo.reading import Reading, with_reading

if TYPE_CHECKING:
    from hpo.outcome.evaluated import Evaluated

_MOST_RESAMPLES = 100_000


def evaluate(
    artifact: Annotated[
        str, typer.Argument(help="Folder that `hpo retrain` saved.", show_default=False)
    ],
    data: Annotated[
        str | None, option("Other data than its own test rows: imagefolder:PATH, csv:PATH, ...")
    ] = None,
    skip_broken: SkipBroken = None,
    split: Annotated[
        str | None,
        option("test (default for its own data) or val; all rows of other data.", "--split"),
    ] = None,
    model: Annotated[
        str | None, option("Code of your own model, ./mine.py:Net.", "--model")
    ] = None,
    resamples: Annotated[int, typer.Option(help="Of the bootstrap; 0: no such intervals.")] = 1000,
    to: Annotated[
        Path | None, option("Folder to write; default ARTIFACT/evaluation.", "--to")
    ] = None,
    form: Annotated[
        Format, typer.Option("-f", "--format", help="Summary as table or json.")
    ] = Format.table,
    open_: Open = False,
) -> None:
    """Measures a saved network on its test rows, or on other data: table, page, CSV of all rows.

    \b
    [dim]hpo evaluate hpo-runs/cnn-tpe/best --open
    hpo evaluate hpo-runs/cnn-tpe/best --data imagefolder:./photos --to ./on-photos
    hpo evaluate hpo-runs/mine-Net-tpe/best --model ./mine.py:Net[/dim]
    """
    if not 0 <= resamples <= _MOST_RESAMPLES or 0 < resamples < 100:
        raise SpecError(f"resamples: {resamples}: must be 0, or 100 to {_MOST_RESAMPLES}")
    if form is Format.csv:
        raise SpecError("format: 'csv' is unknown: choose from table, json")
    from hpo.outcome.artifact import read

    read(artifact)  # before anything is imported that takes seconds
    folder = to.expanduser() if to is not None else Path(artifact).expanduser() / "evaluation"
    check_output(str(folder), "to")
    from hpo.outcome.evaluated import evaluate_artifact
    from hpo.report.evaluation_page import FACTS, check_folder

    check_folder(folder)
    if skip_broken and data is not None and "?" not in data:
        data = with_reading(data, Reading(skip_broken=True))
    found = evaluate_artifact(artifact, data=data, part=split, model=model, n_resamples=resamples)
    found = _recorded(found)
    page = _write(found, folder)
    if form is Format.json:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        print_json({**facts, "path": str(folder.absolute())})
    else:
        with answer():
            _print(found, page)
    if open_:
        import webbrowser

        webbrowser.open(page.absolute().as_uri())


def _recorded(found: Evaluated) -> Evaluated:
    """Counted in the saved folder, where that can be written."""
    from hpo.outcome.evaluated import record

    try:
        return replace(found, times=record(found))
    except OSError:
        return found


def _write(found: Evaluated, folder: Path) -> Path:
    from hpo.report.evaluation_page import write_evaluation

    try:
        return write_evaluation(found, folder)
    except OSError as error:
        raise HpoError(f"to: cannot write {str(folder)!r}: {error.strerror}") from None


def _print(found: Evaluated, page: Path) -> None:
    evaluation, rows = found.evaluation, found.rows
    table = [
        {
            "measure": name,
            "value": measure.text.partition(" [")[0],
            "95 % interval": "-" if measure.low is None else measure.text.partition(" ")[2],
            "by": measure.how or "-",
        }
        for name, measure in evaluation.measures.items()
    ]
    title = f"{found.artifact.model} on {evaluation.n_rows} rows of {rows.data} ({rows.part})"
    print_rows(table, Format.table, title=title)
    for note in found.notes:
        print(note)
    print(f"Page, numbers and rows: {page}")


def register(app: typer.Typer) -> None:
    """Adds this file's command."""
    app.command(rich_help_panel="Look")(user_code()(evaluate))
