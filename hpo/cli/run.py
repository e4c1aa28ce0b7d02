"""Commands that act: run, resume, retrain, init."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpo.cli.execute import execute
from hpo.cli.inspect import Storage, StudyName, open_study
from hpo.cli.output import Format, print_json
from hpo.errors import SpecError
from hpo.tune.stop import sigterm_deferred

if TYPE_CHECKING:
    from hpo.study import ResolvedStudy

_LEAST_FREE = 100 * 10**6
"""Bytes: Ray's session files and a saved model of moderate size."""

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the summary.")]
Form = Annotated[Format, typer.Option("-f", "--format", help="Summary as table or json.")]


def option(help: str, *names: str, panel: str | None = None) -> Any:
    """A flag without a shown default."""
    return typer.Option(*names, help=help, show_default=False, rich_help_panel=panel)


def run(
    model: Annotated[
        str | None, option("cnn, ./mine.py:Net, package.module:Net; see `hpo models`.", "--model")
    ] = None,
    study: Annotated[
        str | None, option("Ready-made study (cnn-digits) or a TOML file; flags win.", "--study")
    ] = None,
    name: Annotated[str | None, option("The study's name; default MODEL-SAMPLER.")] = None,
    data: Annotated[
        str | None, option("digits, mnist, cifar10, imagefolder:PATH, npz:PATH, ...")
    ] = None,
    sampler: Annotated[
        str | None, option("grid, random, tpe (default), gp, skopt, cmaes, qmc.", "--sampler")
    ] = None,
    pruner: Annotated[str | None, option("none, median (default), asha, hyperband.")] = None,
    n_trials: Annotated[int | None, option("Run this many more trials.", "--n-trials")] = None,
    total_trials: Annotated[int | None, option("Run until the study has this many.")] = None,
    timeout: Annotated[float | None, option("Start no trial after this many seconds.")] = None,
    epochs: Annotated[int | None, option("Epochs of a full training.")] = None,
    set_: Annotated[
        list[str] | None,
        option("Fix or narrow: lr=1e-3, width=16..64, optimizer=sgd,adamw. Repeatable.", "--set"),
    ] = None,
    seed: Annotated[int | None, option("Seed of sampler and training (default 0).")] = None,
    default_first: Annotated[
        bool | None,
        option("Try the model's defaults first (on).", "--default-first/--no-default-first"),
    ] = None,
    max_concurrent: Annotated[
        int | None, option("Trials at once; default: as many as fit.", panel="Resources")
    ] = None,
    cpus_per_trial: Annotated[
        float | None, option("Cores a trial (default 1).", panel="Resources")
    ] = None,
    gpus_per_trial: Annotated[
        float | None,
        option("GPUs a trial, fractions too; default 1 if there are any.", panel="Resources"),
    ] = None,
    workers_per_trial: Annotated[
        int | None,
        option("Workers that train a trial together, with these each (1).", panel="Resources"),
    ] = None,
    memory_per_trial: Annotated[
        str | None,
        option("Memory a trial may take (4GiB); default: its share.", panel="Resources"),
    ] = None,
    ray_address: Annotated[
        str | None, option("A Ray cluster (auto, HOST:6379).", panel="Resources")
    ] = None,
    trial_timeout: Annotated[
        float | None, option("End a trial that takes longer, in seconds.", panel="Faults")
    ] = None,
    max_retries: Annotated[
        int | None, option("Tries more after a lost worker or driver (3).", panel="Faults")
    ] = None,
    checkpoint_every: Annotated[
        float | None, option("Seconds between a trial's checkpoints (30).", panel="Faults")
    ] = None,
    retry_failed: Annotated[
        bool | None,
        typer.Option(
            "--retry-failed",
            help="Try again what failed before.",
            rich_help_panel="Faults",
        ),
    ] = None,
    join: Annotated[
        bool | None,
        typer.Option(
            "--join",
            help="Drive the study beside other drivers that say so too.",
            rich_help_panel="Faults",
        ),
    ] = None,
    precision: Annotated[str | None, option("fp32, bf16, fp16.", panel="Training")] = None,
    accumulate: Annotated[
        int | None, option("Batches a gradient step is summed over.", panel="Training")
    ] = None,
    grad_clip: Annotated[float | None, option("Largest gradient norm.", panel="Training")] = None,
    patience: Annotated[
        int | None, option("Stop after this many epochs without gain.", panel="Training")
    ] = None,
    ema: Annotated[
        float | None, option("Decay of averaged weights (0.99).", panel="Training")
    ] = None,
    checkpoint_gradients: Annotated[
        bool | None,
        option(
            "Compute activations again instead of keeping them.",
            "--checkpoint-gradients/--keep-activations",
            panel="Training",
        ),
    ] = None,
    retrain: Annotated[
        bool | None,
        option("Confirm and retrain the best (on).", "--retrain/--no-retrain", panel="Outcome"),
    ] = None,
    confirm_top: Annotated[
        int | None, option("Configurations to confirm (3).", panel="Outcome")
    ] = None,
    confirm_seeds: Annotated[
        int | None, option("Fresh seeds for each (3).", panel="Outcome")
    ] = None,
    report: Annotated[
        bool | None,
        option("Write the study's page at the end (on).", "--report/--no-report", panel="Outcome"),
    ] = None,
    output: Annotated[
        str | None, option("Folder for saved models (hpo-runs).", panel="Outcome")
    ] = None,
    storage: Storage = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the resolved study; start nothing.")
    ] = False,
    form: Form = Format.table,
    quiet: Quiet = False,
) -> None:
    """Searches a model's hyperparameters, confirms and retrains the best.

    \b
    [dim]hpo run --model cnn --sampler tpe
    hpo run --model cnn --n-trials 40 --epochs 16 --set optimizer=adamw
    hpo run --model ./mine.py:Net --data imagefolder:./photos --timeout 3600
    hpo run --study cnn-digits --storage postgresql://me@db/hpo[/dim]
    """
    from hpo.study import read_study, resolve, spec_from

    flags = {
        key: value
        for key, value in locals().items()
        if key not in ("study", "set_", "storage", "dry_run", "form", "quiet")
        and not callable(value)
    }
    flags["set"] = settings_of(set_ or []) or None
    resolved = resolve(spec_from(read_study(study) if study else {}, flags))
    check_output(str(Path(resolved.spec.output) / resolved.name))
    if dry_run:
        _dry_run(resolved, storage)
        return
    execute(resolved, storage, form, quiet)


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


