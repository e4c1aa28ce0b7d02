"""Sections of a study of several objectives."""

from __future__ import annotations

import shlex

from hpo.report import front_plots as plots
from hpo.report import parameter_plots
from hpo.report.front import MOST_OBJECTIVES, front_table, hypervolumes
from hpo.report.page import Section
from hpo.report.study import StudyReport, importance
from hpo.storage.noise import noise_text


def front_sections(report: StudyReport) -> list[Section | None]:
    """The front, and how it grew; nothing for one objective."""
    if not report.view.meta.several or report.complete.empty:
        return []
    return [_front(report), _growth(report)]


def _front(report: StudyReport) -> Section:
    objectives = report.view.meta.objectives
    names = " and ".join(one.metric for one in objectives[:2])
    lines = [
        "On the front are the trials that no other one is as good as in every objective and better "
        "in one. The star is nearest to having the best of each, in shares of the front's range."
    ]
    if noise := report.view.noise():
        lines.append(noise_text(noise))
    if report.artifact is not None and report.artifact.choice:
        lines.append(f"Retrained: {report.artifact.choice}")
    name = shlex.quote(report.view.name)
    lines.append(f"Another point of the front: hpo retrain {name} --trial N")
    if len(objectives) > 2:
        lines.append(f"Of {len(objectives)} objectives the figure shows two: {names}.")
    n_broken = len(report.complete) - len(report.eligible)
    if n_broken:
        kept = ", ".join(map(str, report.view.meta.constraints))
        lines.append(f"{n_broken} of {len(report.complete)} completed trials break {kept}.")
    if report.front.empty:
        return Section("Pareto front", lines, plots.pareto(report), "No trial is feasible yet.")
    alt = f"A point a trial: {names}. The front has {len(report.front)} trials."
    return Section("Pareto front", lines, plots.pareto(report), alt, table=front_table(report))


def _growth(report: StudyReport) -> Section | None:
    if len(report.view.meta.objectives) > MOST_OBJECTIVES:
        return None
    table = hypervolumes(report)
    if table.empty:
        return None
    lines = [
        "Hypervolume: the share of the space between the best of each objective and the worst of "
        "the front (and a tenth more) that the trials so far dominate."
    ]
    end = float(table["share"].iloc[-1])
    alt = f"A rising line by trial; it ends at {end:.3f}."
    drawn = plots.hypervolume(table, len(report.frame))
    return Section("Growth of the front", lines, drawn, alt, table, folded=True)


def more_importances(report: StudyReport) -> list[Section | None]:
    """Importance of the parameters for each further objective."""
    found: list[Section | None] = []
    for place, objective in enumerate(report.view.meta.objectives[1:], start=1):
        table = importance(report.trials, place)
        if table.empty:
            continue
        first = table.iloc[0]
        alt = f"A bar a parameter; the most important: {first['parameter']}."
        drawn = parameter_plots.importances(table)
        title = f"Which parameters matter for {objective.metric}"
        found.append(Section(title, (), drawn, alt, table, folded=True))
    return found
