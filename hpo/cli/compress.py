"""`hpo compress`: a saved model with fewer weights or fewer bits a weight."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpo.cli.flags import Open, Quiet, check_output, option
from hpo.cli.output import Format, print_json, print_rows
from hpo.cli.predict import OwnModel
from hpo.cli.streams import answer, user_code
from hpo.errors import SpecError

if TYPE_CHECKING:
    from hpo.outcome.variants import Compression


def compress(
    path: Annotated[
        str, typer.Argument(help="Folder that `hpo retrain` saved.", show_default=False)
    ],
    prune: Annotated[
        float | None, option("Share of the weights that go, by magnitude: 0.5.", "--prune")
    ] = None,
    structured: Annotated[
        bool, typer.Option("--structured", help="Prune whole channels, and cut them out.")
    ] = False,
    quantize: Annotated[
        list[str] | None,
        option(
            "int8 (both ways), int8-static, int8-dynamic, weights (8 bits), weights4. Repeatable; "
            "without it and --prune: int8 and weights.",
            "--quantize",
        ),
    ] = None,
    max_drop: Annotated[
        float, typer.Option(help="Of the metric that may be lost, on validation rows.")
    ] = 0.005,
    fine_tune: Annotated[
        int | None, option("Epochs after pruning; default: half of the model's own.", "--fine-tune")
    ] = None,
    to: Annotated[
        Path | None, option("Folder of the chosen one; default PATH/compressed.", "--to")
    ] = None,
    model: OwnModel = None,
    form: Annotated[
        Format, typer.Option("-f", "--format", help="Summary as table or json.")
    ] = Format.table,
    quiet: Quiet = False,
    open_: Open = False,
) -> None:
    """Prunes and quantizes a saved model; writes the smallest form that is good enough.

    What comes out is used like what `hpo export` writes. Exit code 1: none is good enough.

    \b
    [dim]hpo compress hpo-runs/cnn-tpe/best
    hpo compress hpo-runs/cnn-tpe/best --prune 0.5 --quantize int8 --quantize weights4
    hpo compress hpo-runs/cnn-tpe/best --prune 0.3 --structured --fine-tune 5 --max-drop 0.01
    hpo predict hpo-runs/cnn-tpe/best/compressed seven.png[/dim]
    """
    if form is Format.csv:
        raise SpecError("format: 'csv' is unknown: choose from table, json")
    if prune is not None and not 0 < prune < 1:
        raise SpecError(f"prune: {prune:g}: must be a share, 0 < share < 1")
    from hpo.outcome.compress import artifact_at, default_target
    from hpo.outcome.compress import compress as make
    from hpo.outcome.wishes import Wishes, methods_of
    from hpo.report.compression_page import check_folder, write_compression

    share = prune or 0.0
    methods = methods_of(quantize or [], share)
    wishes = Wishes(share, structured, methods, max_drop, fine_tune)
    artifact_at(path)
    folder = Path(path).expanduser() / "compression"
    check_output(str(folder), "path")
    check_folder(folder)
    check_output(str((to or default_target(path)).expanduser().absolute().parent), "to")

    def progress(phase: str) -> None:
        if not quiet and sys.stderr.isatty():
            print(f"{phase} ...", file=sys.stderr)

    found = make(path, wishes, to=to, model=model, progress=progress)
    page = write_compression(found, folder)
    if form is Format.json:
        from hpo.outcome.variants import facts_of

        print_json({**facts_of(found), "page": str(page)})
    else:
        with answer():
            _print(found, page)
    if open_:
        import webbrowser

        webbrowser.open(page.absolute().as_uri())
    if found.chosen is None:
        if (kept := to or default_target(path)).exists():
            print(f"{kept}: what an earlier compress chose; it stays as it was", file=sys.stderr)
        raise typer.Exit(1)


def _print(found: Compression, page: Path) -> None:
    from hpo.outcome.variants import signed
    from hpo.report.compression_page import tested

    rows = []
    for variant in found.variants:
        quality, one_row = variant.quality, variant.latency.get(1)
        is_original = variant is found.original
        rows.append(
            {
                "variant": variant.name,
                "kB": f"{variant.n_bytes / 1e3:.1f}",
                "smaller": f"{found.original.n_bytes / (variant.n_bytes or math.nan):.2f}x",
                found.metric: "failed" if quality is None else f"{quality.value:.4g}",
                "drop": signed(variant.drop) if variant.drop and not is_original else "-",
                "ms a row": "-" if one_row is None else f"{one_row.p50:.3f}",
            }
        )
    title = f"{found.model} by {found.metric} on {found.n_rows} validation rows of {found.data}"
    print_rows(rows, Format.table, title=title)
    for line in (*tested(found.metric, found.test), *found.notes):
        print(line)
    print(f"Page and numbers: {page}")
    print(found.verdict, file=sys.stdout if found.chosen else sys.stderr)
    if found.to is not None:
        print(found.to)


def register(app: typer.Typer) -> None:
    """Adds this file's command."""
    app.command(rich_help_panel="Use")(user_code()(compress))
