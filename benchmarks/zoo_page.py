"""A model's page in docs/models: what it is, what its ready study came to, its space."""

from __future__ import annotations

import inspect
import statistics
import sys
from typing import Any

from hpo.outcome.artifact import interval_text
from hpo.parameter_forms import condition_text, range_text
from hpo.registry import find_model, load_model


def confirmed(found: dict[str, Any], who: str, metric: str | None = None) -> str:
    """Mean and sample standard deviation over the fresh seeds, on the validation split."""
    values = [run[metric or found["metric"]] for run in found[who]["runs"]]
    if not values:
        return "-"
    return f"{statistics.fmean(values):.4g} ± {statistics.stdev(values):.2g}"


def page(found: dict[str, Any], files: list[str]) -> str:
    """Markdown.

    Args:
        found: the model's record, as `zoo.describe` makes it.
        files: names of the pictures and texts beside the page.
    """
    name, plain = found["model"], found["baseline"]
    model = load_model(find_model(name))
    about = inspect.getdoc(sys.modules[type(model).__module__]) or ""
    states = ", ".join(f"{n} {state.lower()}" for state, n in found["trials"].items())
    floor = f"{plain[1]:.4g} ({plain[0]})" if plain else "the default configuration"
    return f"""# {name}
{about}

{inspect.cleandoc(type(model).__doc__ or "")}

- Task: {model.task}. Searched by {found["metric"]}, {found["direction"]}.
- Data: {", ".join(f"`{form}`" for form in model.datasets)}.
- Ready study: `hpo run --study {found["study"]}`; own data: `hpo run --model {name} --data ...`.

## What the ready study came to
On `{found["data"]}`: {found["sampler"]}, {found["epochs"]} epochs a full trial, {states},
{found["minutes"]:.0f} minutes on 2 cores. {found["verdict"]}

Validation, three fresh seeds, mean ± standard deviation:

{_columns(_seeds(found))}

Test, once, after retraining on training and validation rows ({found["n_test"]} test rows):

{_columns(_tests(found))}

Baseline on the same test rows: {floor}.

{chr(10).join(map(_shown, files))}

## Space
| parameter | range | when | default | found |
|---|---|---|---|---|
{chr(10).join(_space(model, found["params"]))}

Made by `python benchmarks/zoo.py --record`; torch {found["versions"]["torch"]}.
"""


def _columns(rows: list[tuple[str, str, str]]) -> str:
    head = "| metric | default configuration | best configuration |\n|---|---|---|\n"
    return head + "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _seeds(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    runs = [run for who in ("default", "best") for run in found[who]["runs"]]
    metrics = [k for k in runs[-1] if k != "seed" and not k.startswith("train_loss")]
    return [
        (k, confirmed(found, "default", k), confirmed(found, "best", k))
        for k in metrics
        if all(k in run for run in runs)
    ]


def _tests(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    n_test, default = int(found["n_test"] or 0), found["default"]["test"]
    return [
        (
            k,
            interval_text(k, default[k], n_test) if k in default else "-",
            interval_text(k, v, n_test),
        )
        for k, v in found["best"]["test"].items()
    ]


def _space(model: Any, params: dict[str, Any]) -> list[str]:
    default = model.space.default()
    return [
        f"| `{p}` | {range_text(parameter)} | {condition_text(parameter)} "
        f"| {_value(default.get(p))} | {_value(params.get(p))} |"
        for p, parameter in model.space.params.items()
    ]


def _value(value: Any) -> str:
    return "-" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


def _shown(file: str) -> str:
    what = "what the retrained network makes of test rows"
    return f"![{file}: {what}]({file})" if file.endswith(".png") else f"[{file}]({file}): {what}."
