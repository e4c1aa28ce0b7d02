"""Earlier studies that a study starts from: found, checked, remembered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from hpo.errors import SpecError
from hpo.search.prior import FROM, Earlier, Source, candidates
from hpo.storage.measured import broken_by
from hpo.storage.meta import META, StudyMeta
from hpo.storage.view import StudyView

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

WARM_START = "hpo:warm_start"
"""Study attribute: [{"study", "data", "trials"}] of the studies that it was started from."""
ALL = "all"
"""Instead of a name: every earlier study of the model that has something to say."""


@dataclass(frozen=True)
class WarmStart:
    """What a study starts from.

    Attributes:
        sources: their COMPLETE trials.
        record: what the study is to remember of them; of those too that are gone by now.
        notices: what was done without, a line each.
    """

    sources: tuple[Source, ...]
    record: list[dict[str, Any]]
    notices: list[str]


def warm_start(storage: BaseStorage, name: str, meta: StudyMeta, asked: Sequence[str]) -> WarmStart:
    """The studies that `name` is asked to start from, and those that it was started from before.

    One of before that is gone is done without; nothing is created.

    Args:
        meta: the new study's.
        asked: names, or ALL.
    Raises:
        SpecError: no such study, the study itself, another model, metric or direction, or
            nothing in it that can be tried; a line each.
    """
    there = {study.study_name: study for study in storage.get_all_studies()}
    recorded = started_from(there[name].user_attrs) if name in there else []
    before = {entry["study"]: entry for entry in recorded}
    named = dict.fromkeys([*before, *(one for one in asked if one != ALL)])
    found: dict[str, Source] = {}
    problems: list[str] = []
    notices: list[str] = []
    for one in named:
        source = _source(storage, one, name, meta)
        if isinstance(source, Source):
            found[one] = source
        elif one not in before:
            problems += source
        else:
            notices.append(f"it was started from {one!r}, which cannot be read any more: goes on")
    if problems:
        raise SpecError(problems)
    if ALL in asked:
        latest = sorted(there.values(), key=lambda study: study._study_id, reverse=True)
        for study in latest:
            stored = study.user_attrs.get(META)
            named_alike = isinstance(stored, dict) and (
                PurePath(str(stored.get("model"))).name == PurePath(meta.model).name
            )
            if named_alike and study.study_name not in (name, *named):
                source = _source(storage, study.study_name, name, meta)
                if isinstance(source, Source):
                    found[study.study_name] = source
        if not found:
            notices.append(f"no earlier study of {meta.model!r} to start from: starts cold")
    record = {one: _entry(source) for one, source in found.items()}
    return WarmStart(tuple(found.values()), list({**before, **record}.values()), notices)


def started_from(attributes: Any) -> list[dict[str, Any]]:
    """What a study's attributes say that it was started from."""
    return list(attributes.get(WARM_START) or [])


def started_text(record: Sequence[Mapping[str, Any]]) -> str:
    """`cnn-tpe (40 trials on digits)`"""
    return ", ".join(f"{e['study']} ({e['trials']} trials on {e['data']})" for e in record)


def origin(trial: FrozenTrial) -> str | None:
    """STUDY:NUMBER whose configuration a trial was given, or None."""
    return trial.system_attrs.get(FROM)


def _entry(source: Source) -> dict[str, Any]:
    return {"study": source.name, "data": source.data, "trials": len(source.trials)}


def _source(storage: BaseStorage, one: str, name: str, meta: StudyMeta) -> Source | list[str]:
    """The study's trials, or why it can't be started from."""
    if one == name:
        return [f"warm_start: {one!r} is this study itself: name an earlier one, or give --name"]
    try:
        view = StudyView.open(storage, one)
    except SpecError as error:
        return [f"warm_start: {line.removeprefix('study: ')}" for line in error.problems]
    old = view.meta
    differs = [
        f"warm_start: {one!r} has {what} {theirs!r}, this study {ours!r}: name one that is alike"
        for what, theirs, ours in (
            ("model", old.model, old.model if meta.has_model_of(old) else meta.model),
            ("metric", old.metric, meta.metric),
            ("direction", old.direction, meta.direction),
        )
        if theirs != ours
    ]
    if old.several:
        differs.append(f"warm_start: {one!r} has several objectives: name one that has one")
    if differs:
        return differs[:1]
    fixed = old.settings.get("fixed") or {}
    complete = [
        trial
        for trial in view.trials()
        if trial.state.name == "COMPLETE" and trial.value is not None
    ]
    if not complete:
        return [f"warm_start: {one!r} has no completed trial: let it finish one, or drop it"]
    trials = tuple(
        Earlier(trial.number, {**fixed, **trial.params}, -old.sign * float(trial.value or 0.0))
        for trial in complete
        if _may_win(trial, meta)
    )
    if not trials:
        return [
            f"warm_start: {one!r}: none of its {len(complete)} completed trials keeps "
            f"{', '.join(map(str, meta.constraints))}: loosen it, or drop the study"
        ]
    source = Source(one, old.data, trials)
    if not candidates(meta.space, source):
        return [
            f"warm_start: {one!r}: none of its {len(trials)} configurations is possible in this "
            "space: widen it (--set), or drop the study"
        ]
    return source


def _may_win(trial: FrozenTrial, meta: StudyMeta) -> bool:
    """Whether it breaks none of this study's constraints, as far as its metrics say."""
    return all(by <= 0 for by in broken_by(meta, trial.user_attrs.get("metrics") or {}))
