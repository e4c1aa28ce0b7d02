"""The contest's table: seconds to the target, and ratios with intervals, paired by seed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import numpy as np

from benchmarks.quality import results
from benchmarks.quality.results import Race

TITLES = {
    "hpo": "hpo run",
    "ray-stock": "Ray Tune, OptunaSearch, ASHA, as documented",
    "ray": "the same, tuned: workers stay, no loggers",
    "optuna": "Optuna, 2 processes, median pruner",
}
_N_RESAMPLES = 10_000


def seconds(races: Sequence[Race], target: float) -> list[float]:
    """Seconds to the target; the cap for a race that was ended before."""
    return [found if (found := race.until(target)) else race.cap_s for race in races]


def ratio(peer: Sequence[float], ours: Sequence[float]) -> tuple[float, float, float]:
    """Geometric mean of peer / ours over seeds, and its 95 % bootstrap interval over seeds."""
    logs = np.log(np.array(peer) / np.array(ours))
    drawn = np.random.default_rng(0).integers(len(logs), size=(_N_RESAMPLES, len(logs)))
    low, high = np.quantile(logs[drawn].mean(axis=1), [0.025, 0.975])
    return math.exp(logs.mean()), math.exp(low), math.exp(high)


def complete(problem: str, contestants: Sequence[str]) -> tuple[dict[str, list[Race]], list[int]]:
    """Races of the seeds that all contestants have run, and these seeds.

    Raises:
        SystemExit: there is no such seed.
    """
    known = {name: results.races(problem, name) for name in contestants}
    seeds = sorted(set.intersection(*(set(races) for races in known.values())))
    if not seeds:
        raise SystemExit("no seed that all contestants have run: run `time_to_quality.py run`")
    return {name: [races[seed] for seed in seeds] for name, races in known.items()}, seeds


def text(problem: str, contestants: Sequence[str]) -> str:
    """The table in Markdown.  A censored race counts as its cap, in ratios too."""
    target = results.target(problem)
    races, seeds = complete(problem, contestants)
    taken = {name: seconds(found, target) for name, found in races.items()}
    lines = [
        f"{problem}, target: accuracy {target:.4f} on validation rows; "
        f"seeds {', '.join(map(str, seeds))}.",
        "",
        "| | seconds to it, by seed | median | beside hpo [95 %] | first epoch after "
        "| full trainings, stopped | epochs a second |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, found in races.items():
        by_seed = ", ".join(
            f"{s:.1f}" if race.until(target) else f"> {race.cap_s:g} (censored)"
            for race, s in zip(found, taken[name], strict=True)
        )
        beside = "1"
        if name != "hpo" and "hpo" in taken:
            mean, low, high = ratio(taken[name], taken["hpo"])
            interval = f"[{low:.2f}, {high:.2f}]" if len(seeds) > 1 else "(one seed)"
            beside = f"{mean:.2f}x {interval}"
        first = statistics.median(race.first_s or race.cap_s for race in found)
        full = statistics.median(race.full for race in found)
        stopped = statistics.median(race.stopped for race in found)
        pace = statistics.median(
            race.epochs / (s - (race.first_s or 0.0))
            for race, s in zip(found, taken[name], strict=True)
        )
        median = statistics.median(taken[name])
        over = "over " if median >= found[0].cap_s else ""
        lines.append(
            f"| {TITLES[name]} | {by_seed} | {over}{median:.1f} | {beside} "
            f"| {first:.1f} s | {full:g}, {stopped:g} | {pace:.1f} |"
        )
    return "\n".join(lines)
