"""The page of one study."""

from __future__ import annotations

import math
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from hpo.outcome.artifact import explain, interval_text, mean_text, others
from hpo.parameter_forms import format_params
from hpo.report import parameter_plots
from hpo.report import study_plots as plots
from hpo.report.command import rerun_command
from hpo.report.front_page import front_sections, more_importances
from hpo.report.page import (
    MOST_IMAGE_BYTES,
    Page,
    Section,
    html,
    markdown,
    write_pictures,
    write_whole,
)
from hpo.report.study import StudyReport, cost, failures, study_report
from hpo.report.text_tables import split_tables
from hpo.search.auto_sampler import CHOICES, choices_text
from hpo.storage.attempts import origin_of
from hpo.storage.outcomes import outcome_of, outcomes_text
from hpo.storage.view import StudyView
from hpo.storage.warm_start import started_from, started_text

MOST_TEXT = 4000
"""Characters of a model's text on the page."""


def study_page(report: StudyReport, refresh_s: int | None = None) -> Page:
    """The report as sections; those that have nothing to show are left out."""
    view = report.view
    candidates = [
        _asked(report),
        _outcome(report),
        *front_sections(report),
        _history(report),
        _curves(report),
        *_parameters(report),
        _region(report),
        _timeline(report),
        _cost(report),
        _failures(report),
        *_samples(report),
        _best_trials(report),
        _environment(report),
    ]
    sections = [section for section in candidates if section is not None]
    return Page(f"Study {view.name}", _summary(report), sections, refresh_s)


def _summary(report: StudyReport) -> list[str]:
    meta = report.view.meta
    states = outcomes_text(Counter(map(outcome_of, report.trials))) or "none yet"
    lines = [f"{meta.model} on {meta.data}, {meta.goal}. Trials: {states}."]
    best = report.best
    if best is None:
        none_keeps = f"No trial keeps {', '.join(map(str, meta.constraints))} yet."
        lines.append("No trial has completed yet." if report.complete.empty else none_keeps)
    elif meta.several:
        values = ", ".join(f"{o.metric} {best[f'value_{o.metric}']:.4g}" for o in meta.objectives)
        lines.append(
            f"Pareto front: {len(report.front)} trials; nearest to having the best of each: trial "
            f"{best['number']} with {values}."
        )
    else:
        lines.append(
            f"Best of the search: trial {best['number']} with {meta.metric} {best['value']:.4g}."
        )
    if report.artifact is not None:
        lines.append(report.artifact.verdict)
    return lines


def _asked(report: StudyReport) -> Section:
    view, meta, spec = report.view, report.view.meta, report.spec
    settings = {key: value for key, value in meta.settings.items() if key != "fixed"}
    fixed = meta.settings.get("fixed")
    rows = {
        "model": meta.model,
        "data": meta.data,
        "objective": ", ".join(f"{one.direction} {one.metric}" for one in meta.objectives),
        "constraints": ", ".join(map(str, meta.constraints)) or None,
        "epochs of a full trial": meta.epochs,
        "pruner": spec.get("pruner"),
        "trials": spec.get("n_trials") or spec.get("total_trials"),
        "seconds at most": spec.get("timeout"),
        "seed": meta.seed,
        "started from": started_text(started_from(report.view.study.user_attrs)) or None,
        **settings,
        "fixed parameters": format_params(fixed) if fixed else None,
    }
    shown = {key: value for key, value in rows.items() if value is not None and value is not False}
    table = pd.DataFrame({"what": list(shown), "value": [str(v) for v in shown.values()]})
    choices = view.attr(CHOICES)
    lines = [f"auto chose {choices_text(choices)}."] if choices else []
    return Section("What was asked", lines, table=table)


