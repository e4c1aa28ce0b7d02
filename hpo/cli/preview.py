"""What a study would do, before anything is created: `--dry-run`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from hpo.cli.output import Format, print_json
from hpo.cli.streams import answer
from hpo.model import FunctionModel
from hpo.quantities import counted

if TYPE_CHECKING:
    from rich.table import Table

    from hpo.compare.plan import Plan
    from hpo.model import Data
    from hpo.outcome.workload import Workload
    from hpo.study import ResolvedStudy

_MOST_NAMED = 8
"""Classes that are named one by one."""


def preview(study: ResolvedStudy, storage: str | None, form: Format) -> None:
    """Checks the study as a run does, and prints what would be run.

    Raises:
        SpecError: what a run would be refused for.
    """
    from hpo.api.checks import check_before, check_warm_start

    check_before(study)
    check_warm_start(study, storage)
    facts = facts_of(study, storage)
    with answer():
        if form is Format.json:
            print_json(facts)
        else:
            _print(study, facts)


def preview_comparison(plan: Plan, form: Format) -> None:
    """Checks a comparison as a run does, and prints what would be run.

    Raises:
        SpecError: what a run would be refused for.
    """
    from hpo.api.checks import check_before

    check_before(plan.first)
    facts = {**plan.to_json(), "dataset": None}
    if plan.first.spec.ray_address is None:
        facts["dataset"] = _dataset(plan.first)
    with answer():
        if form is Format.json:
            print_json(facts)
        else:
            _print_lines(_comparison_lines(plan, facts))


def facts_of(study: ResolvedStudy, storage: str | None) -> dict[str, Any]:
    """The resolved study, its data, resources and trainings as plain data."""
    from hpo.outcome.workload import workload
    from hpo.storage.sql import redact, resolve_url
    from hpo.tune.resources import local_cpus, local_gpus, plan_resources

    facts = study.to_json()
    facts["storage"] = redact(resolve_url(storage))
    facts["sampler_choices"] = _choices(study)
    facts["grid_size"] = study.space.grid_size() if study.spec.sampler == "grid" else None
    facts["dataset"] = None
    facts["trainings"] = _trainings(study, workload(study, _n_searched(study)))
    if study.spec.ray_address is None:
        facts["resources"] = str(plan_resources(study.spec, local_cpus(), local_gpus()))
        facts["dataset"] = _dataset(study)
    return facts


def _choices(study: ResolvedStudy) -> list[dict[str, Any]]:
    """What auto would choose for a new study, in the form of a run's summary."""
    from hpo.search.auto_sampler import choose_sampler, facts_at_start

    if study.spec.sampler != "auto":
        return []
    budget = study.spec.total_trials or study.n_trials
    chosen = choose_sampler(facts_at_start(study.space, budget))
    return [{"from_trial": 0, **asdict(chosen)}]


def _dataset(study: ResolvedStudy) -> dict[str, Any] | None:
    """Rows of each split, classes and the shape of a row; None: a function reads its own."""
    from hpo.registry import load_data
    from hpo.training.session import SPLIT_SEED

    data = load_data(study.model, study.data, SPLIT_SEED)
    return None if data is None else dataset_facts(data)


def dataset_facts(data: Data) -> dict[str, Any]:
    """What a data set holds, as plain data."""
    splits = {"train": data.train, "val": data.val, "test": data.test}
    shape = data.info.get("shape") or tuple(data.train[0].shape[1:])
    names = data.info.get("class_names")
    return {
        "name": data.name,
        "rows": {name: len(split[0]) if split else 0 for name, split in splits.items()},
        "classes": data.info.get("n_classes"),
        "class_names": [str(name) for name in names] if names is not None else None,
        "shape": [int(side) for side in shape],
        "digest": data.digest,
        "notes": [*data.notes],
    }


def _trainings(study: ResolvedStudy, after: Workload) -> dict[str, int | None]:
    """How often something is trained, at most; None: until it is stopped."""
    return {
        "search": _n_searched(study),
        "confirm": after.n_confirming,
        "retrain": after.n_retrained,
    }


def _n_searched(study: ResolvedStudy) -> int | None:
    n = study.n_trials or study.spec.total_trials
    if n is None and study.spec.sampler == "grid":
        return study.space.grid_size()
    return n


def _print(study: ResolvedStudy, facts: Mapping[str, Any]) -> None:
    tables = [_space_table(study)] if study.space.params else []
    _print_lines(_lines(study, facts), *tables)


