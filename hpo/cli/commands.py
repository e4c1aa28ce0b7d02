"""All commands, in one Typer application.

`hpo --help` must stay quick: commands import what they need when they are called.
"""

from __future__ import annotations

from typing import Annotated

import typer

from hpo.cli import (
    catalog,
    compare,
    compress,
    dashboard,
    database,
    evaluate,
    export,
    inspect,
    predict,
    report,
    rerun,
    run,
    serve,
    transport,
    trial,
)

app = typer.Typer(
    name="hpo",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start here:  hpo run --model cnn --sampler tpe",
)
run.register(app)
compare.register(app)
inspect.register(app)
catalog.register(app)
dashboard.register(app)
report.register(app)
rerun.register(app)
transport.register(app)
trial.register(app)
evaluate.register(app)
export.register(app)
compress.register(app)
predict.register(app)
serve.register(app)
database.register(app)


def _version(asked: bool) -> None:
    if asked:
        import hpo

        typer.echo(f"hpo {hpo.__version__}")
        raise typer.Exit


@app.callback()
def hpo(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Searches the hyperparameters of PyTorch models: Optuna's samplers on Ray Tune's workers."""
