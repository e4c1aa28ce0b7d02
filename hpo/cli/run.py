"""Commands that act: run, resume, retrain, init."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpo.cli.execute import execute
from hpo.cli.flags import (
    Constraints,
    CpusPerTrial,
    Data,
    DryRun,
    Epochs,
    GpusPerTrial,
    ImageSize,
    MaxConcurrent,
    Model,
    Objectives,
    Pruner,
    Quiet,
    RayAddress,
    Set,
    SkipBroken,
    Storage,
    Study,
    StudyName,
    SummaryForm,
    check_output,
    option,
    settings_of,
)
from hpo.cli.inspect import open_study
from hpo.cli.output import Format
from hpo.cli.preview import preview
from hpo.cli.streams import answer, user_code
from hpo.errors import SpecError

if TYPE_CHECKING:
    pass


def run(
    model: Model = None,
    study: Study = None,
    name: Annotated[str | None, option("The study's name; default MODEL-SAMPLER.")] = None,
    data: Data = None,
    image_size: ImageSize = None,
    skip_broken: SkipBroken = None,
    sampler: Annotated[
        str | None,
        option(
            "auto (default), grid, random, tpe, gp, optuna-gp, skopt, cmaes, qmc, nsgaii.",
            "--sampler",
        ),
    ] = None,
    pruner: Pruner = None,
    objectives: Objectives = None,
    constraints: Constraints = None,
    n_trials: Annotated[int | None, option("Run this many more trials.", "--n-trials")] = None,
    total_trials: Annotated[int | None, option("Run until the study has this many.")] = None,
    timeout: Annotated[float | None, option("Start no trial after this many seconds.")] = None,
    epochs: Epochs = None,
    set_: Set = None,
    seed: Annotated[int | None, option("Seed of sampler and training (default 0).")] = None,
    default_first: Annotated[
        bool | None,
        option("Try the model's defaults first (on).", "--default-first/--no-default-first"),
    ] = None,
    warm_start: Annotated[
        list[str] | None,
        option(
            "Begin with the best of this earlier study, on other data too; all: of every study of "
            "the model. Repeatable.",
            "--warm-start",
        ),
    ] = None,
    max_concurrent: MaxConcurrent = None,
    cpus_per_trial: CpusPerTrial = None,
    gpus_per_trial: GpusPerTrial = None,
    workers_per_trial: Annotated[
        int | None,
        option("Workers that train a trial together, with these each (1).", panel="Resources"),
    ] = None,
    memory_per_trial: Annotated[
        str | None,
        option("Memory a trial may take (4GiB); default: its share.", panel="Resources"),
    ] = None,
    ray_address: RayAddress = None,
    trial_timeout: Annotated[
        float | None, option("End a trial that takes longer, in seconds.", panel="Faults")
    ] = None,
    max_retries: Annotated[
        int | None, option("Retries after a worker or driver crash (3).", panel="Faults")
    ] = None,
    max_failures: Annotated[
        int | None,
        option(
            "Stop when this many first trials fail by the same error (3); 0: never.",
            panel="Faults",
        ),
    ] = None,
    checkpoint_every: Annotated[
        float | None, option("Seconds between a trial's checkpoints (30).", panel="Faults")
    ] = None,
    retry_failed: Annotated[
        bool | None,
        typer.Option(
            "--retry-failed",
            help="Run failed configurations again.",
            rich_help_panel="Faults",
        ),
    ] = None,
    join: Annotated[
        bool | None,
        typer.Option(
            "--join",
            help="Share this study with other drivers that use --join.",
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
    dry_run: DryRun = False,
    form: SummaryForm = Format.table,
    quiet: Quiet = False,
) -> None:
    """Searches a model's hyperparameters, confirms and retrains the best.

    \b
    [dim]hpo run --model cnn --sampler tpe
    hpo run --model cnn --n-trials 40 --epochs 16 --set optimizer=adamw
    hpo run --model cnn --objective accuracy --objective params --constraint 'latency_ms<=2'
    hpo run --model ./mine.py:Net --data imagefolder:./photos --timeout 3600
    hpo run --model cnn --data mnist --name cnn-mnist --warm-start cnn-tpe
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
    flags |= {"objectives": objectives or None, "constraints": constraints or None}
    flags["warm_start"] = warm_start or None
    resolved = resolve(spec_from(read_study(study) if study else {}, flags))
    check_output(str(Path(resolved.spec.output) / resolved.name))
    if dry_run:
        preview(resolved, storage, form)
        return
    execute(resolved, storage, form, quiet)


