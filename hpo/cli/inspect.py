"""Commands that look: status, studies, trials, best, models, samplers, db, dashboard."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpo.cli.columns import measured
from hpo.cli.flags import Storage, StudyName
from hpo.cli.output import Format, print_json, print_rows
from hpo.cli.streams import user_code

if TYPE_CHECKING:
    from hpo.storage.ledger import Ledger

Form = Annotated[Format, typer.Option("-f", "--format", help="How to print.")]


def open_study(storage: str | None, name: str) -> Ledger:
    """The ledger of an existing study."""
    from hpo.storage.ledger import Ledger
    from hpo.storage.sql import open_storage, resolve_url

    return Ledger.open(open_storage(resolve_url(storage), create=False), name)


def studies(storage: Storage = None, form: Form = Format.table) -> None:
    """Lists the studies in the storage.

    [dim]Example:  hpo studies -f json[/dim]
    """
    from dataclasses import asdict

    from hpo.storage.sql import open_storage, resolve_url
    from hpo.storage.studies import list_studies

    found = list_studies(open_storage(resolve_url(storage), create=False))
    rows = []
    for summary in map(asdict, found):
        states = summary.pop("n_trials")
        counts = {state.lower(): n for state, n in states.items()}
        rows.append({**summary, **counts} if form is Format.json else {**summary, "trials": counts})
    print_rows(rows, form, title="studies")


def status(study: StudyName, storage: Storage = None, form: Form = Format.table) -> None:
    """Shows how far a study is: trials by state, best so far, what its trials failed of.

    [dim]Example:  hpo status cnn-tpe[/dim]
    """
    from hpo.storage.measured import named_values
    from hpo.storage.warm_start import started_from, started_text

    ledger = open_study(storage, study)
    counts = ledger.counts()
    meta = ledger.meta
    top = ledger.front() if meta.several else ledger.top(1)
    best = top[0] if top else None
    retrained = ledger.attr("hpo:retrained") or {}
    facts = {
        "study": study,
        "model": ledger.meta.model,
        "data": ledger.meta.data,
        "objective": ", ".join(f"{one.direction} {one.metric}" for one in meta.objectives),
        **({"constraints": ", ".join(map(str, meta.constraints))} if meta.constraints else {}),
        "driven_by": [str(driver) for driver in ledger.drivers()] or None,
        "started_from": started_text(started_from(ledger.study.user_attrs)) or None,
        "trials": sum(counts.values()),
        **{state.lower(): n for state, n in counts.items()},
        **({"paused": n_paused} if (n_paused := ledger.n_paused()) else {}),
        **({"infeasible": ledger.n_infeasible()} if meta.constraints else {}),
        **({"front": len(top)} if meta.several else {}),
        "best_trial": best.number if best else None,
        **(
            {"best_values": named_values(meta, best) if best else None}
            if meta.several
            else {"best_value": best.value if best else None}
        ),
        "best_params": dict(best.params) if best else None,
        "retrained": retrained.get("path"),
        "retrained_trial": retrained.get("trial"),
        "failures": ledger.failures() or None,
    }
    _print_facts(facts, form)


def _print_facts(facts: dict[str, Any], form: Format) -> None:
    if form is Format.json:
        print_json(facts)
    else:
        print_rows([{"what": key, "value": value} for key, value in facts.items()], form)


def trials(
    study: StudyName,
    storage: Storage = None,
    form: Form = Format.table,
    state: Annotated[
        str | None, typer.Option(help="Only this state: complete, pruned, fail, running.")
    ] = None,
) -> None:
    """Lists a study's trials: state, value, parameters, duration, reason of a failure.

    [dim]Example:  hpo trials cnn-tpe --state fail -f csv[/dim]
    """
    from hpo.errors import SpecError

    states = ("complete", "pruned", "fail", "running", "waiting")
    if state is not None and state.lower() not in states:
        raise SpecError(f"state: {state!r} is unknown: choose from {', '.join(states)}")
    from hpo.storage.warm_start import origin, started_from

    ledger = open_study(storage, study)
    meta = ledger.meta
    warm = bool(started_from(ledger.study.user_attrs))
    rows = []
    for trial in ledger.trials():
        if state is not None and trial.state.name != state.upper():
            continue
        run = trial.user_attrs.get("run", {})
        rows.append(
            {
                "trial": trial.number,
                "state": trial.state.name,
                **measured(meta, trial, form),
                "epochs": run.get("epochs", len(trial.intermediate_values)),
                "seconds": run.get("duration_s"),
                "params": dict(trial.params),
                "reason": trial.user_attrs.get("fail_reason"),
                **({"from": origin(trial)} if warm else {}),
            }
        )
    print_rows(rows, form, title="trials")


def best(
    study: StudyName,
    storage: Storage = None,
    form: Form = Format.table,
    top: Annotated[
        int | None,
        typer.Option(min=1, help="How many of the best (1, or the whole Pareto front)."),
    ] = None,
) -> None:
    """Shows the best completed configurations of a study, by their value in the search.

    With several objectives it is the Pareto front, from the trial nearest to having the best of
    each, and that one is retrained. Else which one was retrained was chosen by its mean on fresh
    seeds, the default among the candidates.

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
    after = f", started from {started_text(earlier)}" if earlier else ""
    title = f"Pareto front of {study}" if meta.several else f"best of {study}"
    print_rows(rows, form, title=f"{title}{after}")