def _outcome(report: StudyReport) -> Section | None:
    artifact = report.artifact
    if artifact is None:
        return None
    metric = artifact.metric
    n_test = int(artifact.info.get("n_test", 0))
    rows = []
    for place, confirmed in enumerate(artifact.confirmed):
        chosen = confirmed is artifact.confirmed[0]
        which = artifact.reference if confirmed["trial"] is None else f"trial {confirmed['trial']}"
        test = artifact.test if chosen else artifact.default_test if confirmed["default"] else {}
        rows.append(
            {
                "configuration": which
                + (" (chosen)" if chosen else "")
                + (
                    f" ({artifact.reference})"
                    if confirmed["default"] and confirmed["trial"] is not None
                    else ""
                ),
                "search": confirmed["searched"],
                f"{len(confirmed['values'])} fresh seeds": mean_text(confirmed["values"]),
                **dict(others(artifact, place)),
                "test": interval_text(metric, test[metric], n_test) if metric in test else "-",
            }
        )
    lines = [artifact.verdict, f"{explain(artifact)} Goal: {report.view.meta.goal}."]
    alt = (
        f"Points on the {metric} axis: the chosen configuration and the {artifact.reference} in "
        "the search, on fresh seeds (a bar marks the mean) and on the test split."
    )
    return Section("What came out", lines, plots.outcome(report), alt, table=pd.DataFrame(rows))


def _history(report: StudyReport) -> Section | None:
    if report.view.meta.several or report.frame[["value", "last"]].isna().all().all():
        return None
    best = report.best
    end = "" if best is None else f" The best is {best['value']:.4g} in trial {best['number']}."
    return Section(
        "Optimization history",
        _thinned(report),
        plots.history(report),
        f"A point a trial, its {report.view.meta.metric} by its number; a line: best so far.{end}",
    )


def _thinned(report: StudyReport) -> list[str]:
    if len(report.frame) <= plots.MOST_POINTS:
        return []
    return [
        f"Of {len(report.frame):,} trials the figures on this page show up to {plots.MOST_POINTS}: "
        "the best ones, and an even selection of the rest."
    ]


def _curves(report: StudyReport) -> Section | None:
    if not any(len(trial.intermediate_values) > 1 for trial in report.trials):
        return None
    n = int(report.frame["state"].isin(("COMPLETE", "PRUNED")).sum())
    lines = [f"{plots.MOST_CURVES} of {n} curves."] if n > plots.MOST_CURVES else []
    alt = f"A line a trial: {report.view.meta.guide.metric} by epoch. Crosses mark pruned trials."
    return Section("Learning curves", lines, plots.curves(report), alt)


def _parameters(report: StudyReport) -> list[Section | None]:
    """Importance, parallel coordinates, slices and contour of the two most important ones."""
    if len(report.complete) < 4:
        return []
    found: list[Section | None] = []
    table = report.importance
    searched = [
        name
        for name in report.params_by_importance()
        if report.complete[f"param_{name}"].nunique() > 1
    ]
    if len(table):
        left_out = [n for n in report.view.meta.space.names if n not in set(table["parameter"])]
        lines = [
            "fANOVA: the share of the value's variance over the whole range that a parameter "
            "explains by itself. Bars: mean over bootstrap resamples; whiskers: their 95 % range. "
            "Wide whiskers mean that there are too few trials to tell."
        ]
        if len(report.complete) < 2 * len(table):
            lines.append(
                f"{len(report.complete)} completed trials say little of {len(table)} parameters: "
                "take this ranking for a hint."
            )
        if left_out:
            lines.append(f"Not always active, and left out: {', '.join(left_out)}.")
        ranked = ", ".join(
            f"{row['parameter']} {row['importance']:.2f}"
            for row in table.head(3).to_dict("records")
        )
        alt = f"A bar a parameter. The most important: {ranked}."
        figure = parameter_plots.importances(table)
        several = report.view.meta.several
        title = f"Which parameters matter{f' for {report.view.meta.metric}' * several}"
        found.append(Section(title, lines, figure, alt, table, folded=True))
        found += more_importances(report) if several else []
    alt = "A line a completed trial through its parameters, coloured by its value."
    found.append(Section("Parallel coordinates", (), parameter_plots.parallel(report), alt))
    for name in searched[:2]:
        alt = f"A point a completed trial: {report.view.meta.metric} by {name}; darker came later."
        found.append(Section(f"Slice: {name}", (), parameter_plots.slices(report, name), alt))
    numbers = [n for n in searched if parameter_plots.is_number(report, n)]
    figure = parameter_plots.contour(report, numbers[0], numbers[1]) if len(numbers) > 1 else None
    if figure is not None:
        alt = f"{report.view.meta.metric} over {numbers[0]} and {numbers[1]}; points are trials."
        lines = ["Between the trials by linear interpolation; other parameters vary too."]
        found.append(Section(f"Contour: {numbers[0]} and {numbers[1]}", lines, figure, alt))
    return found


