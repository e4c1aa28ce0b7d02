"""The live displays of a running study (a line a trial) and of a comparison (a line a study)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from hpo.pareto import dominates

if TYPE_CHECKING:
    from hpo.storage.ledger import Ledger


class _Display:
    """One bar, shown while the context lasts."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.started = time.monotonic()
        self.progress = _bar(console)

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


class StudyProgress(_Display):
    """Observer of `tune.driver.search`; also shows confirming and retraining.

    Args:
        n_trials: trials this run starts, None if open.
        timeout: seconds given to the search, None if open.
    """

    def __init__(
        self, console: Console, ledger: Ledger, n_trials: int | None, timeout: float | None
    ) -> None:
        super().__init__(console)
        self.ledger = ledger
        self.n_trials = n_trials
        self.timeout = timeout
        self.phase_name = ""
        self.ended = {"COMPLETE": 0, "PRUNED": 0, "FAIL": 0}
        self.signs = [one.sign for one in ledger.meta.objectives]
        self.best: list[tuple[int, list[float]]] = [
            (trial.number, trial.values) for trial in ledger.top(1)
        ]
        if ledger.meta.several:
            self.best = [(trial.number, trial.values) for trial in ledger.front()]
        self.task = self.progress.add_task("searching", total=n_trials, state="starting workers")

    def trial_started(self, number: int) -> None:
        if sum(self.ended.values()) == 0:
            self._update()

    def trial_reported(self, number: int) -> None:
        self._update()

    def trial_ended(self, number: int) -> None:
        trial = self.ledger.trial(number)
        state = trial.state.name
        self.ended[state] = self.ended.get(state, 0) + 1
        if state == "COMPLETE" and all(by <= 0 for by in trial.constraints.values()):
            self._place(number, trial.values)
        self.console.print(escape(self._line(trial, state)), highlight=False, soft_wrap=True)
        self._update()

    def _place(self, number: int, values: list[float]) -> None:
        """Puts a trial among the best, which is one, or a front."""
        if any(dominates(own, values, self.signs) for _, own in self.best):
            return
        if len(self.signs) == 1 and self.best and self.best[0][1] == values:
            return
        self.best = [one for one in self.best if not dominates(values, one[1], self.signs)]
        self.best.append((number, values))

    def _line(self, trial: Any, state: str) -> str:
        best, several = "", len(self.signs) > 1
        if several:
            best = f" Front: {len(self.best)} trials."
        elif self.best:
            best = f" Best is trial {self.best[0][0]} with value: {self.best[0][1][0]:.6g}."
        if state == "COMPLETE":
            values = ", ".join(f"{value:.6g}" for value in trial.values)
            broken = any(by > 0 for by in trial.constraints.values())
            return (
                f"Trial {trial.number} finished with value{'s' * several}: {values} and "
                f"parameters: {trial.params}.{' Infeasible.' * broken}{best}"
            )
        if state == "PRUNED":
            value = f" with value: {trial.values[0]:.6g}" if trial.values else ""
            return f"Trial {trial.number} pruned after epoch {trial.last_step}{value}."
        return f"Trial {trial.number} failed: {trial.user_attrs.get('fail_reason', 'no reason')}"

    def _update(self) -> None:
        ended = sum(self.ended.values())
        text = (
            f"{self.ended['COMPLETE']} done, {self.ended['PRUNED']} pruned, "
            f"{self.ended['FAIL']} failed"
        )
        if len(self.signs) > 1:
            text += f" · front of {len(self.best)}"
        elif self.best:
            text += f" · best {self.best[0][1][0]:.4g}"
        left = self._seconds_left(ended)
        if left is not None:
            text += f" · {_duration(left)} left"
        self.progress.update(self.task, completed=ended, state=text)

    def _seconds_left(self, ended: int) -> float | None:
        elapsed = time.monotonic() - self.started
        guesses = []
        if self.n_trials is not None and ended:
            guesses.append(elapsed / ended * max(0, self.n_trials - ended))
        if self.timeout is not None:
            guesses.append(max(0.0, self.timeout - elapsed))
        return min(guesses) if guesses else None

    def phase(self, name: str, done: int, total: int) -> None:
        """Shows confirming and retraining in place of the search."""
        if name != self.phase_name and total and not self.console.is_terminal:
            self.console.print(f"{name}: {total} trainings", highlight=False)
        self.phase_name = name
        self.progress.update(
            self.task, description=name, total=total, completed=done, state=f"{done} of {total}"
        )


class ComparisonProgress(_Display):
    """Display of `compare.contest.run`: one bar over all trials of all studies.

    Args:
        n_studies: of the comparison.
        n_trials: of each.
    """

    def __init__(self, console: Console, n_studies: int, n_trials: int) -> None:
        super().__init__(console)
        self.n_studies = n_studies
        self.n_trials = n_trials
        self.n_ended = 0
        self.n_before: int | None = None
        self.progress = _bar(console)
        total = n_studies * n_trials
        self.task = self.progress.add_task("comparing", total=total, state="starting workers")

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
        counts = ", ".join(f"{n} {state.lower()}" for state, n in ledger.counts().items())
        value = "nothing completed" if best is None else f"best {best.value:.6g}"
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

    def trial_started(self, number: int) -> None:
        self._update()

    def trial_reported(self, number: int) -> None: ...

    def trial_ended(self, number: int) -> None:
        self.n_ended += 1
        self._update()

    def _update(self) -> None:
        state = f"{self.name} ({self.done + 1} of {self.n_studies})"
        now = self.n_ended - (self.n_before or 0)
        if now:
            left = self.n_studies * self.n_trials - self.n_ended
            elapsed = time.monotonic() - self.started
            state += f" · {_duration(elapsed / now * max(0, left))} left"
        self.progress.update(self.task, completed=self.n_ended, state=state)


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[state]}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h {minutes:02d}m"
    return f"{minutes}m {rest:02d}s" if minutes else f"{rest}s"