def _print_lines(lines: Iterable[tuple[str, str]], *tables: Table) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, style="dim")
    grid.add_column(overflow="fold")
    for name, value in lines:
        grid.add_row(name, Text(value))
    for shown in (grid, *tables):
        console.print(shown)
    console.print("Nothing was started. All settings: the same command with -f json", style="dim")


def _lines(study: ResolvedStudy, facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name and value of each line of the summary."""
    from hpo.outcome.workload import workload

    spec, planned = study.spec, facts["trainings"]
    lines = [("study", study.name), ("model", study.ref.name), *_data_lines(study, facts)]
    goals = ", ".join(one.goal for one in study.objectives)
    kept = "".join(f", keep {one}" for one in study.constraints)
    lines.append(("objective", f"{goals}{kept}"))
    n = "trials until stopped" if planned["search"] is None else counted(planned["search"], "trial")
    limit = f", none started after {study.timeout:g} s" if study.timeout else ""
    epochs = f"{counted(study.epochs, 'epoch')} each"
    lines.append(("search", f"{n}{' in all' if spec.total_trials else ''}, {epochs}{limit}"))
    sampler = spec.sampler
    if facts["sampler_choices"]:
        chosen = facts["sampler_choices"][0]
        sampler = f"auto, which starts with {chosen['sampler']}: {chosen['reason']}"
    lines.append(("sampler", sampler))
    lines.append(("pruner", spec.pruner))
    if spec.warm_start:
        lines.append(("warm start", ", ".join(spec.warm_start)))
    after = workload(study, planned["search"])
    if after.n_trainings:
        lines.append(("then", f"{after} ({epochs})"))
        lines.append(("", f"saved in {spec.output}/{study.name}"))
    lines.append(("workers", facts.get("resources") or f"a Ray cluster at {spec.ray_address}"))
    lines.append(("storage", facts["storage"]))
    if study.fixed:
        lines.append(("fixed", ", ".join(f"{k}={v}" for k, v in study.fixed.items())))
    return lines


def _comparison_lines(plan: Plan, facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name and value of each line of a comparison's summary."""
    one, spec = plan.first, plan.spec
    n, epochs = counted(plan.n_trials, "trial"), counted(one.epochs, "epoch")
    lines = [("comparison", plan.name), ("model", one.ref.name), *_data_lines(one, facts)]
    lines.append(("objective", one.objectives[0].goal))
    lines.append(("strategies", ", ".join(spec.samplers)))
    studies = counted(len(plan.studies), "study", "studies")
    seeds = counted(spec.seeds, "seed")
    lines.append(("search", f"{studies}: each strategy on {seeds}, {n} of {epochs}"))
    for name, grid in facts["grids"].items():
        lines.append(("", f"{name}: a grid of {grid['size']:,}"))
    if spec.cache:
        lines.append(("", "what another strategy has trained with the seed is not trained again"))
    if spec.test:
        lines.append(("then", "each study's best is retrained and tested once"))
    return lines


def _data_lines(study: ResolvedStudy, facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    dataset = facts["dataset"]
    if dataset is None:
        by_whom = "function" if isinstance(study.model, FunctionModel) else "model"
        why = f"loaded by the {by_whom}"
        if study.spec.ray_address:
            why = "checked on the cluster's nodes when the study starts"
        return [("data", f"{study.data}: {why}")]
    rows = dataset["rows"]
    parts = f"{rows['train']:,} training, {rows['val']:,} validation, {rows['test']:,} test"
    lines = [("data", f"{study.data}: {sum(rows.values()):,} rows: {parts}")]
    if dataset["classes"]:
        named = dataset["class_names"] or []
        more = ", ..." if len(named) > _MOST_NAMED else ""
        shown = f": {', '.join(named[:_MOST_NAMED])}{more}" if named else ""
        lines.append(("", f"{counted(dataset['classes'], 'class', 'classes')}{shown}"))
    if dataset["shape"]:
        lines.append(("", f"a row is {' x '.join(map(str, dataset['shape']))}"))
    return lines + [("", note) for note in dataset["notes"]]


def _space_table(study: ResolvedStudy) -> Table:
    from rich.table import Table

    from hpo.parameter_forms import condition_text, range_text

    table = Table(title="searched", title_justify="left", header_style="bold")
    table.add_column("parameter", no_wrap=True)
    for column in ("values", "default", "only if"):
        table.add_column(column, overflow="fold")
    default = study.space.default()
    for name, p in study.space.params.items():
        value = default.get(name)
        shown = f"{value:g}" if isinstance(value, float) else "-" if value is None else str(value)
        table.add_row(name, range_text(p), shown, condition_text(p))
    return table
