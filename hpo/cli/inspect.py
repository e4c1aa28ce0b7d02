"""Commands that look at studies: status, studies, trials, best."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpo.cli.columns import measured, so_far
from hpo.cli.flags import Storage, StudyName
from hpo.cli.output import Form, Format, print_facts, print_json, print_rows

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

    from hpo.storage.ledger import Ledger
    from hpo.storage.view import StudyView

STATES = (
    "complete", "pruned", "fail", "running", "waiting", "failed", "interrupted", "lost", "paused",
)  # fmt: skip
"""What `hpo trials --state` takes: Optuna's states, and outcomes that are more exact."""


def open_study(storage: str | None, name: str) -> Ledger:
    """The ledger of an existing study."""
    from hpo.storage.ledger import Ledger
    from hpo.storage.sql import open_storage, resolve_url

    return Ledger.open(open_storage(resolve_url(storage), create=False), name)


def studies(storage: Storage = None, form: Form = Format.table) -> None:
    """List the studies in the storage.

    [dim]Example:  hpo studies -f json[/dim]
    """
    from hpo.storage.sql import open_storage, resolve_url

    _print_studies(open_storage(resolve_url(storage), create=False), form)


def _print_studies(storage: BaseStorage, form: Format) -> None:
    from hpo.storage.outcomes import outcomes_text
    from hpo.storage.studies import list_studies

    rows = []
    for summary in list_studies(storage):
        row: dict[str, Any] = {"name": summary.name, "objective": summary.goal}
        if form is Format.table:
            row["trials"] = outcomes_text(summary.trials) or "none"
        else:
            row |= {"trials": sum(summary.trials.values()), **summary.trials}
        rows.append(
            {**row, "best": summary.best, "model": summary.model, "started": summary.started}
        )
    if form is Format.csv:  # the same columns for all
        names = dict.fromkeys(name for row in rows for name in row)
        rows = [{name: row.get(name) for name in names} for row in rows]
    print_rows(rows, form, title="studies", spare=("model", "started"))


def status(
    study: Annotated[
        str | None, typer.Argument(help="Name of the study; without it, all.", show_default=False)
    ] = None,
    storage: Storage = None,
    form: Form = Format.table,
) -> None:
    """Show how far a study is: trials by state, the best so far, failure reasons.

    Without a name it shows all studies.

    \b
    [dim]hpo status cnn-tpe
    hpo status[/dim]
    """
    from hpo.storage.sql import open_storage, resolve_url
    from hpo.storage.studies import list_studies
    from hpo.storage.view import StudyView

    opened = open_storage(resolve_url(storage), create=False)
    if study is not None:
        print_facts(_status(StudyView.open(opened, study)), form)
    elif form is Format.json:
        own = [one.name for one in list_studies(opened) if one.model != "-"]
        print_json([_status(StudyView.open(opened, name)) for name in own])
    else:
        _print_studies(opened, form)


def _status(view: StudyView) -> dict[str, Any]:
    from hpo.storage.measured import named_values
    from hpo.storage.warm_start import started_from, started_text

    meta = view.meta
    top = view.top(1)
    best = top[0] if top else None
    retrained = view.attr("hpo:retrained") or {}
    numbers = view.outcomes()
    drivers = view.drivers()
    dead = [str(driver) for driver in drivers if driver.is_dead]
    fixed = meta.settings.get("fixed")
    value: dict[str, Any] = {"best_value": best.values[0] if best else None}
    if meta.several:
        value = {"best_values": named_values(meta, best) if best else None}
    return {
        "study": view.name,
        "model": meta.model,
        "data": meta.data,
        "objective": ", ".join(f"{one.direction} {one.metric}" for one in meta.objectives),
        **({"constraints": ", ".join(map(str, meta.constraints))} if meta.constraints else {}),
        **({"fixed": dict(fixed)} if fixed else {}),
        "driven_by": [str(driver) for driver in drivers if not driver.is_dead] or None,
        **({"dead_drivers": dead} if dead else {}),
        "started_from": started_text(started_from(view.study.user_attrs)) or None,
        "trials": sum(numbers.values()),
        **numbers,
        **({"infeasible": view.n_infeasible()} if meta.constraints else {}),
        **({"front": len(view.front())} if meta.several else {}),
        "best_trial": best.number if best else None,
        **value,
        "best_params": dict(best.params) if best else None,
        "retrained": retrained.get("path"),
        "retrained_trial": retrained.get("trial"),
        "failures": view.failures() or None,
    }


