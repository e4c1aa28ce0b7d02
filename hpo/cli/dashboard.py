"""`hpo dashboard`: the Optuna dashboard over a storage."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hpo.cli.flags import Storage


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


def register(app: typer.Typer) -> None:
    """Adds this file's command."""
    app.command(rich_help_panel="Look")(dashboard)