def _mean(values: list[float] | None) -> float | None:
    return sum(values) / len(values) if values else None


models = typer.Typer(
    help="Lists the models; `hpo models show cnn` prints one with its space.",
    invoke_without_command=True,
)


@models.callback()
def list_models(context: typer.Context, form: Form = Format.table) -> None:
    """Lists the models of the zoo."""
    if context.invoked_subcommand is not None:
        return
    from hpo.registry import MODELS, find_model, load_model

    rows = []
    for name in MODELS:
        model = load_model(find_model(name))
        row = {
            "name": name,
            "task": model.task,
            "objective": f"{model.objective.direction} {model.objective.metric}",
            "params": len(model.space),
            "data": ", ".join(model.datasets),
            "what": " ".join((model.__doc__ or "").partition("\n\n")[0].split()),
        }
        if form is Format.table:  # as much as a terminal has room for
            del row["what"]
        rows.append(row)
    print_rows(rows, form, title="models")


@models.command("show")
@user_code()
def show_model(
    name: Annotated[str, typer.Argument(help="cnn, ./mine.py:Net or package.module:Net.")],
    form: Form = Format.json,
) -> None:
    """Prints a model's task, data, objective and search space.

    [dim]Example:  hpo models show cnn -f table[/dim]
    """
    from hpo.parameter_forms import condition_text, range_text
    from hpo.registry import find_model, load_model

    model = load_model(find_model(name))
    facts: dict[str, Any] = {
        "name": name,
        "task": model.task,
        "metric": model.objective.metric,
        "direction": model.objective.direction,
        "datasets": list(model.datasets),
        "n_trials": model.n_trials,
        "epochs": model.epochs,
        "default": model.space.default(),
        "space": model.space.to_json(),
    }
    if form is not Format.table:
        _print_facts(facts, form)
        return
    default = facts.pop("default")
    del facts["space"]
    facts["datasets"] = ", ".join(model.datasets)
    _print_facts(facts, form)
    rows = [
        {
            "parameter": p,
            "range": range_text(parameter),
            "when": condition_text(parameter),
            "default": default.get(p),
        }
        for p, parameter in model.space.params.items()
    ]
    print_rows(rows, form, title="space")


_PRUNED = {"none": "any number", "": "one; infeasible trials are no measure"}


def samplers(form: Form = Format.table) -> None:
    """Lists the samplers and pruners that `hpo run` takes.

    [dim]Example:  hpo samplers[/dim]
    """
    from hpo.search import OBJECTIVES, PRUNERS, SAMPLERS

    goals = "objectives and constraints"
    rows = [
        {"kind": "sampler", "name": name, "what": make.__doc__, goals: OBJECTIVES.get(name, "")}
        for name, make in SAMPLERS.items()
    ]
    rows += [
        {
            "kind": "pruner",
            "name": name,
            "what": make.__doc__,
            goals: _PRUNED.get(name, _PRUNED[""]),
        }
        for name, make in PRUNERS.items()
    ]
    print_rows(rows, form)


