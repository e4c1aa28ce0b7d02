"""A user's own `train(trial)` as a session: it runs until it reports, and waits to go on.

It runs in the thread that calls `step`, which in a worker is the main one: signal handlers, event
loops and some libraries work there alone.  A greenlet makes that possible: `report` leaves the
function where it is and returns from `step`, and the next `step` goes back into it.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import os
import queue
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from greenlet import getcurrent, greenlet

from hpo.errors import TrialError
from hpo.habits import advice, unnamed
from hpo.model import FunctionModel, Metrics, Params
from hpo.objectives import figures_in
from hpo.training.session import Job, Step

_LAST_S = 10.0
"""What a function may still do after it was stopped."""
_AGAIN_S = 0.05
_CALL = signal.SIGURG
"""Calls the main thread out of what it waits for; ignored where nobody listens."""


class TrialStopped(BaseException):
    """Raised inside a user's function by `trial.report` when the trial ends early.

    A BaseException, so that the user's own `except Exception` does not swallow it.
    """


class FunctionSession:
    """A user's `train(trial)`; each `trial.report` is one step."""

    def __init__(self, model: FunctionModel, job: Job, device: str) -> None:
        import torch

        from hpo.training.seeds import seed_all

        torch.set_num_threads(1)
        seed_all(job.seed)
        self.data_digest: str | None = None
        self.params: Params = dict(job.params)
        self.seed = job.seed
        self.epochs = job.epochs
        self.device = device
        self.number = job.number
        self._files = job.files
        self.objective = model.objective
        self.history: list[Metrics] = []
        self._wanted = job.wanted
        self._result: Any = None
        self._pid = os.getpid()
        self._thread = threading.get_ident()
        self._function = greenlet(lambda go_on: self._run(model.function))
        self._function.gr_context = contextvars.copy_context()
        self._caller = getcurrent()
        self._paused = self._function
        self._stopped = self._told = False
        self._overdue = False
        self._calls = _Calls(self._heed)
        self._asker: _Answer | None = None

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(advice(name))

    @functools.cached_property
    def folder(self) -> Path:
        """A folder of this trial's own, for its code to write to; made when it is asked for."""
        if self._files is None:
            return Path(tempfile.mkdtemp(prefix="hpo-trial-"))
        folder = Path(self._files.folder)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def report(self, *unnamed_values: Any, **metrics: float) -> None:
        """Reports one epoch's metrics; raises TrialStopped when the trial is to end."""
        if os.getpid() != self._pid:
            raise TrialError("report() was called in a child process: call it in the function's")
        metric = self.objective.metric
        if unnamed_values:
            shown = [f"{value!r:.40}" for value in unnamed_values]
            raise TrialError(unnamed(shown, metric, isinstance(unnamed_values[0], dict)))
        if metric not in metrics:
            raise TrialError(
                f"report({', '.join(metrics)}) lacks the objective {metric!r}: report it, or "
                "declare another one in @tunable(Space(...), 'NAME')"
            )
        found = {name: _as_float(name, value) for name, value in metrics.items()}
        if threading.get_ident() != self._thread:
            going_on = self._calls.report(found)
        else:
            if self._told:  # it did not care: nobody returns
                self._pause(None)
            going_on = not self._stopped and self._pause(found)
            self._told = not going_on
        if not going_on:
            raise TrialStopped

    def step(self) -> Step:
        if not self._function:
            self._thread = threading.get_ident()
            self._calls.begin()
        if self._asker is not None:
            self._asker.put(True)
        # What another thread reported while the function itself waited comes first.
        report, self._asker = self._calls.take() or (None, None)
        try:
            if report is None:
                report = self._enter(True)
        except BaseException:
            self._calls.end()
            raise
        if report is None:
            self._calls.end()
            if not self.history:
                metric = self.objective.metric
                raise TrialError(
                    f"returned without reporting {metric!r}: call trial.report({metric}=...)"
                )
            return Step({}, True)
        self.history.append(report)
        return Step(report, False)

    def stop(self) -> bool:
        """Raises TrialStopped where the function waits; False: it does not end for that."""
        self._stopped = True
        if self._asker is not None:
            self._asker.put(False)
        self._calls.close()
        if self._function:
            hurry = threading.Timer(_LAST_S, self._give_up)
            hurry.daemon = True
            hurry.start()
            with contextlib.suppress(Exception, GeneratorExit, KeyboardInterrupt):
                self._enter(False)
            hurry.cancel()
        self._calls.end()
        return not self._function

    def _give_up(self) -> None:
        self._overdue = True
        self._calls.call()

    def _enter(self, going_on: bool) -> Metrics | None:
        """Goes into the function until its next report; None: it has ended, or is given up."""
        self._caller = getcurrent()
        report: Metrics | None = self._paused.switch(going_on)
        return report

    def _pause(self, report: Metrics | None) -> bool:
        """Leaves the function where it is; whether it is to go on, once somebody returns to it."""
        self._paused = getcurrent()
        going_on = bool(self._caller.switch(report))
        if self._calls.waiting():  # called while nobody could heed it
            self._calls.call()
        return going_on

    def _heed(self) -> None:
        """In the function's thread, wherever it is: for other threads' reports, and at the end."""
        if getcurrent() is self._caller:
            return  # `step` looks for them
        if self._overdue:
            self._pause(None)
        while (handed := self._calls.take()) is not None:
            report, asker = handed
            asker.put(not self._stopped and self._pause(report))

    def _run(self, function: Callable[[Any], Any]) -> None:
        error: BaseException | None = None
        try:
            self._result = function(self)
        except BaseException as raised:
            error = raised
        if os.getpid() != self._pid:
            _end_child(error)
        done = isinstance(error, SystemExit) and error.code in (None, 0) and self.history
        if error is not None and not done and not isinstance(error, TrialStopped):
            raise error

    @property
    def best_epoch(self) -> int:
        # A function's network is what it has at its end, so its last report is its value.
        return len(self.history) - 1

    def best(self) -> Metrics:
        return {**self.figures(), **self.history[-1]}

    def figures(self) -> Metrics:
        net = self.network()
        if net is None or not figures_in(self._wanted):
            return {}
        from hpo.training.figures import sizes_of

        # Its latency is the function's to report: what a row of its data is, nobody else knows.
        return {name: value for name, value in sizes_of(net).items() if name in self._wanted}

    def test(self) -> Metrics:
        """The last report's `test_NAME` as NAME: the same names as those of a class."""
        prefix = "test_"
        last = self.history[-1].items()
        return {n.removeprefix(prefix): v for n, v in last if n.startswith(prefix)}

    def network(self) -> Any:
        import torch

        return self._result if isinstance(self._result, torch.nn.Module) else None

    def product(self) -> Any:
        return self._result

    def files(self) -> dict[str, bytes]:
        return {}

    def data_info(self) -> dict[str, Any]:
        return {}


