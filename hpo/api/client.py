"""Who runs a study, and hears what it tells: a program, a notebook, a terminal."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from hpo.tune.observer import Observer

if TYPE_CHECKING:
    from rich.console import Console

    from hpo.outcome.workload import Workload
    from hpo.storage.lease import Driver
    from hpo.storage.ledger import Ledger
    from hpo.study import ResolvedStudy


class Client:
    """What a study's life tells those who run it.  Does nothing; a subclass overrides."""

    def waiting(self, study: ResolvedStudy, driver: Driver) -> None:
        """Another driver holds the study: whether it lives is being found out."""

    def opened(self, ledger: Ledger, url: str, after: Workload) -> None:
        """The study exists, and this process drives it."""

    def progress(
        self, ledger: Ledger, n_trials: int | None, after: Workload
    ) -> AbstractContextManager[Observer]:
        """The observer of what is trained, while its context lasts.

        Args:
            n_trials: trials that the search runs; None: open.
            after: trainings after the search.
        """
        return nullcontext(Observer())

    def note(self, text: str) -> None:
        """A sentence that the user may want to read."""


class Shown(Client):
    """Shows what is trained."""

    def __init__(self, study: ResolvedStudy, console: Console) -> None:
        self.study = study
        self.console = console

    def progress(
        self, ledger: Ledger, n_trials: int | None, after: Workload
    ) -> AbstractContextManager[Observer]:
        from hpo.tracking.progress import StudyProgress

        study = self.study
        return StudyProgress(self.console, ledger, n_trials, study.epochs, after, study.timeout)

    def note(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)
