"""Records of the contest, a folder a problem, a JSONL file a contestant in it; and the accuracy
that all are to reach."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[1] / "time_to_quality"
N_RANDOM = 60
"""Full trainings in a random search."""


@dataclass(frozen=True)
class Race:
    """One contestant's run on one seed.  Seconds are counted from its process' start.

    Attributes:
        target: the accuracy that ended it.
        seconds: until a full training had it; None if the cap came first.
        cap_s: after so many seconds it was ended in any case.
        first_s: until the first epoch of the first trial was trained; None if none was.
        steps: (seconds, accuracy) of each full training that was better than all before.
        full, stopped: trials with all epochs, and those with fewer (ended early, or under way).
        epochs: trained in all.
    """

    seed: int
    target: float
    seconds: float | None
    cap_s: float
    first_s: float | None
    steps: tuple[tuple[float, float], ...]
    full: int
    stopped: int
    epochs: int

    def until(self, target: float) -> float | None:
        """Seconds to a full training with that accuracy."""
        return next((seconds for seconds, accuracy in self.steps if accuracy >= target), None)


def race_of(
    lines: Iterable[list[Any]], n_epochs: int, seed: int, target: float, start: float, cap_s: float
) -> Race:
    """What the training function noted: (time, training, epoch, accuracy) of each epoch."""
    steps: list[tuple[float, float]] = []
    known, n, full, first_s = set(), 0, 0, None
    for moment, key, epoch, accuracy in sorted(lines):
        seconds = round(moment - start, 2)
        if seconds > cap_s:
            break
        first_s = seconds if first_s is None else first_s
        known.add(key)
        n += 1
        if epoch == n_epochs:
            full += 1
            if not steps or accuracy > steps[-1][1]:
                steps.append((seconds, accuracy))
    race = Race(seed, target, None, cap_s, first_s, tuple(steps), full, len(known) - full, n)
    return Race(**{**asdict(race), "steps": race.steps, "seconds": race.until(target)})


def append(problem: str, name: str, row: dict[str, Any]) -> None:
    """Adds a line to a contestant's file."""
    path = path_of(problem, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")


def path_of(problem: str, name: str) -> Path:
    """A contestant's file; `random` is that of the random searches behind the target."""
    return FOLDER / problem / f"{name}.jsonl"


def rows(problem: str, name: str) -> list[dict[str, Any]]:
    """The lines of a contestant's file."""
    path = path_of(problem, name)
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def races(problem: str, name: str) -> dict[int, Race]:
    """A contestant's races by seed."""
    found = {}
    for row in rows(problem, name):
        steps = tuple((seconds, accuracy) for seconds, accuracy in row["steps"])
        found[row["seed"]] = Race(**{**row, "steps": steps})
    return found


def random_bests(problem: str) -> dict[int, float]:
    """The best of each random search that is complete, by seed."""
    by_seed: dict[int, list[float]] = {}
    for row in rows(problem, "random"):
        by_seed.setdefault(row["seed"], []).append(row["accuracy"])
    return {seed: max(found) for seed, found in by_seed.items() if len(found) >= N_RANDOM}


def target(problem: str) -> float:
    """Median over the random searches of the best of their 60 full trainings.

    Raises:
        SystemExit: none is on file.
    """
    bests = random_bests(problem)
    if not bests:
        raise SystemExit("no random search is complete: run `time_to_quality.py target` first")
    return statistics.median_low(bests.values())
