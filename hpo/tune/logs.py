"""Reads the logs that `pump` writes: which there are, and one as it grows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo.storage.attempts import origin_of
from hpo.storage.view import StudyView
from hpo.training.files import LOGS, log_of
from hpo.tune.pump import HEAD_BYTES, LEFT_OUT

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


def log_of_trial(trial: FrozenTrial) -> Path | None:
    """Where a trial's log is, or would be if it had printed anything, on its worker's disk; None:
    it was made by an earlier version, or by something else than `hpo run`."""
    output = origin_of(trial).get("output")
    return log_of(Path(output), trial.number) if output else None


def logs_of(view: StudyView) -> list[Path]:
    """The study's logs that are on this disk, those of confirming and retraining included."""
    outputs = {origin_of(trial).get("output") for trial in view.trials()} - {None}
    found = [log for output in outputs for log in Path(str(output), LOGS).glob("*.log")]
    return sorted(found, key=_place)


def _place(log: Path) -> tuple[Any, ...]:
    """Trials by number, then the others by name."""
    number = log.stem.partition("-")[0]
    return (0, int(number), log.stem) if number.isdigit() else (1, 0, log.stem)


@dataclass
class LogReader:
    """Reads a log from its beginning, and then what has been added since.

    Attributes:
        position: bytes of the trial's output that have been read, those left out included.
    """

    path: Path
    position: int = 0

    def read(self, *, whole_lines: bool) -> str:
        """What is new.

        Args:
            whole_lines: leave a last line without its end for later: it may be written over.
        """
        try:
            data = self.path.read_bytes()
        except OSError:
            return ""
        left_out = LEFT_OUT.match(data, HEAD_BYTES)
        start, gap = (left_out.end(), int(left_out[1])) if left_out else (0, 0)
        if left_out and self.position > HEAD_BYTES:
            # Of what is left out by now, some was read before.
            missed = HEAD_BYTES + gap - self.position
            new = data[start + max(0, -missed) :]
            notice = b"\n[hpo: %d bytes left out]\n" % missed if missed > 0 else b""
        else:
            new, notice = data[self.position :], b""
        if whole_lines:
            new = new[: new.rfind(b"\n") + 1]
        if not new:
            return ""
        if left_out:
            self.position = HEAD_BYTES + gap + len(data) - start
            self.position -= len(data) - (data.rfind(b"\n") + 1) if whole_lines else 0
        else:
            self.position += len(new)
        return (notice + new).decode("utf-8", "replace")
