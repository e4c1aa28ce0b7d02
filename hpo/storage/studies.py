"""The studies of a storage: listing and deleting."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from hpo.errors import SpecError
from hpo.storage.aggregates import Totals, refinements, totals
from hpo.storage.ledger import Ledger
from hpo.storage.measured import is_feasible
from hpo.storage.meta import META, meta_of
from hpo.storage.outcomes import outcomes

if TYPE_CHECKING:
    from optuna.storages import BaseStorage


@dataclass(frozen=True)
class StudySummary:
    """A study in one line of a list.

    Attributes:
        goal: `maximize accuracy`; of several objectives each, and the constraints.
        trials: how many by outcome, as `storage.outcomes` has them.
        best: of several objectives the best of each, whichever trial has it.
    """

    name: str
    model: str
    goal: str
    trials: dict[str, int]
    best: float | list[float] | None
    started: datetime | None


def list_studies(storage: BaseStorage) -> list[StudySummary]:
    """All studies in the storage, also those of plain Optuna, by name."""
    by_study, refined = totals(storage), refinements(storage)
    found = []
    for study in storage.get_all_studies():
        known = by_study.get(study._study_id, Totals({}))
        meta = study.user_attrs.get(META)
        found.append(
            StudySummary(
                name=study.study_name,
                model=str(meta.get("model", "-")) if isinstance(meta, dict) else "-",
                goal=_goal(study),
                trials=outcomes(known.n_trials, refined.get(study._study_id, {})),
                best=_best(storage, study, known),
                started=known.started,
            )
        )
    return sorted(found, key=lambda s: s.name)


def _goal(study: Any) -> str:
    """What is searched by; of a study of plain Optuna the directions alone."""
    try:
        return meta_of(study).goal
    except SpecError:
        return ", ".join(direction.name.lower() for direction in study.directions)


def _best(storage: BaseStorage, study: Any, known: Totals) -> float | list[float] | None:
    meta = study.user_attrs.get(META)
    if isinstance(meta, dict) and meta.get("constraints"):  # SQL cannot tell who keeps them
        trials = storage.get_all_trials(study._study_id, deepcopy=False)
        kept = [t.values for t in trials if t.state.name == "COMPLETE" and is_feasible(t)]
        ranges = [(min(values), max(values)) for values in zip(*kept, strict=True)]
    else:
        ranges = [known.ranges[i] for i in sorted(known.ranges)]
    best = [
        high if direction.name == "MAXIMIZE" else low
        for (low, high), direction in zip(ranges, study.directions, strict=False)
    ]
    return best if len(best) > 1 else best[0] if best else None


def delete_study(storage: BaseStorage, name: str) -> None:
    """Deletes a study and its trials.

    Raises:
        SpecError: there is none of that name.
    """
    import optuna

    ledger = Ledger.open(storage, name)
    optuna.delete_study(study_name=ledger.name, storage=storage)
