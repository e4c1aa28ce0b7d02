"""The worker's side: a Tune Trainable that stays warm from trial to trial."""

from __future__ import annotations

import json
import logging
import os
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ray import tune

from hpo.training.session import Job, Session, machine, pick_device
from hpo.tune import group, output
from hpo.tune.failure import failure_of
from hpo.tune.limits import Limits, end_after
from hpo.tune.report import REPORT, ends_the_worker

if TYPE_CHECKING:
    from hpo.tune.upkeep import Upkeep

_LAST_S = 60
"""What a trial's end may take, a function's own clearing away included."""
_log = logging.getLogger("hpo.tune")


class TrialWorker(tune.Trainable):  # type: ignore[misc]
    """Trains one trial after another in one process; never raises, so that it is never lost.

    Config: `job`, a `Job`; `folder`, the user's working folder; `limits`, `Limits`.  Each result
    holds `epoch` (epochs done), `metrics`, `finished`, `duration_s`, `worker`, `device`, `machine`,
    `data` (its digest); the first
    one after a checkpoint `restored`, the metrics of the epochs before; the last one `best` and
    `best_epoch`, or what a `Failure` has and `output`, the end of what it printed; and `folder`, if
    its code asked for one.
    """

    def setup(self, config: dict[str, Any]) -> None:
        self.session: Session | None = None
        self.upkeep: Upkeep | None = None
        self.worn: str | None = None
        self.job: Job = config["job"]
        output.begin(self.job.files.log if self.job.files else None)
        self.limits: Limits = config["limits"]
        self.started = time.monotonic()
        self.n_steps = 0
        if os.path.isdir(config["folder"]):
            os.chdir(config["folder"])  # a user's own model may open files by relative paths
        self.limits.begin()

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.cleanup()
        if self.worn is not None:
            _log.info("this worker is replaced: %s", self.worn)
            return False
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        report: dict[str, Any] = {}
        try:
            if self.session is None:
                self.session = self._begin()
                self.n_steps = len(self.session.history)
                if self.session.history:
                    report["restored"] = list(self.session.history)
            outcome = self.session.step()
            self.n_steps += bool(outcome.metrics)
            report |= {"metrics": outcome.metrics, "finished": outcome.finished}
            if outcome.finished:
                report["best"] = self.session.best()
                report["best_epoch"] = self.session.best_epoch
        except BaseException as error:
            if ends_the_worker(error):
                raise
            report |= {
                "metrics": {},
                "finished": True,
                "output": output.tail(),
                **asdict(failure_of(error, self.job.ref)),
            }
            if report["kind"] == "oom":
                self.worn = "it ran out of memory"
        report["epoch"] = self.n_steps
        report["duration_s"] = time.monotonic() - self.started
        report["worker"] = f"{os.uname().nodename}:{os.getpid()}"
        report["device"] = pick_device()
        report["machine"] = machine(report["device"])
        report["data"] = None if self.session is None else self.session.data_digest
        if report["finished"] and self.job.files and os.path.isdir(self.job.files.folder):
            report["folder"] = self.job.files.folder
        return {REPORT: json.dumps(report), "done": report["finished"]}

    def _begin(self) -> Session:
        from hpo.tune.upkeep import Upkeep

        group.gather(self.job.workers)
        self.upkeep = Upkeep(self.job, self.limits)
        return group.begin(self.job, self.upkeep.model)

    def cleanup(self) -> None:
        self.limits.end()
        end_after(_LAST_S)
        if self.session is not None and not self.session.stop():
            self.worn = "its function goes on after the stop"
        self.session = None
        if self.upkeep is not None:
            left = self.upkeep.end()
            self.worn = self.worn or left
            self.upkeep = None
        end_after(0)
        output.end()
