"""What a study was last asked to do, so that it can go on by its name alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hpo.errors import SpecError
from hpo.registry import ModelRef
from hpo.space import Choice, Space
from hpo.storage.ledger import Ledger
from hpo.storage.meta import SPEC
from hpo.storage.view import StudyView
from hpo.storage.warm_start import started_from
from hpo.study import ResolvedStudy, StudySpec, resolve, spec_from

TARGET = "hpo:target"
"""Study attribute: trials (COMPLETE + PRUNED) the last run was to reach; None: open."""


def remember(study: ResolvedStudy, ledger: Ledger, n_left: int | None) -> None:
    """Stores what this run was asked to do."""
    counts = ledger.counts()
    ended = counts.get("COMPLETE", 0) + counts.get("PRUNED", 0)
    update: dict[str, Any] = {"model": study.ref.name, "name": None}
    update |= {"join": False, "retry_failed": False}
    # The studies by name: those that `all` named will be others tomorrow.
    update["warm_start"] = tuple(entry["study"] for entry in started_from(ledger.study.user_attrs))
    spec = study.spec.model_copy(update=update)
    ledger.set_attr(SPEC, spec.model_dump(mode="json"))
    ledger.set_attr(TARGET, None if n_left is None else ended + n_left)


def stored_spec(view: StudyView) -> StudySpec:
    """The settings of the study's last run, under the name that the study has now.

    Raises:
        SpecError: it was not made by `hpo run`.
    """
    stored = view.attr(SPEC)
    if not stored:
        raise SpecError(f"study: {view.name!r} was not made by `hpo run`: it holds no settings")
    # What was settled by a look at the data stays, though the data may have grown since.
    settled = {"data": view.meta.data, "epochs": view.meta.epochs}
    return spec_from({**stored, **settled, "name": view.name}, {})


def going_on(
    view: StudyView,
    *,
    n_trials: int | None = None,
    timeout: float | None = None,
    epochs: int | None = None,
    join: bool = False,
    retry_failed: bool | None = None,
    max_failures: int | None = None,
) -> StudySpec:
    """The settings of a run that goes on with a study.

    Args:
        n_trials: this many more trials, instead of what is missing to what was asked for.
        timeout: seconds; a study that has all its trials goes on for that long.
        epochs: other ones than before, while no trial has a value.
        retry_failed: by default a grid does.
    Raises:
        SpecError: a value is wrong, or the study has values after other epochs.
    """
    before = stored_spec(view)
    counts = view.counts()
    target = view.attr(TARGET)
    ended = counts.get("COMPLETE", 0) + counts.get("PRUNED", 0)
    if n_trials is not None or (timeout is not None and target is not None and ended >= target):
        target = None
    if epochs is not None and epochs != view.meta.epochs and set(counts) - {"FAIL"}:
        raise SpecError(
            f"epochs: {epochs}: the trials of {view.name!r} have {view.meta.epochs}, and values "
            f"after other epochs cannot be compared: begin another study: hpo run --model "
            f"{view.meta.model} --epochs {epochs} --name NAME --warm-start {view.name}"
        )
    kept = {**before.model_dump(), "n_trials": None, "total_trials": target, "join": join}
    kept["retry_failed"] = before.sampler == "grid" if retry_failed is None else retry_failed
    given = {"n_trials": n_trials, "timeout": timeout, "epochs": epochs}
    return spec_from(kept, {**given, "max_failures": max_failures})


def resolve_as_begun(
    view: StudyView, spec: StudySpec, ref: ModelRef | None = None
) -> ResolvedStudy:
    """Resolves a study's settings, with the direction and the ranges that it was begun with
    where the same words would mean others today.

    Args:
        ref: of a model that is given as an object.
    Raises:
        SpecError: with every problem, a line each.
    """
    study, begun = resolve(spec, ref), view.meta
    if not spec.objectives and study.objectives != begun.objectives:
        update = {"objectives": tuple(str(one) for one in begun.objectives)}
        study = resolve(spec.model_copy(update=update), ref)
    params = {
        name: begun.space[name] if _was_a_range(begun.space, name, p) else p
        for name, p in study.space.params.items()
    }
    return replace(study, space=Space.of(params, study.space.forbidden))


def _was_a_range(begun: Space, name: str, now: Any) -> bool:
    """Whether values that were listed for a number once stood for the range between them."""
    return isinstance(now, Choice) and name in begun and not isinstance(begun[name], Choice)
