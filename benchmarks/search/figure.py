"""The contest's picture: mean regret over trials by peer, all problems and each kind of them."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.search import results, summary
from benchmarks.search.problems import KINDS, problem
from benchmarks.search.results import BUDGETS


def draw(arguments: argparse.Namespace) -> Path:
    """Writes regret.png beside the runs, one worker or the first number of workers given."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    parallel = arguments.parallel[0]
    whole, _ = summary.complete(arguments.problems, arguments.seeds, parallel)
    peers = [p for p in arguments.peers or whole if p != "random"]
    regrets = summary.collect(peers, arguments.problems, arguments.seeds, parallel, BUDGETS[-1])
    names = list(dict.fromkeys(name for name, _ in regrets.blocks))
    panels = {"all": names} | {k: [n for n in names if problem(n).kind == k] for k in KINDS}
    panels = {title: chosen for title, chosen in panels.items() if chosen}
    figure, axes = plt.subplots(2, 3, figsize=(13, 7.5), sharex=True, constrained_layout=True)
    colours = plt.colormaps["tab20"].colors
    trials = range(1, BUDGETS[-1] + 1)
    for axis, (title, chosen) in zip(axes.flat, panels.items(), strict=False):
        means = regrets.of(chosen).values.mean(axis=1)
        for p, peer in enumerate(peers):
            style = "--" if "-" in peer else "-"
            axis.plot(trials, means[p], style, label=peer, color=colours[p % len(colours)])
        axis.axhline(1.0, color="grey", linewidth=1)
        axis.set(title=f"{title} ({len(chosen)} problems)", yscale="log", xlim=(5, BUDGETS[-1]))
        axis.set_ylim(max(0.03, means[:, 9:].min() * 0.8), 1.6)
        ticks = [t for t in (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5) if t > axis.get_ylim()[0]]
        axis.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    for axis in axes.flat[len(panels) :]:
        axis.axis("off")
    handles, labels = axes.flat[0].get_legend_handles_labels()
    axes.flat[-1].legend(handles, labels, loc="center", frameon=False, ncols=2)
    workers = f"{parallel} worker{'s' * (parallel > 1)}"
    figure.suptitle(f"Regret, 1 = random search's median at that trial ({workers})")
    figure.supxlabel("trials")
    path = results.FOLDER / "regret.png"
    figure.savefig(path, dpi=80)
    return path
