"""Commands that look at one trial: trial, logs."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpo.cli.flags import Storage, StudyName
from hpo.cli.inspect import open_study
from hpo.cli.output import Form, Format, print_facts, print_rows
from hpo.errors import SpecError

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from hpo.storage.ledger import Ledger

_LOOK_S = 0.5
Number = Annotated[
    int, typer.Argument(min=0, max=2**31 - 1, help="Its number.", show_default=False)
]


def trial(
    study: StudyName, number: Number, storage: Storage = None, form: Form = Format.table
) -> None:
    """Shows one trial: parameters, metrics, curve, how it ran, and why it failed.

    [dim]Example:  hpo trial cnn-tpe 7[/dim]
    """
    ledger = open_study(storage, study)
    found = ledger.existing(number)
    facts = _facts(ledger, found)
    if form is Format.csv:
        print_rows([facts], form)  # one row, with columns as `hpo trials` has them
        return
    if form is Format.json:
        print_facts(facts, form)
        return
    curve, texts = facts.pop("curve"), {key: facts.pop(key) for key in ("traceback", "output")}
    print_facts({key: item for key, item in facts.items() if item not in (None, {}, [])}, form)
    if curve:
        points = ", ".join(f"{step}: {value:.4g}" for step, value in curve.items())
        print(f"{ledger.meta.guide.metric} by epoch: {points}")
    if texts["traceback"]:
        print(f"\n{texts['traceback'].rstrip()}")
    if texts["output"]:
        print(f"\nThe end of what it printed:\n{texts['output'].rstrip()}")


def _facts(ledger: Ledger, found: FrozenTrial) -> dict[str, Any]:
    """Everything that is known of a trial."""
    from hpo.storage.attempts import KIND, ORIGIN, OUTPUT, REASON, origin_of
    from hpo.storage.measured import is_feasible, named_values
    from hpo.tune.logs import log_of_trial

    attrs = dict(found.user_attrs)
    run, log = attrs.pop("run", {}), log_of_trial(found)
    attrs.pop(ORIGIN, None)
    seconds = found.duration.total_seconds() if found.duration else None
    return {
        "study": ledger.name,
        "trial": found.number,
        "state": found.state.name,
        "reason": attrs.pop(REASON, None),
        "kind": attrs.pop(KIND, None),
        **named_values(ledger.meta, found),
        **({"feasible": is_feasible(found)} if found.constraints else {}),
        "params": dict(found.params),
        "fixed": dict(ledger.meta.settings.get("fixed") or {}),
        "metrics": attrs.pop("metrics", {}),
        "started": found.datetime_start,
        "ended": found.datetime_complete,
        "seconds": run.get("duration_s", seconds),
        **{key: item for key, item in run.items() if key not in ("duration_s", "folder")},
        "folder": run.get("folder"),
        "log": str(log) if log is not None and log.is_file() else None,
        "curve": dict(sorted(found.intermediate_values.items())),
        "traceback": attrs.pop("traceback", None),
        "output": attrs.pop(OUTPUT, None),
        "origin": dict(origin_of(found)),
        "attributes": attrs,
    }


def logs(
    study: StudyName,
    which: Annotated[
        str | None,
        typer.Argument(
            metavar="[TRIAL]",
            help="Number of the trial, or a name of the list; default: list the logs.",
            show_default=False,
        ),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the trial has ended.")
    ] = False,
    storage: Storage = None,
) -> None:
    """Prints what a trial has printed: standard output and error, its processes' included.

    Each log keeps the first 256 KiB and the last 768 KiB, and a study's logs together 256 MiB, the
    oldest are removed. They are plain files in hpo-runs/STUDY/logs, on the worker's disk.

    \b
    [dim]hpo logs cnn-tpe          # which there are
    hpo logs cnn-tpe 7 -f     # one, while it grows[/dim]
    """
    from hpo.tune.logs import LogReader, log_of_trial, logs_of

    ledger = open_study(storage, study)
    if which is None:
        _list(logs_of(ledger))
        return
    if not which.isdecimal():
        log, number = _named(logs_of(ledger), which), None
    else:
        number = int(which)
        found = ledger.existing(number)
        path = log_of_trial(found)
        if path is None or not (path.is_file() or (follow and not found.state.is_finished())):
            _say_why_not(found, path)
            return
        log = path
    reader = LogReader(log)
    while follow and number is not None and not ledger.existing(number).state.is_finished():
        _write(reader.read(whole_lines=True))
        time.sleep(_LOOK_S)
    if follow:
        time.sleep(_LOOK_S)  # the log is as late as this
    _write(reader.read(whole_lines=False))


def _list(found: list[Path]) -> None:
    rows = [
        {"log": log.stem, "kB": round(log.stat().st_size / 1000, 1), "file": str(log)}
        for log in found
    ]
    print_rows(rows, Format.table, title="logs")


def _named(found: list[Path], which: str) -> Path:
    """The log of this name: `confirm-3-1001`, `retrain-3`."""
    from hpo.registry import unknown

    by_name = {log.stem: log for log in found}
    if which not in by_name:
        if not by_name:
            raise SpecError(f"log: {which!r}: this study has no logs here: see `hpo trials`")
        raise SpecError(unknown("log", which, by_name))
    return by_name[which]


def _say_why_not(found: FrozenTrial, path: Path | None) -> None:
    """Says why a trial has no log here, and prints what the ledger has of it."""
    from hpo.storage.attempts import OUTPUT
    from hpo.storage.known import CACHED_FROM

    run = found.user_attrs.get("run", {})
    node = str(run.get("worker", "")).rpartition(":")[0]
    if run.get(CACHED_FROM):
        why = f"was not trained itself: it repeats {run[CACHED_FROM]}"
    elif path is None:
        why = "has no log: it was not run by this version"
    elif node and node != os.uname().nodename:
        why = f"ran on {node}: its log, if it printed anything, is there: {path}"
    elif not found.state.is_finished():
        why = "has printed nothing yet"
    else:
        why = "printed nothing, or its log was removed for room"
    print(f"Trial {found.number} {why}.", file=sys.stderr)
    _write(str(found.user_attrs.get(OUTPUT, "")))


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def register(app: typer.Typer) -> None:
    """Adds this file's commands."""
    for command in (trial, logs):
        app.command(rich_help_panel="Look")(command)