def trials(
    study: StudyName,
    storage: Storage = None,
    form: Form = Format.table,
    state: Annotated[
        str | None,
        typer.Option(
            help="List only this state: complete, pruned, failed, interrupted, lost, running, "
            "paused, waiting; fail: failed, interrupted and lost together.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """List a study's trials with state, value, epochs, duration, parameters and failure reason.

    The last and the best value are those of the trial's epochs: running trials have them too.

    [dim]Example:  hpo trials cnn-tpe --state failed -f csv[/dim]
    """
    from hpo.errors import SpecError

    if state is not None and state.lower() not in STATES:
        raise SpecError(f"state: {state!r} is unknown: choose from {', '.join(STATES)}")
    from hpo.storage.outcomes import outcome_of
    from hpo.storage.warm_start import started_from

    ledger = open_study(storage, study)
    warm = bool(started_from(ledger.study.user_attrs))
    wanted = None if state is None else state.lower()
    rows = [
        _trial_row(ledger, trial, form, warm)
        for trial in ledger.trials()
        if wanted in (None, outcome_of(trial), trial.state.name.lower())
    ]
    if form is Format.table and not rows:
        what = "trials" if state is None else f"{state.lower()} trials"
        print_rows(rows, form, title=f"{what} in {study}")
        return
    spare = ("from", "best", "last")
    print_rows(rows, form, title=f"{study}: {ledger.meta.goal}", spare=spare)


def _trial_row(ledger: Ledger, trial: FrozenTrial, form: Format, warm: bool) -> dict[str, Any]:
    from hpo.storage.attempts import REASON, WAITING
    from hpo.storage.outcomes import outcome_of
    from hpo.storage.warm_start import origin

    meta, run = ledger.meta, trial.user_attrs.get("run", {})
    done = run.get("epochs", len(trial.intermediate_values))
    outcome, reason = outcome_of(trial), trial.user_attrs.get(REASON)
    seconds = run.get("duration_s")
    if outcome == "running" and trial.datetime_start is not None:
        done = len(trial.intermediate_values)
        seconds = round((datetime.now() - trial.datetime_start).total_seconds(), 1)
    if outcome == "waiting" and (lacking := trial.user_attrs.get(WAITING)):
        reason = f"waits for {lacking}"
    state = {"state": trial.state.name, "outcome": outcome}
    return {
        "trial": trial.number,
        **({"state": outcome} if form is Format.table else state),
        **measured(meta, trial, form),
        "epochs": f"{done}/{meta.epochs}" if form is Format.table else done,
        **so_far(meta, trial),
        "seconds": seconds,
        **({"from": origin(trial)} if warm else {}),
        "reason": reason,
        "params": dict(trial.params),
    }


def best(
    study: StudyName,
    storage: Storage = None,
    form: Form = Format.table,
    top: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of configurations [default: 1, or the whole Pareto front].",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Show the best completed configurations of a study, by their value in the search.

    With several objectives it shows the Pareto front, beginning with the trial nearest to the
    best of each objective; hpo retrains that trial. With one objective hpo retrains the
    configuration with the best mean on new seeds, and the default is one of the candidates.
    Without --top it shows the retrained trial too.

    [dim]Example:  hpo best cnn-tpe --top 5[/dim]
    """
    from hpo.errors import HpoError
    from hpo.storage.noise import CONFIRMED
    from hpo.storage.warm_start import origin, started_from, started_text

    ledger = open_study(storage, study)
    meta = ledger.meta
    found = ledger.front()[:top] if meta.several else ledger.top(top or 1)
    if not found:
        kept = " that keeps its constraints" if meta.constraints else ""
        raise HpoError(f"study {study!r} has no completed trial{kept} yet")
    earlier = started_from(ledger.study.user_attrs)
    confirmed: dict[str, list[float]] = {}
    for key, metrics in (ledger.attr(CONFIRMED) or {}).items():
        confirmed.setdefault(key.partition(":")[0], []).append(metrics[meta.metric])
    chosen = (ledger.attr("hpo:retrained") or {}).get("trial")
    if top is None and chosen is not None and chosen not in [trial.number for trial in found]:
        found = [*found, ledger.trial(chosen)]
    rows = [
        {
            "trial": trial.number,
            **measured(meta, trial, form),
            "retrained": trial.number == chosen,
            "confirmed": _mean(confirmed.get(str(trial.number))),
            **({"from": origin(trial)} if earlier else {}),
            "params": dict(trial.params),
        }
        for trial in found
    ]
    what = "Pareto front of" if meta.several else "best of"
    after = f", started from {started_text(earlier)}" if earlier else ""
    print_rows(rows, form, title=f"{what} {study}: {meta.goal}{after}", spare=("from",))


def _mean(values: list[float] | None) -> float | None:
    return sum(values) / len(values) if values else None


def register(app: typer.Typer) -> None:
    """Adds this file's commands."""
    for command in (status, studies, trials, best):
        app.command(rich_help_panel="Look")(command)
