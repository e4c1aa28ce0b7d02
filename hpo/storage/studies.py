"""The studies of a storage: listing and deleting."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from hpo.storage.aggregates import Totals, totals
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
    by_study = totals(storage)
    found = []
    for study in storage.get_all_studies():
        known = by_study.get(study._study_id, Totals({}))
        one = len(study.directions) == 1
        maximize = study.directions[0].name == "MAXIMIZE"
        meta = study.user_attrs.get(META)
        found.append(
            StudySummary(
                name=study.study_name,
                model=str(meta.get("model", "-")) if isinstance(meta, dict) else "-",
                direction=study.directions[0].name.lower(),
                n_trials=known.n_trials,
                best=(known.highest if maximize else known.lowest) if one else None,
                started=known.started,
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
