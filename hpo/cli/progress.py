"""The live display of a running study: a line a trial, and one bar below them."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from hpo.storage.ledger import Ledger


class StudyProgress:
    """Observer of `tune.driver.search`; also shows confirming and retraining.

    Args:
        n_trials: trials this run starts, None if open.
        timeout: seconds given to the search, None if open.
    """

    def __init__(
        self, console: Console, ledger: Ledger, n_trials: int | None, timeout: float | None
    ) -> None:
        self.console = console
        self.ledger = ledger
        self.n_trials = n_trials
        self.timeout = timeout
        self.started = time.monotonic()
        self.ended = {"COMPLETE": 0, "PRUNED": 0, "FAIL": 0}
        best = ledger.best()
        self.best: tuple[int, float] | None = (best.number, best.value or 0.0) if best else None
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[state]}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self.task = self.progress.add_task("searching", total=n_trials, state="starting workers")

    def __enter__(self) -> StudyProgress:
        self.progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.progress.stop()

    def trial_started(self, number: int) -> None:
        if sum(self.ended.values()) == 0:
            self._update()

    def trial_reported(self, number: int) -> None:
        self._update()

    def trial_ended(self, number: int) -> None:
        trial = self.ledger.trial(number)
        state = trial.state.name
        self.ended[state] = self.ended.get(state, 0) + 1
        if state == "COMPLETE":
            sign = 1 if self.ledger.meta.direction == "maximize" else -1
            value = trial.value or 0.0
            if self.best is None or sign * value > sign * self.best[1]:
                self.best = (number, value)
        self.console.print(escape(self._line(trial, state)), highlight=False, soft_wrap=True)
        self._update()

    def _line(self, trial: Any, state: str) -> str:
        best = ""
        if self.best is not None:
            best = f" Best is trial {self.best[0]} with value: {self.best[1]:.6g}."
        if state == "COMPLETE":
            return (
                f"Trial {trial.number} finished with value: {trial.value:.6g} and parameters: "
                f"{trial.params}.{best}"
            )
        if state == "PRUNED":
            value = "" if trial.value is None else f" with value: {trial.value:.6g}"
            return f"Trial {trial.number} pruned after epoch {trial.last_step}{value}."
        return f"Trial {trial.number} failed: {trial.user_attrs.get('fail_reason', 'no reason')}"

    def _update(self) -> None:
        ended = sum(self.ended.values())
        text = (
            f"{self.ended['COMPLETE']} done, {self.ended['PRUNED']} pruned, "
            f"{self.ended['FAIL']} failed"
        )
        if self.best is not None:
            text += f" · best {self.best[1]:.4g}"
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
        self.progress.update(
            self.task, description=name, total=total, completed=done, state=f"{done} of {total}"
        )


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h {minutes:02d}m"
    return f"{minutes}m {rest:02d}s" if minutes else f"{rest}s"