def resume(
    study: StudyName,
    storage: Storage = None,
    n_trials: Annotated[
        int | None, option("Run this many more trials, instead of what is missing.", "--n-trials")
    ] = None,
    timeout: Annotated[float | None, option("Start no trial after this many seconds.")] = None,
    epochs: Annotated[
        int | None, option("Other epochs, while no trial of the study has a value.")
    ] = None,
    join: Annotated[
        bool, typer.Option("--join", help="Share it with other drivers that use --join.")
    ] = False,
    retry_failed: Annotated[
        bool | None,
        typer.Option(
            "--retry-failed/--no-retry-failed",
            help="Run failed configurations again [default: on for a grid].",
            show_default=False,
        ),
    ] = None,
    max_failures: Annotated[
        int | None, option("Stop when this many first trials fail by the same error; 0: never.")
    ] = None,
    form: SummaryForm = Format.table,
    quiet: Quiet = False,
) -> None:
    """Continue a study until it has the trials it was asked for, then retrain the best.

    \b
    [dim]hpo resume cnn-tpe
    hpo resume cnn-tpe --n-trials 20 --timeout 600
    hpo resume cnn-tpe --retry-failed    # after the model's code was mended[/dim]
    """
    from hpo.storage.request import going_on, resolve_as_begun

    ledger = open_study(storage, study)
    spec = going_on(
        ledger,
        n_trials=n_trials,
        timeout=timeout,
        epochs=epochs,
        join=join,
        retry_failed=retry_failed,
        max_failures=max_failures,
    )
    execute(resolve_as_begun(ledger, spec), storage, form, quiet)


def retrain(
    study: StudyName,
    storage: Storage = None,
    top: Annotated[int | None, option("Configurations to confirm (3).")] = None,
    seeds: Annotated[int | None, option("Fresh seeds for each (3).")] = None,
    trial: Annotated[
        int | None, option("Retrain this one, instead of the best or the front's knee.", "--trial")
    ] = None,
    output: Annotated[str | None, option("Folder for saved models (hpo-runs).")] = None,
    form: SummaryForm = Format.table,
    quiet: Quiet = False,
) -> None:
    """Confirms a study's best configurations on fresh seeds, retrains the winner, tests it once.

    Of several objectives it takes the point of the front nearest to having the best of each.

    [dim]Example:  hpo retrain cnn-tpe --top 5 --seeds 5[/dim]
    """
    from hpo.outcome.confirm import check_chosen
    from hpo.storage.request import resolve_as_begun, stored_spec
    from hpo.study import spec_from

    ledger = open_study(storage, study)
    stored = stored_spec(ledger).model_dump()
    if trial is not None:
        check_chosen(ledger, trial)
    flags = {"confirm_top": top, "confirm_seeds": seeds, "output": output, "retrain": True}
    resolved = resolve_as_begun(ledger, spec_from(stored, flags))
    check_output(resolved.spec.output)
    execute(resolved, storage, form, quiet, only_retrain=True, chosen=trial)


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
    with answer():
        print(f"Wrote {file}. Next: hpo run --study ./{file}")


def register(app: typer.Typer) -> None:
    """Adds this file's commands."""
    for command in (run, resume, retrain, init):
        app.command(rich_help_panel="Do")(user_code()(command))