def _dry_run(study: ResolvedStudy, storage: str | None) -> None:
    from hpo.cli.execute import check_problem
    from hpo.storage.sql import redact, resolve_url
    from hpo.tune.environment import local_cpus, local_gpus, plan_resources

    if study.spec.ray_address is None:
        check_problem(study)
    facts = study.to_json()
    facts["storage"] = redact(resolve_url(storage))
    facts["grid_size"] = study.space.grid_size() if study.spec.sampler == "grid" else None
    if study.spec.ray_address is None:
        facts["resources"] = str(plan_resources(study.spec, local_cpus(), local_gpus()))
    print_json(facts)


def resume(
    study: StudyName,
    storage: Storage = None,
    join: Annotated[
        bool, typer.Option("--join", help="Drive it beside other drivers that say so too.")
    ] = False,
    retry_failed: Annotated[
        bool | None,
        typer.Option(
            "--retry-failed/--no-retry-failed",
            help="Try again what failed before; a grid does unless told not to.",
            show_default=False,
        ),
    ] = None,
    form: Form = Format.table,
    quiet: Quiet = False,
) -> None:
    """Goes on with a study until the trials it was asked for are there, then retrains.

    \b
    [dim]hpo resume cnn-tpe
    hpo resume cnn-tpe --retry-failed    # after the model's code was mended[/dim]
    """
    from hpo.storage.request import TARGET, stored_spec
    from hpo.study import resolve

    ledger = open_study(storage, study)
    spec = stored_spec(ledger)
    target = ledger.attr(TARGET)
    update = {"n_trials": None, "total_trials": target, "join": join}
    update["retry_failed"] = spec.sampler == "grid" if retry_failed is None else retry_failed
    resolved = resolve(spec.model_copy(update=update))
    execute(resolved, storage, form, quiet)


def retrain(
    study: StudyName,
    storage: Storage = None,
    top: Annotated[int | None, option("Configurations to confirm (3).")] = None,
    seeds: Annotated[int | None, option("Fresh seeds for each (3).")] = None,
    output: Annotated[str | None, option("Folder for saved models (hpo-runs).")] = None,
    form: Form = Format.table,
    quiet: Quiet = False,
) -> None:
    """Confirms a study's best configurations on fresh seeds, retrains the winner, tests it once.

    [dim]Example:  hpo retrain cnn-tpe --top 5 --seeds 5[/dim]
    """
    from hpo.storage.request import stored_spec
    from hpo.study import resolve, spec_from

    stored = stored_spec(open_study(storage, study)).model_dump()
    flags = {"confirm_top": top, "confirm_seeds": seeds, "output": output, "retrain": True}
    resolved = resolve(spec_from(stored, flags))
    check_output(resolved.spec.output)
    execute(resolved, storage, form, quiet, only_retrain=True)


def init(
    model: Annotated[str, typer.Argument(help="cnn, ./mine.py:Net or package.module:Net.")],
    path: Annotated[Path | None, option("File to write; default MODEL.toml.", "--to")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Writes a commented study file to edit and run.

    [dim]Example:  hpo init cnn && hpo run --study ./cnn.toml[/dim]
    """
    from hpo.cli.template import study_toml
    from hpo.registry import find_model, load_model

    ref = find_model(model)
    file = path or Path(f"{ref.label}.toml")
    if file.exists() and not force:
        raise SpecError(f"to: {str(file)!r} exists: choose another with --to, or give --force")
    text = study_toml(ref, load_model(ref))
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SpecError(f"to: cannot write {str(file)!r}: {error.strerror}") from None
    print(f"Wrote {file}. Next: hpo run --study ./{file}")


def register(app: typer.Typer) -> None:
    """Adds this file's commands."""
    for command in (run, resume, retrain):
        app.command(rich_help_panel="Do")(sigterm_deferred()(command))
    app.command(rich_help_panel="Do")(init)