def _region(report: StudyReport) -> Section | None:
    if report.region.empty:
        return None
    lines = report.warnings
    return Section("Search space, and where it is good", lines, table=report.region)


def _timeline(report: StudyReport) -> Section | None:
    frame = report.frame
    if not (frame["worker"] != "").any():
        return None
    share = cost(report)["workers' time spent training"]
    lines = [] if math.isnan(share) else [f"{share:.0%} of the workers' time was training."]
    if len(frame) > plots.MOST_BARS:
        lines.append(f"The last {plots.MOST_BARS} trials.")
    alt = "A row a worker, a bar a trial from its start to its end, coloured by how it ended."
    return Section("Timeline of the workers", lines, plots.timeline(report), alt)


def _cost(report: StudyReport) -> Section | None:
    if report.frame.empty:
        return None
    frame = report.frame
    rows: dict[str, str] = {}
    for name, value in cost(report).items():
        if math.isnan(value) or (name == "GPU hours" and value == 0):
            continue
        if name.startswith("workers"):
            rows[name] = f"{value:.1%}"
        else:
            rows[name] = f"{value:.0f}" if name.startswith("epochs") else f"{value:.3f}"
    start, end = frame["started"].min(), frame["ended"].max()
    if pd.notna(start) and pd.notna(end):
        seconds = round((end - start).total_seconds())
        rows["from the first trial to the last"] = str(timedelta(seconds=seconds))
    n_cached = int(frame["cached"].sum())
    if n_cached:
        rows["trials answered by another study's training"] = str(n_cached)
    table = pd.DataFrame({"what": list(rows), "value": list(rows.values())})
    lines = ["Training of the search's trials; confirmation and retraining come on top."]
    return Section("Cost", lines, table=table)


def _failures(report: StudyReport) -> Section | None:
    table = failures(report.frame)
    if table.empty:
        return None
    n = int(table["n"].sum())
    return Section("Failures", [f"{n} of {len(report.frame)} trials failed."], table=table)


def _samples(report: StudyReport) -> list[Section]:
    """Pictures, tables and texts of test rows that were saved with the retrained model."""
    retrained = report.view.attr("hpo:retrained")
    if not retrained:
        return []
    folder = Path(retrained["path"])
    images = {
        file.name: file.read_bytes()
        for file in sorted(folder.glob("*.png"))
        if file.stat().st_size <= MOST_IMAGE_BYTES
    }
    title, lines = "The retrained model on test rows", [f"The files are in {folder}."]
    found = [Section(title, lines, images=images)] if images else []
    for file in sorted(folder.glob("*.md")):
        if file.name == "README.md":
            continue
        tables, text = split_tables(file.read_text(encoding="utf-8", errors="replace"))
        title = f"The retrained model on test rows: {file.stem}"
        found += [Section(title, lines, table=table) for table in tables]
        if text:
            found.append(Section(title, lines, code=text[:MOST_TEXT]))
    return found


