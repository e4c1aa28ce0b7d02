"""A run's outcome: best configuration, confirmation, test figures, files, next commands."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hpo.parameter_forms import shown_params
from hpo.quantities import number
from hpo.storage.outcomes import outcomes_text

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from hpo.api.life import Outcome
    from hpo.outcome.retrain import Retrained
    from hpo.storage.ledger import Ledger
    from hpo.study import ResolvedStudy

MOST_OF_FRONT = 10
"""Rows of the front in the summary."""


def summarize(outcome: Outcome) -> dict[str, Any]:
    """The run's outcome as plain data; `-f json` prints exactly this."""
    from hpo.search.auto_sampler import CHOICES
    from hpo.storage.sql import redact
    from hpo.storage.warm_start import started_from

    study, ledger, end = outcome.study, outcome.ledger, outcome.end
    retrained = outcome.retrained
    front = ledger.front() if study.several else []
    best = front[0] if front else None if study.several else ledger.best()
    if front and retrained is not None and retrained.best.number is not None:
        best = ledger.trial(retrained.best.number)
    facts: dict[str, Any] = {
        "study": study.name,
        "model": study.ref.name,
        "data": study.data,
        "metric": study.objectives[0].metric,
        "direction": study.objectives[0].direction,
        "objectives": [asdict(one) for one in study.objectives],
        "constraints": [str(one) for one in study.constraints],
        "sampler": study.spec.sampler,
        "sampler_choices": (ledger.attr(CHOICES) or []) if study.spec.sampler == "auto" else [],
        "storage": redact(outcome.url),
        "interrupted": end is not None and end.signal is not None,
        "search_s": round(end.duration_s, 1) if end else None,
        "trials": ledger.counts(),
        "outcomes": ledger.outcomes(),
        "failed_trial": _last_failed(ledger),
        "fixed": dict(study.fixed),
        "started_from": started_from(ledger.study.user_attrs),
        "best": None,
        "confirmed": None,
        "verdict": None,
        "test": None,
        "path": None,
        "load": None,
        "saved": None,
    }
    if best is not None:
        facts["best"] = _trial_facts(ledger, best)
    if study.several:
        facts["front"] = [_trial_facts(ledger, trial) for trial in front]
        facts["noise"] = ledger.noise()
    if study.constraints:
        facts["infeasible"] = ledger.n_infeasible()
    if retrained is not None:
        facts["confirmed"] = [
            {
                "trial": c.number,
                "default": c.is_default,
                "reference": c.reference,
                "seedless": c.seedless,
                "searched": c.searched,
                "mean": c.mean,
                "sd": c.sd,
                "n_seeds": len(c.values),
                **({"means": {n: c.mean_of(n) for n in study.wanted}} if study.several else {}),
                "params": c.params,
            }
            for c in retrained.ranking
        ]
        facts["verdict"] = retrained.verdict
        facts["test"] = {
            "n": retrained.n_test,
            "best": retrained.test,
            "default": retrained.default_test,
        }
        facts["path"] = str(retrained.path)
        facts["load"] = _load_call(study, retrained)
        facts["saved"] = _saved_facts(retrained)
    return facts


def _last_failed(ledger: Ledger) -> int | None:
    """The number of the last trial that failed by itself."""
    from hpo.storage.outcomes import outcome_of

    failed = (trial.number for trial in ledger.trials() if outcome_of(trial) == "failed")
    return max(failed, default=None)


def _trial_facts(ledger: Ledger, trial: FrozenTrial) -> dict[str, Any]:
    from hpo.storage.measured import named_values
    from hpo.storage.warm_start import origin

    values = {"values": named_values(ledger.meta, trial)} if ledger.meta.several else {}
    return {
        "trial": trial.number,
        "value": trial.values[0],
        **values,
        "params": dict(trial.params),
        "from": origin(trial),
    }


def _load_call(study: ResolvedStudy, retrained: Retrained) -> str | None:
    """The call that gives the network back; None if only the user's function can rebuild it."""
    from hpo.model import FunctionModel
    from hpo.registry import MODELS

    if isinstance(study.model, FunctionModel):
        return None
    # Python in double quotes: a shell takes it in single ones as it is.
    own = "" if study.ref.name in MODELS else f", model={_quoted(study.ref.name)}"
    return f"hpo.load({_quoted(str(retrained.path))}{own})"


