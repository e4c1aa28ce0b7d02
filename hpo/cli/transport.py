"""Commands that carry a study from one storage to another: export-study, import-study."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpo.cli.flags import Storage, StudyName, option
from hpo.cli.streams import answer, user_code
from hpo.errors import SpecError

if TYPE_CHECKING:
    from hpo.storage.whole import WholeStudy


def export_study(
    study: StudyName,
    to: Annotated[
        Path | None, option("File: .jsonl (default STUDY.jsonl), or .db, .sqlite for Optuna.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    storage: Storage = None,
) -> None:
    """Writes a study into one file: JSON Lines, or an SQLite database that Optuna reads.

    What a study's models and pages are is not in it: these are files of their own.

    \b
    [dim]hpo export-study cnn-tpe                    # cnn-tpe.jsonl
    hpo export-study cnn-tpe --to cnn-tpe.db[/dim]
    """
    from hpo.storage.sql import open_storage, resolve_url
    from hpo.storage.study_file import check_target, write_file
    from hpo.storage.whole import read_study

    file = to or Path(f"{study}.jsonl")
    url = resolve_url(storage)
    if url.startswith("sqlite:") and _same(file, Path(url.removeprefix("sqlite:///"))):
        raise SpecError(f"to: {str(file)!r} is the storage itself: name another file")
    check_target(file, force=force)
    found = read_study(open_storage(url, create=False), study)
    write_file(found, file)
    with answer():
        print(f"Wrote {file}: {_size(found)}. Next: hpo import-study {file} --storage OTHER")


def _same(file: Path, other: Path) -> bool:
    return file.exists() and other.exists() and file.samefile(other)


def import_study(
    file: Annotated[
        Path, typer.Argument(help="From export-study, or any SQLite file of Optuna's.")
    ],
    name: Annotated[str | None, option("The study's name here; default: what it was.")] = None,
    study: Annotated[str | None, option("Which study of a database with several.")] = None,
    model: Annotated[
        str | None, option("Where its model is here (./mine.py:Net), if elsewhere.")
    ] = None,
    data: Annotated[
        str | None, option("Where its data is here (csv:PATH), if elsewhere.", "--data")
    ] = None,
    storage: Storage = None,
) -> None:
    """Puts a study from a file into the storage, whole or not at all, as if it had run there.

    Trials that were running become FAIL, and `hpo resume` tries them again.

    \b
    [dim]hpo import-study cnn-tpe.jsonl
    hpo import-study optuna.db --study old --name new --storage postgresql://me@db/hpo[/dim]
    """
    from hpo.storage.sql import open_storage, resolve_url
    from hpo.storage.study_file import read_file
    from hpo.storage.whole import write_study
    from hpo.study import name_problem

    url = resolve_url(storage)
    found = read_file(file, study)
    found = found.named(name if name is not None else found.name)
    if problem := name_problem(found.name):
        raise SpecError(f"name: {found.name!r}: {problem}: give --name another")
    found = _pointed(found, model, data)
    n_running = sum(trial.state.name == "RUNNING" for trial in found.trials)
    opened = open_storage(url, create=True)
    write_study(opened, found.ended())
    ended = f", {n_running} of them cut off" if n_running else ""
    with answer():
        print(f"Imported {found.name}: {_size(found)}{ended}. {_next(found)}")


def _pointed(found: WholeStudy, model: str | None, data: str | None) -> WholeStudy:
    """The study with its model and data where they are here."""
    from hpo.registry import find_data, find_model, load_model
    from hpo.storage.meta import META

    if model is None and data is None:
        return found
    meta = found.user_attrs.get(META)
    if not isinstance(meta, dict):
        raise SpecError(
            f"model: {found.name!r} was not made by `hpo run`: leave out --model, --data"
        )
    ref = find_model(model if model is not None else str(meta["model"]))
    resolved = None if data is None else find_data(load_model(ref), data)
    return found.pointing_to(model=ref.name if model else None, data=resolved)


def _next(found: WholeStudy) -> str:
    """What to do with it, or why that cannot be done yet."""
    from hpo.registry import find_model
    from hpo.storage.meta import META

    meta = found.user_attrs.get(META)
    if not isinstance(meta, dict):
        return "It was not made by `hpo run`: Optuna and `hpo dashboard` read it."
    try:
        find_model(str(meta.get("model")))
    except SpecError:
        return f"To go on with it its model is needed, {meta.get('model')!r}: see --model."
    return f"Next: hpo status {found.name}"


def _size(found: WholeStudy) -> str:
    n = len(found.trials)
    return f"{n} trial{'' if n == 1 else 's'}"


def register(app: typer.Typer) -> None:
    """Adds this file's commands."""
    for command in (export_study, import_study):
        app.command(rich_help_panel="Look")(user_code()(command))
