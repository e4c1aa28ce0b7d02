"""The live display of a running study: lines for trials that ended, rows for those that run."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from hpo.parameter_forms import format_params, shown_params
from hpo.pareto import dominates
from hpo.quantities import counted, duration, number
from hpo.storage.attempts import REASON
from hpo.storage.outcomes import outcome_of, outcomes_text
from hpo.tracking.forecast import Forecast
from hpo.tune.observer import Observer

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from hpo.outcome.workload import Workload
    from hpo.storage.ledger import Ledger

MOST_ROWS = 12
"""Running trials that are shown one by one."""
_WIDE = 100
"""Columns of a terminal that has room for the parameters of running trials."""
_HEARTBEAT_S = 60
"""Seconds between two lines on the progress, where the output is no terminal."""


@dataclass
class Row:
    """A running trial.

    Attributes:
        epoch: epochs done.
        curve: the guiding metric's last and best value.
        waits: what it waits for, if no worker has room for it.
        placed: whether a worker has it.
    """

    params: Mapping[str, Any]
    started: float = field(default_factory=time.monotonic)
    epoch: int = 0
    curve: tuple[float, float] | None = None
    waits: str = ""
    placed: bool = False


class StudyProgress(Observer):
    """Shows a search, and the confirming and retraining after it.

    Args:
        n_trials: trials this run starts, None if open.
        epochs: of a full trial.
        after: the trainings after the search.
        timeout: seconds given to the search, None if open.
    """

    def __init__(
        self,
        console: Console,
        ledger: Ledger,
        n_trials: int | None,
        epochs: int,
        after: Workload,
        timeout: float | None,
    ) -> None:
        self.console = console
        self.ledger = ledger
        self.epochs = epochs
        self.after = after
        self.forecast = Forecast(epochs, n_trials, after.n_trainings, timeout)
        self.rows: dict[int, Row] = {}
        self.paused: dict[int, Row] = {}
        self.trainings: dict[str, Row] = {}  # after the search, by title
        self.counts: dict[str, int] = {}
        self.phase_name, self.phase_done, self.phase_total = "starting workers", 0, 0
        self.began = time.monotonic()
        self.first_trial: float | None = None
        self._guess: tuple[float, float] | None = None  # seconds left, and when that was guessed
        self._last_line = self.began
        objectives = ledger.meta.objectives
        self.signs = [one.sign for one in objectives]
        top = ledger.front() if ledger.meta.several else ledger.top(1)
        self.best: list[tuple[int, list[float]]] = [(t.number, t.values) for t in top]
        self.live = Live(
            get_renderable=self._render, console=console, refresh_per_second=4, transient=True
        )

    def __enter__(self) -> Self:
        if not self.console.is_terminal:
            self.console.print(self.phase_name)
        self.live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.live.stop()

    # What the search tells

    def trial_started(self, number: int, params: Mapping[str, Any]) -> None:
        if self.first_trial is None:
            self.first_trial = time.monotonic()
            self.phase_name = "searching"
        self.rows[number] = self._taken(number) or Row(params)

    def trial_waits(self, number: int, reason: str) -> None:
        self.rows[number].waits = reason

    def trial_placed(self, number: int) -> None:
        if (row := self.rows.get(number)) is not None:
            row.waits, row.placed = "", True
            if not row.epoch:
                row.started = time.monotonic()

    def trial_reported(self, number: int, epoch: int, value: float) -> None:
        if (row := self.rows.get(number)) is not None:
            best = value
            if row.curve is not None:
                sign = self.ledger.meta.guide.sign
                best = max(value, row.curve[1], key=lambda one: sign * one)
            row.epoch, row.curve, row.placed = epoch, (value, best), True
        self._update()

    def trial_paused(self, number: int) -> None:
        if (row := self.rows.pop(number, None)) is not None:
            self.paused[number] = row

    def trial_ended(self, number: int) -> None:
        row = self._taken(number)
        trial = self.ledger.trial(number)
        outcome = outcome_of(trial)
        self.counts[outcome] = self.counts.get(outcome, 0) + 1
        if outcome == "complete" and all(by <= 0 for by in trial.constraints.values()):
            self._place(number, trial.values)
        epochs = len(trial.intermediate_values) or (row.epoch if row else 0)
        self.forecast.trial_ended(epochs, complete=outcome == "complete")
        self._print_end(trial, outcome)
        self._update()

    def _taken(self, number: int) -> Row | None:
        """A trial's row, which is no longer shown."""
        rows = self.rows if number in self.rows else self.paused
        return rows.pop(number, None)

    def _place(self, number: int, values: list[float]) -> None:
        """Puts a trial among the best, which is one, or a front."""
        if any(dominates(own, values, self.signs) for _, own in self.best):
            return
        if len(self.signs) == 1 and self.best and self.best[0][1] == values:
            return
        self.best = [one for one in self.best if not dominates(values, one[1], self.signs)]
        self.best.append((number, values))

    # Lines for trials that ended

    def _print_end(self, trial: FrozenTrial, outcome: str) -> None:
        line = self._line(trial, outcome)
        params = ""
        if outcome == "complete":
            fixed = self.ledger.meta.settings.get("fixed")
            params = shown_params(trial.params, fixed)
        if not self.console.is_terminal:  # one line a trial, for `grep`
            text = f"{line}; {params}" if params else line
            self.console.print(Text(text), soft_wrap=True)
            self._last_line = time.monotonic()
            return
        self.console.print(Text(line))
        if params:
            self.console.print(Padding(Text(params, style="dim"), (0, 0, 0, 4), expand=False))

    def _line(self, trial: FrozenTrial, outcome: str) -> str:
        meta = self.ledger.meta
        if outcome == "complete":
            values = ", ".join(
                f"{one.metric} {number(value)}"
                for one, value in zip(meta.objectives, trial.values, strict=True)
            )
            broken = any(by > 0 for by in trial.constraints.values())
            return f"Trial {trial.number} complete: {values}" + (
                "; breaks a constraint" if broken else self._beside_best(trial.number)
            )
        if outcome == "pruned":
            value = f": {meta.guide.metric} {number(trial.values[0])}" if trial.values else ""
            return (
                f"Trial {trial.number} pruned after epoch {trial.last_step} of {self.epochs}"
                + value
            )
        if outcome == "interrupted":
            return f"Trial {trial.number} interrupted; the next run tries it again"
        reason = trial.user_attrs.get(REASON, "no reason is known")
        if outcome == "lost":
            return f"Trial {trial.number} {reason}"
        return f"Trial {trial.number} failed: {reason}"

    def _beside_best(self, trial: int) -> str:
        own = any(at == trial for at, _ in self.best)
        if len(self.signs) > 1:
            return f"; {'on the front' if own else 'not on the front'} of {len(self.best)} trials"
        if own:
            return ", the best so far"
        return f"; {self._best_text()}" if self.best else ""

    def _best_text(self) -> str:
        """`best 0.972 (trial 1)`, or how large the front is."""
        if not self.best:
            return ""
        if len(self.signs) > 1:
            return f"front of {len(self.best)} trials"
        at, values = self.best[0]
        return f"best {number(values[0])} (trial {at})"

    # What is left

    def _update(self) -> None:
        now = time.monotonic()
        since = self.first_trial or self.began
        running = [row.epoch for row in self.rows.values()]
        left = self.forecast.seconds_left(now - since, running)
        self._guess = None if left is None else (left, now)
        if not self.console.is_terminal and now - self._last_line > _HEARTBEAT_S:
            self._last_line = now
            self.console.print(Text(f"{self._title()}: {self._state()}"), soft_wrap=True)

    def _seconds_left(self) -> float | None:
        """Counts down between two guesses, but never to nothing while something is left."""
        if self._guess is None:
            return None
        left, at = self._guess
        return max(left - (time.monotonic() - at), left / 10)

    def phase(self, name: str, done: int, total: int) -> None:
        """Shows confirming and retraining in place of the search."""
        if not total:
            return
        if name != self.phase_name:
            self.phase_name, self.phase_done = name, 0
            self.rows.clear()
            self.trainings.clear()
            self.forecast.searching = False
            self.forecast.n_after = total + (self._n_later if name == "confirming" else 0)
            if not self.console.is_terminal:
                what = f"{counted(total, 'training')} of {counted(self.epochs, 'epoch')}"
                self.console.print(Text(f"{name}: {what}"))
        for _ in range(done - self.phase_done):
            self.forecast.trained()
        self.phase_done, self.phase_total = done, total
        self._update()

    def training_started(self, title: str, params: Mapping[str, Any]) -> None:
        fixed = self.ledger.meta.settings.get("fixed") or {}
        searched = {name: value for name, value in params.items() if name not in fixed}
        self.trainings[title] = Row(searched)

    def training_ended(self, title: str) -> None:
        self.trainings.pop(title, None)

    @property
    def _n_later(self) -> int:
        return self.after.n_retrained

    def _title(self) -> str:
        """`searching: 3 of 8 trials, then at most 14 trainings`"""
        later = ""
        if self.phase_total:
            what = f"{self.phase_done} of {counted(self.phase_total, 'training')}"
            if self.phase_name == "confirming" and self._n_later:
                later = f", then {self._n_later} to retrain"
        else:
            n, of = self.forecast.n_ended, self.forecast.n_trials
            parts = (
                []
                if of == 0
                else [counted(n, "trial") if of is None else f"{n} of {counted(of, 'trial')}"]
            )
            if n_after := self.after.n_trainings:
                most = "at most " if self.after.with_default else ""
                parts.append(f"{most}{counted(n_after, 'training')}")
            what = ", then ".join(parts)
        return ": ".join(filter(None, (self.phase_name, what + later)))

    def _state(self) -> str:
        parts = [outcomes_text(self.counts), self._best_text()]
        parts.append(duration(time.monotonic() - self.began))
        left = self._seconds_left()
        if (
            self.phase_total
            and self.phase_done == self.phase_total
            and self.phase_name == "retraining"
        ):
            pass  # nothing is left
        elif left is not None:
            parts.append(f"about {duration(left)} left")
        elif self.phase_total or self.rows:
            parts.append("time left not known yet")
        return " · ".join(filter(None, parts))

    def _share(self) -> float | None:
        """Of the whole work that is done, by time."""
        left = self._seconds_left()
        if left is None:
            return None
        elapsed = time.monotonic() - self.began
        return elapsed / (elapsed + left)

    # The display

    def _render(self) -> RenderableType:
        share = self._share()
        line = Table.grid(padding=(0, 1))
        line.add_row(
            ProgressBar(total=1.0, completed=share or 0.0, width=16, pulse=share is None),
            Text(self._title(), no_wrap=True, overflow="ellipsis"),
        )
        parts: list[RenderableType] = []
        if self.rows:
            parts.append(self._table())
        elif self.trainings:
            parts.append(self._trainings_table())
        return Group(*parts, line, Text(self._state(), style="dim"))

    def _table(self) -> Table:
        metric = self.ledger.meta.guide.metric
        wide = self.console.width >= _WIDE
        table = Table(
            box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False, expand=True
        )
        for name in ("trial", "epoch", metric, "best", "time"):
            table.add_column(name, justify="right", no_wrap=True, max_width=16)
        table.add_column("parameters" if wide else "", no_wrap=True, overflow="ellipsis", ratio=1)
        rows = list(self.rows.items())
        for at, row in rows[:MOST_ROWS]:
            last, best = (number(value) for value in row.curve) if row.curve else ("", "")
            note = "" if row.placed else f"waits for {row.waits}" if row.waits else "starts"
            if wide and not row.waits:
                note = format_params(row.params)
            took = duration(time.monotonic() - row.started)
            table.add_row(str(at), f"{row.epoch}/{self.epochs}", last, best, took, Text(note))
        if len(rows) > MOST_ROWS:
            table.add_row("...", "", "", "", "", f"and {len(rows) - MOST_ROWS} more")
        return table

    def _trainings_table(self) -> Table:
        """What trains after the search: configuration and seed, time, parameters."""
        table = Table(
            box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False, expand=True
        )
        wide = self.console.width >= _WIDE
        table.add_column("training", no_wrap=True)
        table.add_column("time", justify="right", no_wrap=True)
        table.add_column("parameters" if wide else "", no_wrap=True, overflow="ellipsis", ratio=1)
        rows = list(self.trainings.items())
        fixed = self.ledger.meta.settings.get("fixed")
        for title, row in rows[:MOST_ROWS]:
            took = duration(time.monotonic() - row.started)
            params = shown_params(row.params, fixed) if wide else ""
            table.add_row(Text(title), took, Text(params))
        if len(rows) > MOST_ROWS:
            table.add_row("...", "", f"and {len(rows) - MOST_ROWS} more")
        return table
