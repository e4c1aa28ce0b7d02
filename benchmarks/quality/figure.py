"""The contest's picture: the best full training so far over seconds, a thin line a seed."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.quality import results
from benchmarks.quality.results import Race
from benchmarks.quality.summary import TITLES, complete, seconds

_LOWEST = 0.08
"""Error above which nothing is drawn apart."""


def draw(contestants: Sequence[str]) -> Path:
    """Writes quality.png beside the records."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    target = results.target()
    races, seeds = complete(contestants)
    longest = max(max(seconds(found, target)) for found in races.values())
    grid = np.linspace(0, longest, 500)
    figure, axis = plt.subplots(figsize=(8, 4.8), constrained_layout=True)
    for k, (name, found) in enumerate(races.items()):
        errors = np.array([_errors(race, grid, target) for race in found])
        for one, race in zip(errors, found, strict=True):
            axis.step(grid, one, where="post", color=f"C{k}", linewidth=0.8, alpha=0.35)
            if (reached := race.until(target)) is not None:
                axis.plot(reached, 1 - target, "o", color=f"C{k}", markersize=4, clip_on=False)
        middle = statistics.median(seconds(found, target))
        over = "over " if middle >= found[0].cap_s else ""
        title = f"{TITLES[name]}: median {over}{middle:.0f} s"
        axis.step(grid, np.median(errors, axis=0), where="post", color=f"C{k}", lw=2, label=title)
    axis.axhline(1 - target, color="black", linewidth=1, linestyle=":")
    axis.annotate(
        f"target: random search's best of {results.N_RANDOM} full trainings",
        (0, 1 - target),
        xytext=(4, 4),
        textcoords="offset points",
        fontsize=9,
    )
    low = (1 - target) * 0.9
    axis.set(xlim=(0, longest), yscale="log", ylim=(low, _LOWEST * 1.1))
    ticks = [tick for tick in (0.02, 0.025, 0.03, 0.04, 0.05, 0.06, 0.08) if tick > low]
    axis.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.minorticks_off()
    axis.set_xlabel("seconds since the process was started")
    axis.set_ylabel("validation error of the best full training")
    axis.set_title(f"From the command to a good model: {len(seeds)} seeds, 2 cores", fontsize=11)
    axis.grid(alpha=0.3)
    axis.legend(frameon=False, fontsize=9)
    path = results.FOLDER / "quality.png"
    figure.savefig(path, dpi=80)
    return path


def _errors(race: Race, grid: np.ndarray, target: float) -> np.ndarray:
    """Error of the best so far at each second; once the target is reached it stays there."""
    errors = np.full(len(grid), _LOWEST)
    for at, accuracy in race.steps:
        errors[grid >= at] = np.clip(1 - accuracy, 1 - target, _LOWEST)
    return errors