def dashboard(
    storage: Storage = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.")] = 8080,
    output: Annotated[str, typer.Option(help="Folder of the artifacts.")] = "hpo-runs",
    allow_edits: Annotated[
        bool, typer.Option("--allow-edits", help="Let the page change and delete studies.")
    ] = False,
    token_file: Annotated[
        Path | None,
        typer.Option(
            help="File with the token; else HPO_DASHBOARD_TOKEN, else one is made and printed.",
            show_default=False,
        ),
    ] = None,
    public_name: Annotated[
        list[str] | None,
        typer.Option(help="Host name it is used under, behind a proxy. Repeatable."),
    ] = None,
) -> None:
    """Serves the Optuna dashboard over the storage: on loopback and read-only unless told else.

    Beyond loopback it asks for a token, on a login page or as `Authorization: Bearer TOKEN`.

    [dim]Example:  hpo dashboard --port 8081[/dim]
    """
    import secrets

    from hpo.storage.sql import resolve_url
    from hpo.web.dashboard import is_loopback, make_dashboard, serve
    from hpo.web.publish import store_folder

    token = token_of(token_file, "HPO_DASHBOARD_TOKEN")
    made = secrets.token_urlsafe(24) if token is None and not is_loopback(host) else None
    server = make_dashboard(
        resolve_url(storage),
        host,
        port,
        store_folder(output),
        token=token or made,
        allow_edits=allow_edits,
        names=public_name or (),
    )
    serve(server, host, made)


def token_of(file: Path | None, variable: str) -> str | None:
    """The user's own token, of a file or else of the environment's variable.  Never a flag: `ps`
    shows those."""
    import os

    from hpo.errors import SpecError

    source, token = variable, os.environ.get(variable, "")
    if file is not None:
        source = f"token_file: {str(file)!r}"
        try:
            token = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SpecError(f"{source} cannot be read: {error}") from None
    elif not token:
        return None
    if len(token) < 16 or not token.replace("-", "").replace("_", "").isalnum():
        raise SpecError(f"{source}: must hold 16 or more letters, digits, '-' or '_'")
    return token


db = typer.Typer(help="Looks at the database behind the studies.", no_args_is_help=True)


@db.command("check")
def db_check(storage: Storage = None, form: Form = Format.table) -> None:
    """Says where the storage is and whether it can be used; creates nothing.

    [dim]Example:  hpo db check --storage postgresql://me@host/hpo[/dim]
    """
    from hpo.storage.sql import open_storage, redact, resolve_url
    from hpo.storage.studies import list_studies

    url = resolve_url(storage)
    found = list_studies(open_storage(url, create=False))
    n_trials = sum(sum(summary.n_trials.values()) for summary in found)
    _print_facts({"storage": redact(url), "studies": len(found), "trials": n_trials}, form)


@db.command("create")
def db_create(storage: Storage = None) -> None:
    """Creates the tables, if there are none; `hpo run` does it by itself.

    [dim]Example:  hpo db create --storage postgresql://me@host/hpo[/dim]
    """
    from hpo.storage.sql import open_storage, redact, resolve_url

    url = resolve_url(storage)
    open_storage(url, create=True)
    print(f"{redact(url)}: ready.")


@db.command("upgrade")
def db_upgrade(storage: Storage = None) -> None:
    """Brings the database's schema to the installed Optuna's version; make a copy of it before.

    [dim]Example:  hpo db upgrade --storage postgresql://me@host/hpo[/dim]
    """
    from hpo.storage.sql import redact, resolve_url, upgrade

    url = resolve_url(storage)
    before, after = upgrade(url)
    same = "was up to date" if before == after else f"went from {before} to {after}"
    print(f"{redact(url)}: the schema {same}.")


def register(app: typer.Typer) -> None:
    """Adds this file's commands."""
    for command in (status, studies, trials, best, samplers, dashboard):
        app.command(rich_help_panel="Look")(command)
    app.add_typer(models, name="models", rich_help_panel="Look")
    app.add_typer(db, name="db", rich_help_panel="Look")
