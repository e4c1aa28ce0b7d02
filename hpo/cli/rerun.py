"""The command that trains a trial again: rerun."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpo.cli.flags import Quiet, Storage, StudyName
from hpo.cli.inspect import open_study
from hpo.cli.output import Form, Format, print_json, print_rows
from hpo.cli.streams import answer, user_code

if TYPE_CHECKING:
    from hpo.outcome.rerun import Rerun
    from hpo.storage.ledger import Ledger


def rerun(
    study: StudyName,
    trial: Annotated[int, typer.Argument(min=0, help="Its number.", show_default=False)],
    storage: Storage = None,
    form: Form = Format.table,
    quiet: Quiet = False,
) -> None:
    """Trains a trial again, and says whether it comes to the same; changes nothing in the study.

    On cores, with the same versions, code and data, every step is the same bit for bit; else what
    differs is named. Exit code 0: the same; 1: not.

    [dim]Example:  hpo rerun cnn-tpe 7[/dim]
    """
    from hpo.tune.stop import Stop

    ledger = open_study(storage, study)
    with Stop() as stop:
        try:
            found = _train(ledger, trial, stop, quiet)
            with answer():
                _print(study, found, form)
            sys.exit(1 if found.same is False else 0)
        except KeyboardInterrupt:
            print("Interrupted.", file=sys.stderr)
        if stop.signal is not None:
            sys.exit(128 + stop.signal)


def _train(ledger: Ledger, number: int, stop: Any, quiet: bool) -> Rerun:
    from hpo.api.life import held_ray
    from hpo.cli.execute import console_of, tell
    from hpo.outcome.rerun import plan, rerun
    from hpo.tune.environment import ray_session

    planned = plan(ledger, number)
    console = console_of(quiet)
    tell(console)
    epochs = planned.job.stop_after or planned.job.epochs
    console.print(
        f"Trial {number} of {ledger.name}: {planned.trial.state.name}, training it again, "
        f"{epochs} epochs.",
        markup=False,
        highlight=False,
    )
    with held_ray(stop, lambda: ray_session(planned.spec)) as resources:
        return rerun(ledger, planned, resources)


def _print(study: str, found: Rerun, form: Format) -> None:
    from dataclasses import asdict

    if form is Format.json:
        print_json({"study": study, "verdict": found.verdict, **asdict(found)})
        return
    compared = [found.value, found.steps, *([found.part] if found.part else []), *found.metrics]
    if found.error.then or found.error.now:
        compared.append(found.error)
    rows = [
        {"what": d.what, "then": _full(d.then), "now": _full(d.now), "same": d.then == d.now}
        for d in (*compared, *found.differences)
    ]
    print_rows(rows, form, title=f"trial {found.trial} of {study}")
    if form is Format.table:
        for note in found.notes:
            print(f"Note: {note}.")
        print(found.verdict)


def _full(value: Any) -> Any:
    """Floats with all their digits: the last ones are what is looked for."""
    return repr(value) if isinstance(value, float | list) else value


def register(app: typer.Typer) -> None:
    """Adds this file's command."""
    app.command(rich_help_panel="Look")(user_code()(rerun))
