"""`hpo db`: the database behind the studies."""

from __future__ import annotations

import typer

from hpo.cli.flags import Storage
from hpo.cli.output import Form, Format, print_facts

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
    n_trials = sum(sum(summary.trials.values()) for summary in found)
    print_facts({"storage": redact(url), "studies": len(found), "trials": n_trials}, form)


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
    app.add_typer(db, name="db", rich_help_panel="Look")