def _best_trials(report: StudyReport) -> Section | None:
    done = report.eligible
    if done.empty or report.view.meta.several:  # the front has been shown
        return None
    order = (report.sign * done["value"]).sort_values(ascending=False, kind="stable").index
    parameters = (f"param_{name}" for name in report.view.meta.space.names)
    columns = [column for column in parameters if done[column].notna().any()]
    top = done.loc[order[:10], ["number", "value", "epochs", "duration_s", *columns]]
    names = {c: c.removeprefix("param_") for c in columns}
    names |= {"number": "trial", "duration_s": "seconds", "value": report.view.meta.metric}
    table = top.rename(columns=names).reset_index(drop=True)
    lines = [f"By their value in the search ({report.view.meta.goal})."]
    return Section("Best trials", lines, table=table, folded=True)


def _environment(report: StudyReport) -> Section:
    return Section("To do it again", _versions(report), code=rerun_command(report))


def _versions(report: StudyReport) -> list[str]:
    found: dict[str, list[str]] = {}
    for trial in report.trials:
        for name, version in (origin_of(trial).get("versions") or {}).items():
            if version not in found.setdefault(name, []):
                found[name].append(version)
    if not found:
        return []
    listed = ", ".join(f"{name} {' and '.join(versions)}" for name, versions in found.items())
    devices = ", ".join(sorted({str(d) for d in report.frame["device"] if d}))
    mixed = [name for name, versions in found.items() if len(versions) > 1]
    lines = [f"Versions: {listed}. Devices: {devices or 'unknown'}."]
    if mixed:
        lines.append(f"Trials of different versions are mixed: {', '.join(mixed)}.")
    return lines


def facts_of(report: StudyReport) -> dict[str, Any]:
    """The report as plain data; `-f json` prints exactly this."""
    best, artifact = report.best, report.artifact
    meta = report.view.meta
    return {
        "study": report.view.name,
        "model": meta.model,
        "data": meta.data,
        "metric": meta.metric,
        "direction": meta.direction,
        "sampler": meta.settings.get("sampler"),
        "sampler_choices": report.view.attr(CHOICES) or [],
        "trials": report.frame["state"].value_counts().to_dict(),
        "started_from": started_from(report.view.study.user_attrs),
        "best": None if best is None else _facts_of_row(report, best),
        "objectives": [{"metric": o.metric, "direction": o.direction} for o in meta.objectives],
        "constraints": [str(one) for one in meta.constraints],
        "infeasible": len(report.complete) - len(report.eligible),
        "front": [_facts_of_row(report, row) for _, row in report.front.iterrows()],
        "chosen": None
        if artifact is None
        else {"trial": artifact.trial, "params": artifact.params},
        "confirmed": None if artifact is None else artifact.confirmed,
        "default_test": None if artifact is None else artifact.default_test,
        "test": None if artifact is None else artifact.test,
        "verdict": None if artifact is None else artifact.verdict,
        "importance": report.importance.to_dict("records"),
        "region": report.region.to_dict("records"),
        "warnings": report.warnings,
        "cost": cost(report),
        "failures": failures(report.frame).to_dict("records"),
        "command": rerun_command(report),
    }


def _facts_of_row(report: StudyReport, row: pd.Series) -> dict[str, Any]:
    found: dict[str, Any] = {"trial": int(row["number"]), "value": float(row["value"])}
    objectives = report.view.meta.objectives
    if len(objectives) > 1:
        found["values"] = {o.metric: float(row[f"value_{o.metric}"]) for o in objectives}
    return found


def write_study(view: StudyView, path: Path, refresh_s: int | None = None) -> None:
    """Writes the study's page, whole or not at all.

    Args:
        refresh_s: the page loads itself again after so many seconds.
    """
    page = study_page(study_report(view), refresh_s)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, html(page))


def write_study_markdown(view: StudyView, path: Path) -> str | None:
    """The same in Markdown, its pictures in a folder beside it.

    Returns:
        Why there are no pictures of figures, or None.
    """
    page = study_page(study_report(view))
    folder = path.with_name(f"{path.stem}-pictures")
    folder.mkdir(parents=True, exist_ok=True)
    pictures, problem = write_pictures(page, folder)
    linked = {key: f"{folder.name}/{name}" for key, name in pictures.items()}
    write_whole(path, markdown(page, linked))
    return problem
