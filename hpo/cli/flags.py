"""Flags that several commands share, and the checks of what they were given."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from hpo.cli.output import Format
from hpo.errors import SpecError

_LEAST_FREE = 100 * 10**6
"""Bytes: Ray's session files and a saved model of moderate size."""


def option(help: str, *names: str, panel: str | None = None) -> Any:
    """A flag without a shown default."""
    return typer.Option(*names, help=help, show_default=False, rich_help_panel=panel)


def _without_password(url: str | None) -> str | None:
    from hpo.storage.sql import redact

    if url is not None and redact(url) != url:
        raise SpecError(
            f"storage: {redact(url)!r}: a password on the command line is in `ps` for all to see: "
            "put the URL into HPO_STORAGE, or into a file named by HPO_STORAGE_FILE"
        )
    return url


Storage = Annotated[
    str | None,
    typer.Option(
        "--storage",
        help="Database URL without password, or SQLite file; default: HPO_STORAGE, the file named "
        "by HPO_STORAGE_FILE, OPTUNA_STORAGE, then ./hpo.db.",
        show_default=False,
        callback=_without_password,
    ),
]
StudyName = Annotated[str, typer.Argument(help="Name of the study.", show_default=False)]


Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the summary.")]
SummaryForm = Annotated[Format, typer.Option("-f", "--format", help="Summary as table or json.")]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="Show data, goal, budget and space of what would be run; start nothing."
    ),
]
Open = Annotated[bool, typer.Option("--open", help="Show the page in the browser.")]

Model = Annotated[
    str | None, option("cnn, ./mine.py:Net, package.module:Net; see `hpo models`.", "--model")
]
Study = Annotated[
    str | None, option("Ready-made study (cnn-digits) or a TOML file; flags win.", "--study")
]
Data = Annotated[str | None, option("digits, imagefolder:PATH, csv:PATH, ...; see the README.")]
ImageSize = Annotated[
    str | None,
    option(
        "Read pictures at this size: a side in pixels, or height and width (64, 48x64) "
        "[default: by the pictures and the model].",
        "--image-size",
    ),
]
SkipBroken = Annotated[
    bool | None,
    typer.Option(
        "--skip-broken",
        help="Leave out picture files that cannot be read [default: off, hpo lists and refuses].",
        show_default=False,
    ),
]
Objectives = Annotated[
    list[str] | None,
    option(
        "Metric to search by, or params, size_mb, latency_ms: accuracy, val_loss, "
        "NAME:maximize or NAME:minimize. Repeatable.",
        "--objective",
    ),
]
Constraints = Annotated[
    list[str] | None,
    option("Limit that a trial must satisfy to win: 'params<=200000'. Repeatable.", "--constraint"),
]
Pruner = Annotated[str | None, option("none, median (default), curve, asha, hyperband.")]
Epochs = Annotated[int | None, option("Epochs of a full training.")]
Set = Annotated[
    list[str] | None,
    option(
        "A value, a few of them or a range: lr=1e-3, lr=1e-3,1e-2, lr=1e-6..0.5, optimizer=sgd. "
        "Repeatable.",
        "--set",
    ),
]
MaxConcurrent = Annotated[
    int | None, option("Trials at once; default: as many as fit.", panel="Resources")
]
CpusPerTrial = Annotated[float | None, option("Cores a trial (default 1).", panel="Resources")]
GpusPerTrial = Annotated[
    float | None,
    option("GPUs a trial, fractions too; default 1 if there are any.", panel="Resources"),
]
RayAddress = Annotated[str | None, option("A Ray cluster (auto, HOST:6379).", panel="Resources")]


def settings_of(items: list[str]) -> dict[str, str]:
    """What `--set NAME=VALUE` was given, by name.

    Raises:
        SpecError: an item is of another form.
    """
    settings: dict[str, str] = {}
    problems = []
    for item in items:
        name, equals, value = item.partition("=")
        if not equals or not name.strip() or not value.strip():
            problems.append(f"set: {item!r}: write NAME=VALUE, NAME=LOW..HIGH or NAME=A,B")
        if name.strip() in settings:
            problems.append(f"set: {item!r}: {name.strip()} is set twice: drop one")
        settings[name.strip()] = value.strip()
    if problems:
        raise SpecError(problems)
    return settings


def check_output(output: str, field: str = "output") -> None:
    """Refuses a folder that cannot be written, or has no room.

    Raises:
        SpecError: why, a line each.
    """
    import os
    import shutil
    import tempfile

    folder = Path(output).expanduser().absolute()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir():
        raise SpecError(f"{field}: {str(existing)!r} is a file: name a folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise SpecError(f"{field}: {output!r} cannot be written: name a folder of your own")
    for what, place in ((field, existing), ("TMPDIR", Path(tempfile.gettempdir()))):
        free = shutil.disk_usage(place).free
        if free < _LEAST_FREE:
            raise SpecError(
                f"{what}: {str(place)!r} has {free / 1e6:.0f} MB left, and "
                f"{_LEAST_FREE / 1e6:.0f} MB are needed: make room, or name another folder"
            )
