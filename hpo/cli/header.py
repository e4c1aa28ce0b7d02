"""The first lines of a run: what is trained, how often, toward which goal, where it is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.padding import Padding
from rich.text import Text

from hpo.parameter_forms import format_params
from hpo.quantities import counted, duration

if TYPE_CHECKING:
    from rich.console import Console

    from hpo.outcome.workload import Workload
    from hpo.storage.ledger import Ledger
    from hpo.study import ResolvedStudy


def announce(
    study: ResolvedStudy,
    ledger: Ledger,
    url: str,
    console: Console,
    after: Workload,
    *,
    only_retrain: bool,
) -> None:
    """Prints what will be trained, toward which goal, and where it is stored."""
    from hpo.storage.sql import redact
    from hpo.storage.warm_start import started_from

    lines = [f"{study.ref.name} on {study.data}, {ledger.meta.goal}", *data_notes(study)]
    if not only_retrain:
        lines.append(_search_line(study, ledger))
    if after.n_trainings:
        then = "" if only_retrain else "then "
        lines.append(f"{then}{after} ({counted(study.epochs, 'epoch')} each)")
    chosen = getattr(ledger.study.sampler, "chosen", None)
    if chosen and not only_retrain:
        lines.append(f"auto chose {chosen(ledger.study)}")
    if study.fixed:
        lines.append(f"fixed {format_params(study.fixed)}")
    if earlier := ", ".join(entry["study"] for entry in started_from(ledger.study.user_attrs)):
        lines.append(f"starts from {earlier}")
    lines.append(f"storage {redact(url)}")
    first, *rest = lines
    console.print(Text.assemble((study.name, "bold"), f": {first}"))
    for line in rest:
        console.print(Padding(Text(line, style="dim"), (0, 0, 0, 2), expand=False))


def data_notes(study: ResolvedStudy) -> list[str]:
    """Rows of a user's own data, which has been read by now, and how it was read."""
    from hpo.registry import FORMS, load_data
    from hpo.training.session import SPLIT_SEED

    if study.data.partition(":")[0] not in FORMS or study.spec.ray_address is not None:
        return []
    data = load_data(study.model, study.data, SPLIT_SEED)
    assert data is not None
    train, val, test = (
        len(split[0]) if split else 0 for split in (data.train, data.val, data.test)
    )
    classes = f" of {data.info['n_classes']} classes" if "n_classes" in data.info else ""
    rows = f"{train + val + test} rows{classes}: {train} training, {val} validation, {test} test"
    return [rows, *data.notes]


def _search_line(study: ResolvedStudy, ledger: Ledger) -> str:
    """`40 trials of up to 5 epochs by tpe; the median pruner stops poor ones`"""
    if not study.space.params:
        return f"1 trial of up to {counted(study.epochs, 'epoch')}: nothing is left to search"
    budget = "trials until stopped"
    if study.spec.sampler == "grid":
        budget = f"the grid's {study.space.grid_size():,} points"
    if study.n_trials:
        budget = counted(study.n_trials, "trial")
    elif study.spec.total_trials:
        budget = f"{counted(study.spec.total_trials, 'trial')} in all"
    limit = f", started within {duration(study.timeout)}" if study.timeout else ""
    pruner = f"; the {study.spec.pruner} pruner stops poor ones"
    if study.several:
        pruner = "; with several objectives no trial is pruned"
    elif study.spec.pruner == "none":
        pruner = ""
    n_before = sum(ledger.counts().values())
    more = f", after {counted(n_before, 'earlier trial')}" if n_before else ""
    epochs = counted(study.epochs, "epoch")
    return f"{budget} of up to {epochs} by {study.spec.sampler}{limit}{more}{pruner}"