_Answer = queue.SimpleQueue[bool]


class _Calls:
    """Reports of other threads than the function's: these wait here, and it is called to them.

    The function's own thread may wait for these very threads, so a signal interrupts it.
    """

    def __init__(self, heed: Callable[[], None]) -> None:
        self._heed = heed
        self._before: Any = None
        self._heard = False
        self._closed = False
        self._reports: queue.SimpleQueue[tuple[Metrics, _Answer]] = queue.SimpleQueue()

    def begin(self) -> None:
        """Listens, in the main thread: no other one can be interrupted."""
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(_CALL, lambda number, frame: self._heed())
            self._heard = True

    def call(self) -> None:
        """Has `heed` called in the main thread."""
        signal.pthread_kill(threading.main_thread().ident or 0, _CALL)

    def report(self, metrics: Metrics) -> bool:
        """Hands a report over and waits; whether its thread is to go on."""
        if self._closed:
            return False
        if not self._heard:
            raise TrialError("report() was called in another thread: call it in the function's")
        answer: _Answer = queue.SimpleQueue()
        self._reports.put((metrics, answer))
        while True:
            if self.waiting():  # a signal that comes just before a wait does not end it
                self.call()
            with contextlib.suppress(queue.Empty):
                return answer.get(timeout=_AGAIN_S)
            if self._closed:
                return False

    def waiting(self) -> bool:
        return self._heard and not self._reports.empty()

    def take(self) -> tuple[Metrics, _Answer] | None:
        """The next report, if one waits, and where its thread hears whether it is to go on."""
        with contextlib.suppress(queue.Empty):
            return self._reports.get_nowait()
        return None

    def close(self) -> None:
        """No thread is to go on."""
        self._closed = True
        while (handed := self.take()) is not None:
            handed[1].put(False)

    def end(self) -> None:
        """Closes, and listens no longer."""
        self.close()
        if self._heard:
            self._heard = False
            signal.signal(_CALL, self._before or signal.SIG_DFL)


def _end_child(error: BaseException | None) -> None:
    """Ends a process that the function forked and that came back out of it: what waits outside for
    its return is not the child's."""
    code = error.code if isinstance(error, SystemExit) else error and 1
    if error is not None and not isinstance(error, SystemExit):
        traceback.print_exception(error)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(code if isinstance(code, int) else int(bool(code)))


def _as_float(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise TrialError(f"reported {name}={value!r}: must be a number") from None
