"""The studies of a storage: listing and deleting."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from hpo.storage.ledger import Ledger
from hpo.storage.meta import META

if TYPE_CHECKING:
    from optuna.storages import BaseStorage


@dataclass(frozen=True)
class StudySummary:
    """A study in one line of a list."""

    name: str
    model: str
    direction: str
    n_trials: dict[str, int]
    best: float | None
    started: datetime | None


def list_studies(storage: BaseStorage) -> list[StudySummary]:
    """All studies in the storage, also those of plain Optuna, by name."""
    found = []
    for study in storage.get_all_studies():
        trials = storage.get_all_trials(study._study_id, deepcopy=False)
        sign = -1 if study.directions[0].name == "MAXIMIZE" else 1
        one = len(study.directions) == 1
        values = [t.values[0] for t in trials if one and t.state.name == "COMPLETE" and t.values]
        starts = [t.datetime_start for t in trials if t.datetime_start]
        meta = study.user_attrs.get(META)
        found.append(
            StudySummary(
                name=study.study_name,
                model=str(meta.get("model", "-")) if isinstance(meta, dict) else "-",
                direction=study.directions[0].name.lower(),
                n_trials=dict(Counter(t.state.name for t in trials)),
                best=min(values, key=lambda value: sign * value) if values else None,
                started=min(starts) if starts else None,
            )
        )
    return sorted(found, key=lambda s: s.name)


def delete_study(storage: BaseStorage, name: str) -> None:
    """Deletes a study and its trials.

    Raises:
        SpecError: there is none of that name.
    """
    import optuna

    ledger = Ledger.open(storage, name)
    optuna.delete_study(study_name=ledger.name, storage=storage)
