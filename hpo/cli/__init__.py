"""The command line: parse, call, print.  The only place that catches HpoError.

`hpo --help` must stay quick: commands import what they need when they are called.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import Annotated

import typer

from hpo.cli import (
    compare,
    compress,
    evaluate,
    export,
    inspect,
    predict,
    report,
    rerun,
    run,
    serve,
    transport,
)
from hpo.errors import HpoError

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
report.register(app)
rerun.register(app)
transport.register(app)
evaluate.register(app)
export.register(app)
compress.register(app)
predict.register(app)
serve.register(app)


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


def main() -> None:
    """Entry point.  Exit codes: 0 done, 1 failed, 2 wrong input, 130 interrupted."""
    os.umask(0o077)  # studies, models and logs are their owner's
    try:
        app()
    except HpoError as error:
        for line in str(error).splitlines():
            print(f"Error: {line}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        sys.exit(130)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        shown = f"{str(error.filename)[:60]!r}..."
        print(
            f"Error: path: {shown} is longer than a file's name may be: shorten it", file=sys.stderr
        )
        sys.exit(2)
    except BrokenPipeError:
        sys.exit(0)