def _saved_facts(retrained: Retrained) -> dict[str, Any]:
    """What the folder holds of the model, and the lines that load it."""
    from hpo.outcome.artifact import read
    from hpo.outcome.saved import loading, saved_text

    artifact = read(retrained.path)
    code, remark = loading(artifact, str(retrained.path))
    kind = artifact.saved.get("kind", "weights")
    return {"kind": kind, "text": saved_text(artifact), "code": code, "remark": remark}


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def print_summary(facts: Mapping[str, Any]) -> None:
    """Prints the outcome for a person."""
    from hpo.storage.warm_start import started_text

    console = Console(highlight=False)
    console.soft_wrap = not console.is_terminal  # lines of a file are whole
    counts = outcomes_text(facts["outcomes"])
    took = f" in {facts['search_s']:.0f} s of search" if facts["search_s"] is not None else ""
    verb = "interrupted" if facts["interrupted"] else "finished"
    goal = _goal(facts)
    console.print(
        f"\n[bold]{escape(facts['study'])}[/bold] {verb}: {counts or 'no trials'}{took}; "
        f"{escape(goal)}"
    )
    if facts["started_from"]:
        console.print(f"Started from {escape(started_text(facts['started_from']))}")
    if facts["sampler_choices"]:
        from hpo.search.auto_sampler import choices_text

        console.print(f"auto chose {escape(choices_text(facts['sampler_choices']))}")
    if facts["best"] is None:
        broken = facts.get("infeasible")
        kept = f"No trial keeps {', '.join(facts['constraints'])}: {broken} break it."
        console.print(escape(kept) if broken else "No trial has completed yet.")
    elif "front" in facts:
        _print_front(console, facts)
    else:
        best = facts["best"]
        console.print(
            f"Best of the search: trial {best['trial']} with {facts['metric']} "
            f"{number(best['value'])}{escape(_origin_text(best))}\n"
            f"  {escape(shown_params(best['params'], facts['fixed']))}"
        )
    if facts["best"] is not None and facts.get("infeasible"):
        kept = ", ".join(facts["constraints"])
        console.print(f"{facts['infeasible']} trials break {escape(kept)} and do not count.")
    if facts["confirmed"]:
        _print_confirmed(console, facts)
        _print_test(console, facts)
        if facts["saved"]["kind"] == "nothing":
            text = facts["saved"]["text"]
            console.print(escape(text[0].upper() + text[1:]))
        console.print(f"Saved: {escape(facts['path'])}", soft_wrap=True)
    if facts["report"]:
        console.print(f"Report: {escape(facts['report'])}", soft_wrap=True)
    _print_next(console, facts)


def _goal(facts: Mapping[str, Any]) -> str:
    goals = ", ".join(f"{one['direction']} {one['metric']}" for one in facts["objectives"])
    return "; ".join([goals, *facts["constraints"]])


def _print_front(console: Console, facts: Mapping[str, Any]) -> None:
    from hpo.storage.noise import noise_text

    front = facts["front"]
    names = list(front[0]["values"])
    order = ", the nearest to having the best of each objective first" if len(front) > 1 else ""
    console.print(f"Pareto front: {len(front)} trial{'s' if len(front) > 1 else ''}{order}.")
    if facts["noise"]:
        console.print(noise_text(facts["noise"]))
    table = _table(("trial", *names))
    for row in front[:MOST_OF_FRONT]:
        values = (number(row["values"][name]) for name in names)
        table.add_row(
            str(row["trial"]), *values, escape(shown_params(row["params"], facts["fixed"]))
        )
    console.print(table)
    if len(front) > MOST_OF_FRONT:
        console.print(f"... and {len(front) - MOST_OF_FRONT} more: `hpo best` lists all.")
    for objective in facts["objectives"]:
        name, best_of = objective["metric"], max if objective["direction"] == "maximize" else min
        best = best_of(front, key=lambda row: row["values"][name])
        console.print(f"Best {name}: {number(best['values'][name])}, trial {best['trial']}")


def _print_confirmed_front(console: Console, facts: Mapping[str, Any]) -> None:
    """The chosen configuration and the default, each objective's mean."""
    ranking = facts["confirmed"]
    names = list(ranking[0]["means"])
    title = f"Confirmed: means of {ranking[0]['n_seeds']} new seeds; {_goal(facts)}"
    table = _table(("trial", *names), title)
    for row in ranking:
        means = (number(row["means"][name]) for name in names)
        table.add_row(_title(row), *means, escape(shown_params(row["params"], facts["fixed"])))
    console.print(table)
    console.print(facts["verdict"])


def _table(numbers: Sequence[str], title: str | None = None) -> Table:
    """Columns of numbers, which are never split, and one of parameters."""
    table = Table(title=escape(title) if title else None, title_justify="left", header_style="bold")
    for column in numbers:
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("parameters", overflow="fold")
    return table


def _origin_text(best: Mapping[str, Any]) -> str:
    return f", the configuration of {best['from']}" if best["from"] else ""


def _print_confirmed(console: Console, facts: Mapping[str, Any]) -> None:
    if "front" in facts:
        _print_confirmed_front(console, facts)
        return
    ranking = facts["confirmed"]
    columns = ("trial", "search", f"mean of {ranking[0]['n_seeds']}", "sd")
    table = _table(columns, f"Confirmed on new seeds; {_goal(facts)}")
    for row in ranking:
        table.add_row(
            _title(row),
            "-" if row["searched"] is None else number(row["searched"]),
            number(row["mean"]),
            "-" if math.isnan(row["sd"]) else number(row["sd"]),
            escape(shown_params(row["params"], facts["fixed"])),
        )
    console.print(table)
    several_seeds = min(row["n_seeds"] for row in ranking) > 1
    if several_seeds and len(ranking) > 1 and not any(row["default"] for row in ranking[:2]):
        gap = abs(ranking[0]["mean"] - ranking[1]["mean"])
        noise = (ranking[0]["sd"] ** 2 + ranking[1]["sd"] ** 2) ** 0.5 / (
            ranking[0]["n_seeds"] ** 0.5
        )
        if not gap > 2 * noise:
            console.print("The first two are within noise of each other.")
    if facts["best"] is not None and ranking[0]["trial"] != facts["best"]["trial"]:
        console.print(f"Chosen: {_chosen(ranking[0])}, by its mean on new seeds.")
    console.print(facts["verdict"])


