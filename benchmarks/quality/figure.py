"""The contest's picture: the best full training so far over seconds, a panel a problem, a thin line
a seed."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.quality import results
from benchmarks.quality.problems import PROBLEMS
from benchmarks.quality.results import Race
from benchmarks.quality.summary import TITLES, seconds


def draw(contestants: Sequence[str]) -> Path:
    """Writes quality.png beside the records, of every problem that has a target."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    drawn = [name for name in PROBLEMS if results.random_bests(name)]
    figure, axes = plt.subplots(
        1, len(drawn), figsize=(6.4 * len(drawn), 4.8), constrained_layout=True, squeeze=False
    )
    for axis, problem in zip(axes[0], drawn, strict=True):
        _panel(axis, problem, contestants)
    axes[0][0].set_ylabel("validation error of the best full training")
    path = results.FOLDER / "quality.png"
    figure.savefig(path, dpi=80)
    return path


def _panel(axis: Any, problem: str, contestants: Sequence[str]) -> None:
    """Draws a problem: of each contestant all seeds that it has run."""
    target = results.target(problem)
    known = {name: list(results.races(problem, name).values()) for name in contestants}
    races = {name: found for name, found in known.items() if found}
    times = PROBLEMS[problem].drawn
    highest = times * (1 - target)
    longest = max(max(seconds(found, target)) for found in races.values())
    grid = np.linspace(0, longest, 500)
    for k, (name, found) in enumerate(races.items()):
        errors = np.array([_errors(race, grid, target, highest) for race in found])
        for one, race in zip(errors, found, strict=True):
            axis.step(grid, one, where="post", color=f"C{k}", linewidth=0.8, alpha=0.35)
            if (reached := race.until(target)) is not None:
                axis.plot(reached, 1 - target, "o", color=f"C{k}", markersize=4, clip_on=False)
        middle = statistics.median(seconds(found, target))
        over = "over " if middle >= found[0].cap_s else ""
        title = f"{TITLES[name]}: median {over}{middle:.0f} s, {len(found)} seeds"
        axis.step(grid, np.median(errors, axis=0), where="post", color=f"C{k}", lw=2, label=title)
    axis.axhline(1 - target, color="black", linewidth=1, linestyle=":")
    axis.annotate(
        f"target: random search's best of {results.N_RANDOM} full trainings",
        (0, 1 - target),
        xytext=(4, -12),
        textcoords="offset points",
        fontsize=9,
    )
    axis.set(
        xlim=(0, longest), yscale="log", ylim=((1 - target) / times**0.1, highest * times**0.05)
    )
    ticks = [times**share * (1 - target) for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
    axis.set_yticks(ticks, [f"{tick:.3f}" for tick in ticks])
    axis.minorticks_off()
    axis.set_xlabel("seconds since the process was started")
    axis.set_title(PROBLEMS[problem].title, fontsize=11)
    axis.grid(alpha=0.3)
    axis.legend(frameon=False, fontsize=8, loc="upper right")


def _errors(race: Race, grid: np.ndarray, target: float, highest: float) -> np.ndarray:
    """Error of the best so far at each second; once the target is reached it stays there."""
    errors = np.full(len(grid), highest)
    for at, accuracy in race.steps:
        errors[grid >= at] = np.clip(1 - accuracy, 1 - target, highest)
    return errors
