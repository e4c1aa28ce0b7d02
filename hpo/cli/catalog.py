"""Commands that list what there is to choose from: models, samplers, pruners."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hpo.cli.output import Form, Format, print_facts, print_rows
from hpo.cli.streams import user_code

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
        print_facts(facts, form)
        return
    default = facts.pop("default")
    del facts["space"]
    facts["datasets"] = ", ".join(model.datasets)
    print_facts(facts, form)
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


def register(app: typer.Typer) -> None:
    """Adds this file's commands."""
    app.command(rich_help_panel="Look")(samplers)
    app.add_typer(models, name="models", rich_help_panel="Look")
