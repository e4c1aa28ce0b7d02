"""`hpo export` and `hpo view`: a saved model for use elsewhere, and its graph."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from hpo.cli.flags import Quiet, check_output, option
from hpo.cli.output import Format, print_json
from hpo.cli.predict import Artifact, OwnModel, exported
from hpo.cli.streams import answer, user_code
from hpo.errors import SpecError


def export(
    path: Annotated[
        str, typer.Argument(help="Folder that `hpo retrain` printed.", show_default=False)
    ],
    kind: Annotated[
        str, typer.Option("--format", help="onnx, torchscript, pt2 or safetensors.")
    ] = "onnx",
    to: Annotated[
        Path | None, option("Folder to write; default PATH/export/FORMAT.", "--to")
    ] = None,
    opset: Annotated[int, typer.Option(help="Of ONNX.")] = 20,
    tolerance: Annotated[
        float, typer.Option(help="Largest absolute difference from torch that is allowed.")
    ] = 1e-4,
    model: OwnModel = None,
    form: Annotated[Format, typer.Option("-f", help="Summary as table or json.")] = Format.table,
    quiet: Quiet = False,
) -> None:
    """Writes a saved model for use without torch, checked against torch on rows of its data.

    \b
    [dim]hpo export hpo-runs/cnn-tpe/best
    hpo export hpo-runs/cnn-tpe/best --format pt2 --to ./cnn-pt2
    hpo export hpo-runs/mine-Net-tpe/best --model ./mine.py:Net[/dim]
    """
    from dataclasses import asdict

    from hpo.outcome.export import export as write

    if to is not None:
        check_output(str(to.expanduser().absolute().parent), "to")

    def progress(phase: str) -> None:
        if not quiet and sys.stderr.isatty():
            print(f"{phase} ...", file=sys.stderr)

    done = write(
        path, kind=kind, to=to, opset=opset, tolerance=tolerance, model=model, progress=progress
    )
    if form is not Format.table:
        print_json(asdict(done))
        return
    if done.no_data:
        print(f"Note: the rows were drawn at random, for {done.no_data}", file=sys.stderr)
    with answer():
        for check in done.checks:
            rows = (
                f"{check.n_rows} rows of its data" if check.real else f"{check.n_rows} drawn rows"
            )
            print(f"{check.graph}: differs from torch by {check.difference:.3g} at most, on {rows}")
        print(f"{done.path} ({done.task}, {done.n_bytes / 1e6:.1f} MB)")


def view(
    path: Artifact,
    graph: Annotated[str | None, option("Which graph, if there are several.", "--graph")] = None,
    png: Annotated[Path | None, option("Save a picture instead, by Chromium.", "--png")] = None,
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.", min=0, max=65535)] = 0,
    no_open: Annotated[bool, typer.Option("--no-open", help="Open no browser.")] = False,
    model: OwnModel = None,
    quiet: Quiet = False,
) -> None:
    """Shows a saved model's graph in Netron, on loopback; Ctrl-C ends it.

    \b
    [dim]hpo view hpo-runs/cnn-tpe/best
    hpo view hpo-runs/cnn-tpe/best --png graph.png[/dim]
    """
    from hpo.inference.bundle import Bundle
    from hpo.web.graph import picture, serve

    if png is not None and (png.is_dir() or png.suffix.lower() != ".png"):
        raise SpecError(f"png: {str(png)!r}: must be a file NAME.png")
    found = Bundle.open(exported(path, model, quiet))
    names = list(found.graphs)
    chosen = names[0] if graph is None else graph
    if chosen not in names:
        raise SpecError(f"graph: {chosen!r} is unknown: choose from {', '.join(names)}")
    server = serve(found.file(found.graphs[chosen]["file"]), port)
    try:
        if png is not None:
            check_output(str(png.expanduser().absolute().parent), "png")
            picture(server.url, png)
            with answer():
                print(png)
            return
        others = [name for name in names if name != chosen]
        more = f" (--graph shows {', '.join(others)})" if others else ""
        with answer():
            print(f"{chosen} of {found.path}{more}: {server.url}  Ctrl-C ends it.")
        if not no_open:
            import webbrowser

            webbrowser.open(server.url)
        server.wait()
    except KeyboardInterrupt:
        pass
    finally:
        server.stop()


def register(app: typer.Typer) -> None:
    """Adds this file's commands."""
    for command in (export, view):
        app.command(rich_help_panel="Use")(user_code()(command))
