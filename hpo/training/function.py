"""A user's own `train(trial)` as a session: it runs until it reports, and waits to go on."""

from __future__ import annotations

import queue
import threading
from typing import Any

from hpo.errors import TrialError
from hpo.model import FunctionModel, Metrics, Params
from hpo.objectives import figures_in
from hpo.training.session import Job, Step


class TrialStopped(BaseException):
    """Raised inside a user's function by `trial.report` when the trial ends early.

    A BaseException, so that the user's own `except Exception` does not swallow it.
    """


class FunctionSession:
    """A user's `train(trial)` in a thread; each `trial.report` is one step."""

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
        self.objective = model.objective
        self.history: list[Metrics] = []
        self._wanted = job.wanted
        self._reports: queue.SimpleQueue[Metrics | BaseException | None] = queue.SimpleQueue()
        self._go_on: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._result: Any = None
        self._thread = threading.Thread(target=self._run, args=(model,), daemon=True)

    def _run(self, model: FunctionModel) -> None:
        try:
            self._result = model.function(self)
            self._reports.put(None)
        except TrialStopped:
            pass
        except BaseException as error:
            self._reports.put(error)

    def report(self, **metrics: float) -> None:
        """Reports one epoch's metrics; raises TrialStopped when the trial is to end."""
        if self.objective.metric not in metrics:
            raise TrialError(
                f"report({', '.join(metrics)}) lacks the objective {self.objective.metric!r}"
            )
        self._reports.put({name: _as_float(name, value) for name, value in metrics.items()})
        if not self._go_on.get():
            raise TrialStopped

    def step(self) -> Step:
        if self._thread.ident is None:
            self._thread.start()
        else:
            self._go_on.put(True)
        report = self._reports.get()
        if isinstance(report, BaseException):
            raise report
        if report is None:
            if not self.history:
                raise TrialError(f"returned without reporting {self.objective.metric!r}")
            return Step({}, True)
        self.history.append(report)
        return Step(report, False)

    def stop(self) -> None:
        self._go_on.put(False)
        self._thread.join(timeout=10)

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

    def files(self) -> dict[str, bytes]:
        return {}

    def data_info(self) -> dict[str, Any]:
        return {}


def _as_float(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise TrialError(f"reported {name}={value!r}: must be a number") from None
