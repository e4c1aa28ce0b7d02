"""The live display of a comparison: one bar over the trials of all its studies."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from hpo.quantities import duration, number
from hpo.storage.outcomes import outcomes_text
from hpo.tune.observer import Observer

if TYPE_CHECKING:
    from hpo.storage.ledger import Ledger


class ComparisonProgress(Observer):
    """Display of `compare.contest.run`.

    Args:
        n_studies: of the comparison.
        n_trials: of each.
    """

    def __init__(self, console: Console, n_studies: int, n_trials: int) -> None:
        self.console = console
        self.started = time.monotonic()
        self.n_studies = n_studies
        self.n_trials = n_trials
        self.n_ended = 0
        self.n_before: int | None = None
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[state]}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        total = n_studies * n_trials
        self.task = self.progress.add_task("comparing", total=total, state="starting workers")

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.progress.stop()

    @contextmanager
    def study(self, done: int, ledger: Ledger, n_left: int) -> Iterator[ComparisonProgress]:
        """Shows one study while it runs, and a line when it ends."""
        self.name, self.done = ledger.name, done
        self.n_ended = (done + 1) * self.n_trials - n_left
        if self.n_before is None:
            self.n_before = self.n_ended
        self._update()
        yield self
        best = ledger.best()
        value = "nothing completed"
        if best is not None:
            value = f"best {ledger.meta.metric} {number(best.values[0])}"
        counts = outcomes_text(ledger.outcomes())
        self.console.print(
            escape(f"{done + 1}/{self.n_studies} {ledger.name}: {counts}; {value}"),
            highlight=False,
            soft_wrap=True,
        )

    def testing(self, done: int, total: int) -> None:
        """Shows how many of the bests are retrained and tested."""
        if total:
            self.progress.update(
                self.task,
                description="testing",
                total=total,
                completed=done,
                state=f"{done} of {total} retrained",
            )

    def trial_ended(self, number: int) -> None:
        self.n_ended += 1
        self._update()

    def _update(self) -> None:
        state = f"{self.name} ({self.done + 1} of {self.n_studies})"
        now = self.n_ended - (self.n_before or 0)
        if now:
            left = self.n_studies * self.n_trials - self.n_ended
            elapsed = time.monotonic() - self.started
            state += f" · {duration(elapsed / now * max(0, left))} left"
        self.progress.update(self.task, completed=self.n_ended, state=state)
