"""What a study was last asked to do, so that it can go on by its name alone."""

from __future__ import annotations

from typing import Any

from hpo.errors import SpecError
from hpo.storage.ledger import Ledger
from hpo.storage.view import StudyView
from hpo.storage.warm_start import started_from
from hpo.study import ResolvedStudy, StudySpec, spec_from

SPEC = "hpo:spec"
"""Study attribute: the StudySpec of the last run, so that `resume` needs only the name."""
TARGET = "hpo:target"
"""Study attribute: trials (COMPLETE + PRUNED) the last run was to reach; None: open."""


def remember(study: ResolvedStudy, ledger: Ledger, n_left: int | None) -> None:
    """Stores what this run was asked to do."""
    counts = ledger.counts()
    ended = counts.get("COMPLETE", 0) + counts.get("PRUNED", 0)
    update: dict[str, Any] = {"model": study.ref.name, "name": study.name}
    update |= {"join": False, "retry_failed": False}
    # The studies by name: those that `all` named will be others tomorrow.
    update["warm_start"] = tuple(entry["study"] for entry in started_from(ledger.study.user_attrs))
    spec = study.spec.model_copy(update=update)
    ledger.set_attr(SPEC, spec.model_dump(mode="json"))
    ledger.set_attr(TARGET, None if n_left is None else ended + n_left)


def stored_spec(view: StudyView) -> StudySpec:
    """The settings of the study's last run.

    Raises:
        SpecError: it was not made by `hpo run`.
    """
    stored = view.attr(SPEC)
    if not stored:
        raise SpecError(f"study: {view.name!r} was not made by `hpo run`: it holds no settings")
    return spec_from(stored, {})
