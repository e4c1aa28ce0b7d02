"""Puts a finished study's outcome where the dashboard shows it: its note and its artifacts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from optuna_dashboard import save_note

from hpo.outcome.artifact import card, read
from hpo.web.artifacts import attach, attach_shared

if TYPE_CHECKING:
    from hpo.outcome.retrain import Retrained
    from hpo.storage.ledger import Ledger
    from hpo.storage.view import StudyView
    from hpo.study import ResolvedStudy


def store_folder(output: str) -> Path:
    """The folder that holds the dashboard's artifacts."""
    return Path(output).expanduser().absolute() / ".artifacts"


def publish_page(views: Sequence[StudyView], page: Path, name: str, output: Path) -> None:
    """Attaches a report to its studies, in place of an earlier one of that name; stored once."""
    store = store_folder(str(output))
    store.mkdir(parents=True, exist_ok=True)
    attach_shared([(view.study, view.storage) for view in views], store, page, name)


def publish(study: ResolvedStudy, ledger: Ledger, retrained: Retrained) -> None:
    """Writes the study's note (the model card) and attaches the saved model's files."""
    spec = study.spec
    text = card(read(retrained.path))
    note = (
        f"{text}\nSearched by {spec.sampler} with pruner {spec.pruner}, {study.epochs} epochs a "
        f"full trial. Files: `{retrained.path}`\n"
    )
    save_note(ledger.study, note)
    store = store_folder(spec.output)
    store.mkdir(parents=True, exist_ok=True)
    for file in sorted(retrained.path.iterdir()):
        attach(ledger.study, ledger.storage, store, file)