def _chosen(row: Mapping[str, Any]) -> str:
    return str(row["reference"]) if row["trial"] is None else f"trial {_title(row)}"


def _title(row: Mapping[str, Any]) -> str:
    if row["trial"] is None:
        return str(row["reference"])
    return f"{row['trial']} ({row['reference']})" if row["default"] else str(row["trial"])


def _print_test(console: Console, facts: Mapping[str, Any]) -> None:
    from hpo.outcome.artifact import interval_text

    test = facts["test"]
    if not test["best"]:
        console.print("No test metrics: this model reports none.")
        return
    table = Table(
        title=f"Test, once, on {test['n']} rows the search never saw"
        if test["n"]
        else "Test metrics",
        title_justify="left",
        header_style="bold",
    )
    reference = facts["confirmed"][0]["reference"]
    for column in ("metric", "best", reference):
        table.add_column(column)
    for name, value in test["best"].items():
        default = test["default"].get(name)
        table.add_row(
            name,
            interval_text(name, value, test["n"]),
            "-" if default is None else interval_text(name, default, test["n"]),
        )
    console.print(table)


def _print_next(console: Console, facts: Mapping[str, Any]) -> None:
    name = shlex.quote(facts["study"])
    console.print("[bold]Next[/bold]")
    _print_commands(console, _next_commands(facts, name))
    if facts["load"] is not None:
        _print_commands(console, _uses(facts))
        code = f"import hpo; print({facts['load']})"
        console.print(f"  python -c {shlex.quote(code)}", markup=False, soft_wrap=True)
    elif facts["path"] is not None and facts["saved"]["code"]:
        console.print(f"In Python ({facts['saved']['remark']}):", markup=False)
        for line in facts["saved"]["code"].splitlines():
            console.print(f"  {line}", markup=False, soft_wrap=True)


def _another_of_front(facts: Mapping[str, Any]) -> int | None:
    """A trial of the front that is not the chosen one."""
    front = [row["trial"] for row in facts.get("front", ())]
    chosen = facts["confirmed"][0]["trial"] if facts["confirmed"] else next(iter(front), None)
    return next((number for number in front if number != chosen), None)


def _next_commands(facts: Mapping[str, Any], name: str) -> list[tuple[str, str]]:
    """What helps now: after a search without a result, the way to its failures."""
    lines = []
    if facts["interrupted"]:
        lines.append((f"hpo resume {name}", "continue where it stopped"))
    elif facts["path"] is None and facts["best"] is not None:
        lines.append((f"hpo retrain {name}", "confirm, retrain and save the best"))
    if (another := _another_of_front(facts)) is not None:
        lines.append((f"hpo retrain {name} --trial {another}", "another point of the front"))
    if facts["best"] is not None:
        lines.append((f"hpo best {name} --top 5", "the best configurations"))
    if facts["outcomes"].get("failed") and facts["best"] is None:
        lines += _failed_commands(facts, name)
        lines.append((f"hpo resume {name} --retry-failed", "try them again, once mended"))
    elif facts["trials"]:
        lines.append((f"hpo trials {name}", "every trial"))
        if facts["outcomes"].get("failed"):
            lines += _failed_commands(facts, name)
    if facts["best"] is not None:
        lines.append((f"hpo report {name} --open", "the study's page"))
    return [*lines, ("hpo dashboard", "all studies in the browser")]


def _failed_commands(facts: Mapping[str, Any], name: str) -> list[tuple[str, str]]:
    number = facts["failed_trial"]
    return [
        (f"hpo trials {name} --state failed", "why trials failed"),
        (f"hpo trial {name} {number}", "one of them, with its traceback"),
        (f"hpo logs {name} {number}", "what it printed"),
    ]


def _uses(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What can be done with the saved network."""
    from hpo.registry import MODELS

    own = "" if facts["model"] in MODELS else f" --model {shlex.quote(facts['model'])}"
    saved = f"{shlex.quote(facts['path'])}{own}"
    return [
        (f"hpo evaluate {saved}", "every metric"),
        (f"hpo export {saved}", "to ONNX, checked"),
        (f"hpo serve {saved}", "over HTTP"),
    ]


def _print_commands(console: Console, lines: list[tuple[str, str]]) -> None:
    width = max(len(command) for command, _ in lines)
    for command, what in lines:
        console.print(f"  {command:{width}}  # {what}", markup=False, soft_wrap=True)
