"""`hpo report`: a study's page."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpo.cli.flags import Open, Storage, StudyName, check_output, option
from hpo.cli.output import print_json
from hpo.cli.streams import answer
from hpo.errors import HpoError, SpecError

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

    from hpo.storage.view import StudyView

FORMATS = ("html", "md", "json", "csv")
_LONGEST_WATCH_S = 86_400


def report(
    study: StudyName,
    to: Annotated[
        Path | None, option("File to write; default OUTPUT/STUDY/report.html.", "--to")
    ] = None,
    form: Annotated[
        str, typer.Option("-f", "--format", help="html; md with PNGs; json or csv to print.")
    ] = "html",
    watch: Annotated[
        int | None, option("Write it again every so many seconds while the study runs.", "--watch")
    ] = None,
    output: Annotated[str, typer.Option(help="Folder of the studies' files.")] = "hpo-runs",
    open_: Open = False,
    storage: Storage = None,
) -> None:
    """Writes a study's page: outcome, history, curves, parameters, workers, cost, failures.

    \b
    [dim]hpo report cnn-tpe --open
    hpo report cnn-tpe --watch 10 --open     # while it runs
    hpo report cnn-tpe -f md --to ./notes/cnn.md[/dim]
    """
    from hpo.storage.sql import open_storage, resolve_url
    from hpo.storage.view import StudyView

    if form not in FORMATS:
        raise SpecError(f"format: {form!r} is unknown: choose from {', '.join(FORMATS)}")
    if watch is not None and (not 1 <= watch <= _LONGEST_WATCH_S or form != "html"):
        raise SpecError(
            f"watch: {watch}: must be 1 to {_LONGEST_WATCH_S} seconds, and the format html"
        )
    opened = open_storage(resolve_url(storage), create=False)
    view = StudyView.open(opened, study)
    if form in ("json", "csv"):
        if to is not None:
            raise SpecError(f"to: {str(to)!r}: {form} goes to standard output: use `> FILE`")
        _print(view, form)
        return
    page = _target(view, to, output, form)
    if watch is None:
        _write(view, page, form)
        print(page)
        if open_:
            _show(page)
        return
    _watch(study, opened, page, watch, open_)


def _print(view: StudyView, form: str) -> None:
    from hpo.report.frame import trials_frame
    from hpo.report.study import study_report
    from hpo.report.study_page import facts_of

    if form == "csv":
        with answer():
            frame = trials_frame(view)  # its columns of parameters as in Optuna's DataFrame
        names = {c: f"params_{c[6:]}" for c in map(str, frame) if c.startswith("param_")}
        frame.rename(columns=names).to_csv(sys.stdout, index=False)
    else:
        print_json(facts_of(study_report(view)))


def _target(view: StudyView, to: Path | None, output: str, form: str) -> Path:
    """Where to write: nothing but an earlier report is replaced."""
    from hpo.report.page import is_report
    from hpo.study import name_problem

    if to is None and (problem := name_problem(view.name)):
        raise SpecError(f"to: not given, and the study's name {problem}: name a file")
    default = Path(output).expanduser() / view.name / f"report.{form}"
    page = (to.expanduser() if to is not None else default).absolute()
    if page.is_dir():
        raise SpecError(f"to: {str(to)!r} is a folder: name a file in it")
    if to is not None and page.exists() and not is_report(page):
        raise SpecError(f"to: {str(page)!r} exists and is no report: choose another")
    check_output(str(page.parent), "to")
    return page


def _write(view: StudyView, page: Path, form: str, refresh_s: int | None = None) -> None:
    from hpo.report.study_page import write_study, write_study_markdown

    problem = None
    try:
        if form == "html":
            write_study(view, page, refresh_s)
        else:
            problem = write_study_markdown(view, page)
    except OSError as error:
        raise HpoError(f"to: cannot write {str(page)!r}: {error.strerror}") from None
    if problem:
        print(f"Note: {problem}", file=sys.stderr)


def _show(page: Path) -> None:
    import webbrowser

    webbrowser.open(page.as_uri())


def _watch(study: str, storage: BaseStorage, page: Path, every_s: int, show: bool) -> None:
    """Writes the page again and again until no driver of the study has shown life for a while."""
    from hpo.storage.lease import EXPIRY_S
    from hpo.storage.view import StudyView

    print(f"{page}: written again every {every_s} s; Ctrl-C ends it.", file=sys.stderr)
    beats: dict[str, int] = {}
    alive = time.monotonic()
    over = False
    while not over:
        view = StudyView.open(storage, study)
        before, beats = beats, {driver.run: driver.beat for driver in view.drivers()}
        if beats and beats != before:
            alive = time.monotonic()
        over = time.monotonic() - alive > EXPIRY_S
        _write(view, page, "html", None if over else every_s)
        if show:
            _show(page)
            show = False
        if not over:
            time.sleep(every_s)
    print(page)


def register(app: typer.Typer) -> None:
    """Adds this file's command."""
    app.command(rich_help_panel="Look")(report)
