"""`hpo compare`: which search strategy was worth it."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpo.cli.flags import (
    CpusPerTrial,
    Data,
    DryRun,
    Epochs,
    GpusPerTrial,
    ImageSize,
    MaxConcurrent,
    Model,
    Open,
    Pruner,
    Quiet,
    RayAddress,
    Set,
    SkipBroken,
    Storage,
    Study,
    SummaryForm,
    check_output,
    option,
    settings_of,
)
from hpo.cli.output import Format, print_json, print_rows
from hpo.cli.streams import answer, user_code
from hpo.errors import HpoError, SpecError
from hpo.quantities import counted

if TYPE_CHECKING:
    from rich.console import Console

    from hpo.compare.plan import Plan
    from hpo.report.comparison import Comparison
    from hpo.report.contestants import Contestant


def compare(
    model: Model = None,
    study: Study = None,
    studies: Annotated[
        str | None, option("Compare these studies that exist, and run nothing: a,b,c.")
    ] = None,
    samplers: Annotated[
        str | None, option("With commas between; default grid,random,tpe,gp,skopt.")
    ] = None,
    seeds: Annotated[int | None, option("Seeds of each strategy (5).")] = None,
    n_trials: Annotated[int | None, option("Trials of each study.", "--n-trials")] = None,
    name: Annotated[str | None, option("The comparison's name; default compare-MODEL.")] = None,
    data: Data = None,
    image_size: ImageSize = None,
    skip_broken: SkipBroken = None,
    pruner: Pruner = None,
    epochs: Epochs = None,
    set_: Set = None,
    seed: Annotated[int | None, option("The first seed (0).")] = None,
    cache: Annotated[
        bool | None,
        option("Take trainings that another strategy has made (on).", "--cache/--no-cache"),
    ] = None,
    test: Annotated[
        bool | None,
        option("Retrain and test each study's best (on).", "--test/--no-test"),
    ] = None,
    max_concurrent: MaxConcurrent = None,
    cpus_per_trial: CpusPerTrial = None,
    gpus_per_trial: GpusPerTrial = None,
    ray_address: RayAddress = None,
    output: Annotated[str | None, option("Folder of the report (hpo-runs).")] = None,
    open_: Open = False,
    storage: Storage = None,
    dry_run: DryRun = False,
    form: SummaryForm = Format.table,
    quiet: Quiet = False,
) -> None:
    """Compares search strategies at equal budgets over several seeds, and says what is certain.

    Runs what is missing, each strategy and seed as a study of its own; the same command again
    goes on. Then writes the report: a page, Markdown with pictures, tables, JSON.

    \b
    [dim]hpo compare --model cnn --samplers random,tpe,gp --n-trials 30 --seeds 5
    hpo compare --study cnn-digits --samplers random,tpe --seeds 10 --no-cache
    hpo compare --studies cnn-random,cnn-tpe      # studies that exist[/dim]
    """
    flags = {
        key: value
        for key, value in locals().items()
        if key not in ("study", "studies", "set_", "open_", "storage", "dry_run", "form", "quiet")
    }
    if studies is not None:
        _refuse_others({**flags, "study": study, "set": set_})
        page = _compare_existing(studies, storage, output or "hpo-runs", name, form)
    else:
        from hpo.cli.preview import preview_comparison
        from hpo.compare.plan import plan
        from hpo.study import read_study

        flags["set"] = settings_of(set_ or []) or None
        planned = plan(read_study(study) if study else {}, flags)
        check_output(str(Path(planned.first.spec.output) / planned.name))
        if dry_run:
            preview_comparison(planned, form)
            return
        page = _run_and_compare(planned, storage, form, quiet)
    if open_:
        import webbrowser

        webbrowser.open(page.as_uri())


def _refuse_others(flags: dict[str, Any]) -> None:
    allowed = ("output", "name")
    given = [key for key, value in flags.items() if value is not None and key not in allowed]
    if given:
        raise SpecError(
            [f"{key}: not beside --studies, which runs nothing: drop it" for key in given]
        )


def _run_and_compare(planned: Plan, storage: str | None, form: Format, quiet: bool) -> Path:
    from hpo.api.checks import check_before
    from hpo.api.life import held_ray
    from hpo.cli.contest_progress import ComparisonProgress
    from hpo.cli.execute import console_of, tell
    from hpo.compare.contest import run
    from hpo.report.contestants import Contestant
    from hpo.storage.sql import open_storage, resolve_url
    from hpo.storage.view import StudyView
    from hpo.tune.environment import ray_session
    from hpo.tune.stop import Stop

    check_before(planned.first)
    console = console_of(quiet)
    tell(console)
    url = resolve_url(storage)
    opened = open_storage(url, create=True)
    _announce(planned, url, console)
    problems: list[str] = []
    with Stop() as stop:
        try:
            with (
                ComparisonProgress(console, len(planned.studies), planned.n_trials) as display,
                held_ray(stop, lambda: ray_session(planned.first.spec)) as resources,
            ):
                problems = run(planned, opened, resources, display, stop)
        except KeyboardInterrupt:
            pass
        if stop.signal is not None:
            print("Interrupted: the same command goes on.", file=sys.stderr)
            sys.exit(128 + stop.signal)
    for line in problems:
        console.print(line, style="yellow", highlight=False, markup=False)
    contestants = [
        Contestant(strategy, seed, StudyView.open(opened, one.name))
        for (strategy, seed), one in planned.studies.items()
    ]
    folder = Path(planned.first.spec.output).expanduser().absolute() / planned.name
    return _write(contestants, planned.name, folder, form)


def _announce(planned: Plan, url: str, console: Console) -> None:
    from rich.markup import escape

    from hpo.report.statistics import least_seeds
    from hpo.storage.sql import redact

    first = planned.first
    console.print(
        f"[bold]{escape(planned.name)}[/bold]: {escape(first.ref.name)} on {escape(first.data)}, "
        f"{escape(first.objectives[0].goal)}\n"
        f"{', '.join(planned.spec.samplers)}: {counted(planned.spec.seeds, 'seed')} x "
        f"{counted(planned.n_trials, 'trial')} x {counted(first.epochs, 'epoch')}, pruner "
        f"{first.spec.pruner}\n"
        f"[dim]storage {escape(redact(url))}[/dim]",
        highlight=False,
        soft_wrap=True,
    )
    n_pairs = math.comb(len(planned.spec.samplers), 2)
    if (least := least_seeds(n_pairs)) > planned.spec.seeds:
        console.print(
            f"[yellow]{planned.spec.seeds} seeds cannot make a difference certain among {n_pairs} "
            f"pairs, {least} could (--seeds {least}); intervals are given all the same.[/yellow]",
            highlight=False,
            soft_wrap=True,
        )
    for one in planned.studies.values():
        if one.spec.sampler == "grid":
            shown = {k: v for k, v in one.spec.set.items() if "," in v}
            points = " ".join(f"{k}={v}" for k, v in shown.items()) or "as declared"
            console.print(
                f"[dim]grid of {one.space.grid_size()}: {escape(points)}, the rest fixed[/dim]",
                highlight=False,
                soft_wrap=True,
            )
            break


def _compare_existing(
    names: str, storage: str | None, output: str, name: str | None, form: Format
) -> Path:
    from hpo.report.contestants import contestants_of
    from hpo.storage.sql import open_storage, resolve_url
    from hpo.storage.view import StudyView
    from hpo.study import name_problem

    listed = [part.strip() for part in names.split(",") if part.strip()]
    if len(listed) < 2:
        raise SpecError(f"studies: {names!r}: name two or more, with commas between")
    if twice := sorted({one for one in listed if listed.count(one) > 1}):
        raise SpecError(f"studies: {', '.join(twice)}: named twice: drop one")
    name = name or _name_of(listed)
    if problem := name_problem(name):
        raise SpecError(f"name: {name!r}: {problem}")
    check_output(str(Path(output) / name))
    opened = open_storage(resolve_url(storage), create=False)
    views, problems = [], []
    for one in listed:
        try:
            views.append(view := StudyView.open(opened, one))
            if view.meta.several or view.meta.constraints:
                problems.append(
                    f"studies: {one!r} is to {view.meta.goal}: strategies are compared by one "
                    "objective, without constraints: leave it out"
                )
        except SpecError as error:
            problems += error.problems
    if problems:
        raise SpecError(problems)
    folder = Path(output).expanduser().absolute() / name
    return _write(contestants_of(views), name, folder, form)


def _name_of(studies: list[str]) -> str:
    """A name of its own for each list of studies."""
    import hashlib

    whole = "-".join(studies)
    if len(whole.encode()) > 100:
        digest = hashlib.sha256(whole.encode()).hexdigest()[:8]
        return f"compare-{studies[0][:40]}-and-{len(studies) - 1}-more-{digest}"
    return f"compare-{whole}"


def _write(contestants: list[Contestant], name: str, folder: Path, form: Format) -> Path:
    from hpo.report.comparison import compare as computed
    from hpo.report.comparison_page import facts_of, write_comparison
    from hpo.web.publish import publish_page

    comparison = computed(contestants)
    try:
        files, problem = write_comparison(comparison, name, folder)
        views = [contestant.view for contestant in contestants]
        publish_page(views, files[0], f"{name}.html", folder.parent)
    except OSError as error:
        raise HpoError(f"output: cannot write {str(folder)!r}: {error.strerror}") from None
    if problem:
        print(f"Note: {problem}", file=sys.stderr)
    facts = {**facts_of(comparison, name), "path": str(files[0])}
    with answer():
        if form is Format.json:
            print_json(facts)
        else:
            _print(comparison, facts, form)
    return files[0]


def _print(comparison: Comparison, facts: dict[str, Any], form: Format) -> None:
    from hpo.report.comparison_page import PLUS_MINUS
    from hpo.report.plots import table_of

    rows = [
        {str(key): value for key, value in row.items()}
        for row in table_of(comparison).to_dict("records")
    ]
    goal = f"{facts['direction']} {facts['metric']}"
    print_rows(rows, form, title=f"{facts['name']}: {facts['model']} on {facts['data']}, {goal}")
    if form is Format.csv:
        return
    for line in [*facts["conclusions"], PLUS_MINUS, *facts["notices"]]:
        print(line)
    print(f"Report: {facts['path']}")


def register(app: typer.Typer) -> None:
    """Adds this file's commands."""
    app.command(rich_help_panel="Do")(user_code()(compare))
