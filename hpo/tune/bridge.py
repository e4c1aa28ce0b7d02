"""Carries trials between the ledger and an executor, and counts the budget.  Knows no Ray.

Tune's own OptunaSearch loses states, so nothing of a trial is kept in Tune: the ledger is asked
for a trial, told each report, and told the end, once.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo.errors import TrialError
from hpo.storage.attempts import KIND, OUTPUT, PAUSED, FailKind
from hpo.storage.known import CACHED_FROM, Known
from hpo.storage.ledger import Asked, Ledger
from hpo.training import checkpoint
from hpo.training.files import TrialFiles
from hpo.training.session import Job
from hpo.tune.failure_count import FailureCount
from hpo.tune.limits import Limits
from hpo.tune.observer import Observer
from hpo.tune.report import REPORT
from hpo.tune.running import Running, attrs_of
from hpo.tune.waiting import WaitingRoom

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

LOOK_S = 5.0
_LAST_WAIT_S = 15
FINISHED = "FINISHED"
"""Tune's word for a searcher that has no more trials."""


class Bridge:
    """Carries trials between the ledger and Tune, and counts the budget.

    Args:
        job: what all trials share.
        limits: of one trial; one that runs alone may take `max_concurrent` times the memory.
        n_trials: trials to run now; None: until the search space or the time is used up.
        total_trials: instead: COMPLETE and PRUNED trials the study is to have, others' included.
        deadline: `time.monotonic()` after which no trial is started; None: no limit.
        first: configuration of the first trial, or None.
        max_retries: further attempts at a configuration whose worker or driver died.
        retry_failed: one more attempt at each that earlier runs left failed.
        checkpoints: folder for checkpoints, or None.
        output: the study's own folder, for its trials' logs and folders; None: they have none.
        max_failures: of one cause, after which nothing more is started; 0: any number.
    """

    def __init__(
        self,
        ledger: Ledger,
        job: Job,
        *,
        limits: Limits,
        n_trials: int | None,
        total_trials: int | None = None,
        max_concurrent: int,
        deadline: float | None,
        first: dict[str, Any] | None,
        origin: Mapping[str, Any],
        folder: str,
        observer: Observer,
        max_retries: int,
        retry_failed: bool = False,
        checkpoints: Path | None = None,
        output: Path | None = None,
        max_failures: int = 0,
    ) -> None:
        self.ledger = ledger
        self.job = job
        self.limits = limits
        self.n_left = n_trials
        self.total = total_trials
        self.max_concurrent = max_concurrent
        self.deadline = deadline
        self.first = first
        self.origin = origin
        self.folder = folder
        self.observer = observer
        self.max_retries = max_retries
        self.checkpoints = checkpoints
        self.output = output
        self.failures = FailureCount(max_failures)
        self.interrupted = False
        self.exhausted = False
        self.running: dict[str, Running] = {}  # by Tune's trial id
        self.pruned: set[int] = set()
        self.pausing: set[int] = set()
        self.paused: dict[int, Running] = {}  # by number
        self._news = False
        # What earlier runs left counts as a trial of this one; what fails now was counted then.
        left = ledger.due_again(max_retries, all_failed=retry_failed)
        self.again = deque((attempt, True) for attempt in left)
        self._sweep()
        self._looked = time.monotonic()
        self.slots: Callable[[], int] | None = None
        self.waiting_room = WaitingRoom(ledger, observer)
        self.known: Callable[[Mapping[str, Any]], Known | None] = lambda params: None
        self.broken: Callable[[], str | None] = lambda: None
        self.killed_for_memory: Callable[[], bool] = lambda: False
        self.give_up: Callable[[str], None] = lambda reason: None

    def finished(self) -> bool:
        """Whether no further trial will be started, unless one that runs has to be repeated."""
        if self._stopped or self.failures.reached:
            return True
        return not (self._budget() or self._repeatable())

    @property
    def _stopped(self) -> bool:
        out_of_time = self.deadline is not None and time.monotonic() >= self.deadline
        return self.interrupted or out_of_time

    def _budget(self) -> bool:
        if self.exhausted or (self.n_left is not None and self.n_left <= 0):
            return False
        return self.total is None or self.total > self._n_counting()

    def _n_counting(self) -> int:
        """Trials that count towards a total: ended well, or under way at any driver."""
        counts = self.ledger.counts()
        return sum(counts.get(state, 0) for state in ("COMPLETE", "PRUNED", "RUNNING"))

    def _repeatable(self) -> bool:
        return any(not counts or self._budget() for _, counts in self.again)

    def ask(self, trial_id: str) -> dict[str, Any] | str | None:
        """A Tune config, None for "not now", or FINISHED."""
        if self.finished() and not self.paused:
            return None if self.running and not self.interrupted else FINISHED
        if len(self.running) >= self.max_concurrent or any(r.alone for r in self.running.values()):
            return None
        if (number := self._promoted()) is not None:
            return self._launch(trial_id, self.paused.pop(number))
        if self.finished():
            if self.running and not self.interrupted:
                return None
            self.settle()
            return FINISHED
        if self.again:
            return self._ask_again(trial_id)
        asked = self._ask_new()
        if asked is None:
            return None if self.running and not self.interrupted else FINISHED
        return self._start(trial_id, asked, alone=False)

    def _promoted(self) -> int | None:
        """The paused trial that is to go on; looked for only after something was reported."""
        if self._stopped or not self._news:
            return None
        number = self.ledger.promote()
        self._news = number is not None
        return number

    def _ask_new(self) -> Asked | None:
        """The next trial that has to be trained; those trained elsewhere before are told here."""
        while not self.finished():
            asked = self.ledger.ask(self.first, self.origin)
            self.first = None
            if asked is None:
                self.exhausted = True
                return None
            if self.n_left is not None:
                self.n_left -= 1
            known = self.known(asked.params)
            if known is None:
                return asked
            self._repeat(asked, known)
        return None

    def _repeat(self, asked: Asked, known: Known) -> None:
        """Tells a trial the curve and the value of an earlier training of its configuration."""
        self.failures.succeeded()
        self.observer.trial_started(asked.number, asked.params)
        curve = known.trial.intermediate_values
        run = {**known.trial.user_attrs.get("run", {}), CACHED_FROM: known.source}
        run["proposed_s"] = asked.proposed_s
        for epoch in sorted(curve):
            last = epoch == max(curve)
            if self.ledger.report(asked.number, epoch, curve[epoch], prune=not last):
                run["duration_s"] = run.get("duration_s", 0.0) * epoch / max(curve)
                self.ledger.prune(asked.number, {"run": {**run, "epochs": epoch}})
                break
        else:
            metrics = known.trial.user_attrs.get("metrics", {})
            self.ledger.complete(asked.number, known.trial.value, {"metrics": metrics, "run": run})
        self.observer.trial_ended(asked.number)

    def _ask_again(self, trial_id: str) -> dict[str, Any] | None:
        attempt, counts = self.again[0]
        if attempt.alone and self.running:
            return None
        self.again.popleft()
        asked = self.ledger.ask(origin=self.origin, attempt=attempt)
        if asked is None:
            return None
        if counts and self.n_left is not None:
            self.n_left -= 1
        return self._start(trial_id, asked, alone=attempt.alone)

    def _start(self, trial_id: str, asked: Asked, *, alone: bool) -> dict[str, Any]:
        checkpoint = self._folder(asked.params)
        files = None if self.output is None else TrialFiles.new(self.output, asked.number)
        return self._launch(trial_id, Running(asked, alone, checkpoint, time.monotonic(), files))

    def _folder(self, params: Mapping[str, Any]) -> Path | None:
        """Where a configuration's checkpoints are."""
        if self.checkpoints is None:
            return None
        key = self.ledger.meta.space.key(params)
        return self.checkpoints / hashlib.sha256(key.encode()).hexdigest()[:16]

    def _sweep(self) -> None:
        """Removes the checkpoints of paused trials whose driver died: these have been ended."""
        if self.checkpoints is None or not self.checkpoints.is_dir():
            return
        for trial in self.ledger.trials():
            if trial.state.name == "PRUNED" and trial.user_attrs.get(PAUSED) is not None:
                _remove(self._folder(trial.params))

    def _launch(self, trial_id: str, trial: Running) -> dict[str, Any]:
        trial.started = time.monotonic()
        self.running[trial_id] = trial
        self.waiting_room.enter(trial.number)
        self.observer.trial_started(trial.number, trial.asked.params)
        limits = self.limits
        if trial.alone and limits.memory_bytes is not None:
            limits = replace(limits, memory_bytes=limits.memory_bytes * self.max_concurrent)
        job = replace(
            self.job,
            params={**self.job.params, **trial.asked.params},
            checkpoint=None if trial.checkpoint is None else str(trial.checkpoint),
            checkpoint_at=self.ledger.rungs,
            number=trial.number,
            files=trial.files,
        )
        return {"job": job, "folder": self.folder, "limits": limits}

    def placed(self, trial_id: str) -> None:
        """A worker has taken a trial."""
        trial = self.running.get(trial_id)
        if trial is not None:
            trial.started = time.monotonic()  # its time limit does not count the wait
            self.waiting_room.leave(trial.number, placed=True)
            self.observer.trial_placed(trial.number)

    def settle(self) -> None:
        """Ends what is paused and will not be promoted any more."""
        self._give_up(list(self.paused))

    def _give_up(self, numbers: list[int]) -> None:
        for number in numbers:
            trial = self.paused.pop(number)
            self.ledger.prune(number)
            _remove(trial.checkpoint)
            self.observer.trial_ended(number)

    def interrupt(self) -> None:
        """Starts nothing more and stops what runs; the database is not waited for much longer."""
        self.interrupted = True
        self.ledger.patience.hurry(_LAST_WAIT_S)

    def tick(self) -> bool:
        """Called between events: looks after the lease; True means everything is to stop."""
        if (problem := self.broken()) is not None:
            self.give_up(problem)
        lease = self.ledger.lease
        if lease is not None and lease.lost:
            self.interrupted = True
        now = time.monotonic()
        if now - self._looked > LOOK_S:
            self._looked = now
            self._news = True  # other drivers report too
            self.waiting_room.look()
            if self.slots is not None:
                self.max_concurrent = self.slots()
            if lease is not None and lease.me.shared:
                self._look_after_others()
        return self.interrupted

    def _look_after_others(self) -> None:
        """Takes over what drivers that died beside this one left."""
        if self.ledger.reconcile():
            known = {attempt.of for attempt, _ in self.again}
            due = self.ledger.due_again(self.max_retries)
            self.again += ((attempt, True) for attempt in due if attempt.of not in known)

    def report(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Writes one epoch to the ledger; True means the trial is to stop."""
        self._news = True
        trial = self.running[trial_id]
        number = trial.number
        report = json.loads(result[REPORT])
        if "error" not in report and report["epoch"] <= trial.n_told:
            return False  # its checkpoint was gone: what is told stays, and it catches up
        value = report["metrics"].get(metric := self.ledger.meta.guide.metric)
        try:
            for epoch, metrics in enumerate(report.get("restored", ()), start=1):
                if epoch > trial.n_told:
                    self.ledger.report(number, epoch, metrics.get(metric), prune=False)
            stop = self.ledger.report(number, report["epoch"], value)
        except TrialError as error:
            self.ledger.fail(number, str(error), None, attrs_of(report, trial))
            return True
        if stop:
            (self.pausing if self._can_pause(trial, report) else self.pruned).add(number)
        self.observer.trial_reported(number, report["epoch"], float(value))
        return stop

    def _can_pause(self, trial: Running, report: dict[str, Any]) -> bool:
        """Whether it can go on later where it is: functions, and workers whose files are not seen
        here, leave no checkpoint."""
        epoch = report["epoch"]
        if self._stopped or trial.checkpoint is None or epoch not in self.ledger.rungs:
            return False
        return checkpoint.holds(trial.checkpoint, epoch)

    def _pause(self, trial: Running, report: dict[str, Any]) -> None:
        self.pausing.remove(trial.number)
        attrs = attrs_of(report, trial)
        trial.n_told = report["epoch"]
        trial.spent_s += report["duration_s"]
        self.ledger.pause(trial.number, trial.n_told, attrs)
        self.paused[trial.number] = trial
        self.observer.trial_paused(trial.number)
        self.failures.succeeded()

    def end(self, trial_id: str, result: dict[str, Any] | None, error: bool) -> None:
        """Tells the ledger how a trial ended; a trial cut off by an interrupt is left to it."""
        trial = self.running.pop(trial_id, None)
        if trial is None:
            return
        self._news = True
        number = trial.number
        self.waiting_room.leave(number, placed=False)
        if number in self.pausing and result is not None:
            self._pause(trial, json.loads(result[REPORT]))
            self._give_up(self._hopeless())
            return
        report: dict[str, Any] = {}
        if error or result is None or REPORT not in result:
            if self.interrupted:
                return
            self._died(trial)
        elif not self._tell(trial, report := json.loads(result[REPORT])):
            return
        ended = self.ledger.trial(number)
        if not self._again(ended):
            _remove(trial.checkpoint)
            self.failures.count(ended, report.get("alike"))
        self.observer.trial_ended(number)
        self._give_up(self._hopeless())

    def _hopeless(self) -> list[int]:
        """Paused trials that no outcome of the others can get promoted: they need no checkpoint."""
        return [] if self.n_left is None else self.ledger.hopeless(self.n_left + len(self.again))

    def _died(self, trial: Running) -> None:
        timeout = self.limits.timeout_s
        if timeout is not None and time.monotonic() - trial.started >= timeout:
            reason = f"took more than {timeout:g} s (--trial-timeout): its worker was ended"
            self.ledger.fail(trial.number, reason, kind="timeout")
        elif self.killed_for_memory():
            reason = "out of memory: the kernel ended its worker (see --memory-per-trial)"
            self.ledger.fail(trial.number, reason, kind="oom")
        else:
            self.ledger.fail(trial.number, "lost: its worker process died", kind="lost")

    def _again(self, ended: FrozenTrial) -> bool:
        """Queues the configuration once more if it was cut off."""
        if ended.state.name != "FAIL" or ended.user_attrs.get(KIND) not in ("lost", "oom"):
            return False
        found = [a for a in self.ledger.due_again(self.max_retries) if a.of == ended.number]
        self.again += ((attempt, False) for attempt in found)
        return bool(found)

    def _tell(self, trial: Running, report: dict[str, Any]) -> bool:
        """Ends the trial as the worker says; False if it was stopped before it said anything."""
        number, attrs = trial.number, attrs_of(report, trial)
        if "error" in report:
            kind: FailKind = report["kind"]
            if report.get("output"):
                attrs[OUTPUT] = report["output"]
            self.ledger.fail(number, report["error"], report["traceback"], attrs, kind=kind)
        elif number in self.pruned:
            self.ledger.prune(number, attrs)
        elif report["finished"]:
            self._complete(number, report, attrs)
        elif self.interrupted:
            return False
        else:
            self.ledger.fail(number, "lost: stopped before its end", None, attrs, kind="lost")
        return True

    def _complete(self, number: int, report: dict[str, Any], attrs: dict[str, Any]) -> None:
        metrics, guide = report["metrics"], self.ledger.meta.guide.metric
        last = (report["epoch"], metrics.get(guide)) if metrics else None
        self.ledger.conclude(number, report["best"], attrs, last=last)


def _remove(folder: Path | None) -> None:
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
