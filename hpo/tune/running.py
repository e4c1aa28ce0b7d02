"""A trial under way, as the bridge knows it, and the attributes it leaves in the ledger."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpo.storage.ledger import Asked
from hpo.training.files import TrialFiles


@dataclass
class Running:
    """A trial under way, or paused.

    Attributes:
        started: by `time.monotonic()`, the last time.
        files: its log and its folder.
        n_told: epochs that were told before it was paused.
        spent_s: seconds that these took.
    """

    asked: Asked
    alone: bool
    checkpoint: Path | None
    started: float
    files: TrialFiles | None = None
    n_told: int = 0
    spent_s: float = 0.0

    @property
    def number(self) -> int:
        """The ledger's, whatever Tune calls it."""
        return self.asked.number


def attrs_of(report: dict[str, Any], trial: Running) -> dict[str, Any]:
    """A trial's user attributes after a worker's report: its metrics, and how it ran."""
    metrics = report.get("best") or report["metrics"]
    run = {
        "proposed_s": round(trial.asked.proposed_s, 4),
        "duration_s": round(trial.spent_s + report["duration_s"], 3),
        "worker": report["worker"],
        "device": report["device"],
        "epochs": report["epoch"],
    }
    run |= {key: report[key] for key in ("machine", "data", "folder") if report.get(key)}
    if "best_epoch" in report:
        run["best_epoch"] = report["best_epoch"]
    return {"metrics": metrics, "run": run} if metrics else {"run": run}
