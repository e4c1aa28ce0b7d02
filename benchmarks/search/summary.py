"""The contest's table: regret and rank by peer, with bootstrap intervals, in Markdown.

Regret after t trials is (best so far - optimum) / (random search's median best so far - optimum):
0 is the optimum, 1 what random search has by then.  A block is a problem and a seed; all peers of
a table are compared on the same blocks.  Intervals are 95 % of a bootstrap that draws problems
with replacement and, within each, seeds with replacement, the same for all peers.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from benchmarks.search import results
from benchmarks.search.problems import GUARDS, KINDS, problem
from benchmarks.search.results import BUDGETS, Block, Record

N_BOOTSTRAP = 2000
TPE = "optuna-tpe"


@dataclass(frozen=True)
class Regrets:
    """Regret of several peers on the same blocks.

    Attributes:
        values: by peer, block and trial: [P x B x T].
    """

    peers: tuple[str, ...]
    blocks: tuple[Block, ...]
    values: Any

    def of(self, names: Sequence[str]) -> Regrets:
        """Those on some problems only."""
        rows = [i for i, (name, _) in enumerate(self.blocks) if name in names]
        return Regrets(self.peers, tuple(self.blocks[i] for i in rows), self.values[:, rows])


def regret(record: Record, baseline: Sequence[float]) -> Any:
    """Regret after each trial: [T]."""
    best = problem(record.problem).best
    n = record.n_trials
    # Stored losses are rounded to 6 digits: no regret below 0 from that.
    above = np.maximum(np.array(record.curve()) - best, 0.0)
    return above / np.maximum(np.array(baseline[:n]) - best, 1e-12)


def collect(
    peers: Sequence[str], names: Sequence[str], n_seeds: int, parallel: int, n_trials: int
) -> Regrets:
    """Regrets on the blocks that every peer has run with at least n_trials trials."""
    baselines = results.baseline(names)
    curves: dict[str, dict[Block, Any]] = {
        peer: {
            (record.problem, record.seed): regret(record, baselines[record.problem])[:n_trials]
            for record in results.load(peer)
            if record.parallel == parallel
            and record.n_trials >= n_trials
            and record.problem in baselines
            and record.seed < n_seeds
        }
        for peer in peers
    }
    blocks = [
        (name, seed)
        for name in names
        for seed in range(n_seeds)
        if all((name, seed) in curves[peer] for peer in peers)
    ]
    values = np.array([[curves[peer][block] for block in blocks] for peer in peers])
    return Regrets(tuple(peers), tuple(blocks), values.reshape(len(peers), len(blocks), n_trials))


@cache
def draws(blocks: tuple[Block, ...], n: int = N_BOOTSTRAP) -> Any:
    """Weight of each block in n bootstrap samples, problems drawn first, then seeds: [n x B]."""
    rng = np.random.default_rng(0)
    rows: dict[str, list[int]] = {}
    for i, (name, _) in enumerate(blocks):
        rows.setdefault(name, []).append(i)
    groups = [np.array(group) for group in rows.values()]
    weights = np.zeros((n, len(blocks)))
    for row in weights:
        for g in rng.integers(len(rows), size=len(rows)):
            group = groups[g]
            np.add.at(row, group[rng.integers(len(group), size=len(group))], 1.0)
    return weights / weights.sum(axis=1, keepdims=True)


def interval(values: Any, weights: Any) -> tuple[float, float]:
    """95 % interval of the mean over blocks: values are [B], weights [n x B]."""
    low, high = np.quantile(weights @ values, (0.025, 0.975))
    return float(low), float(high)


def ranks(values: Any) -> Any:
    """Rank of each peer in each block, ties shared: [P x B] to [P x B]."""
    lower = (values[:, None] > values[None]).sum(axis=1)
    equal = (values[:, None] == values[None]).sum(axis=1)
    return lower + (equal + 1) / 2


def complete(names: Sequence[str], n_seeds: int, parallel: int) -> tuple[list[str], list[str]]:
    """Stored peers that have run every block with all trials, and those that have run some."""
    all_of_them = {(name, seed, parallel) for name in names for seed in range(n_seeds)}
    whole, part = [], []
    for peer in results.peers_stored():
        runs = {r.key for r in results.load(peer) if r.n_trials >= BUDGETS[-1]}
        some = {r.key for r in results.load(peer) if r.n_trials >= BUDGETS[0]}
        if all_of_them <= runs:
            whole.append(peer)
        elif all_of_them & some:
            part.append(peer)
    return whole, part


def main_table(regrets: Regrets) -> str:
    """Mean regret at each budget, mean rank, the differences to the best at the last budget."""
    weights = draws(regrets.blocks)
    last = regrets.values[:, :, BUDGETS[-1] - 1]
    means = last.mean(axis=1)
    rank = ranks(last).mean(axis=1)
    order = np.argsort(means)
    above = [f"above the first at {n}" for n in BUDGETS]
    lines = _head("peer", *(f"regret at {n}" for n in BUDGETS), "rank at 100", *above)
    for p in order:
        cells = [_mean(regrets.values[p, :, n - 1], weights) for n in BUDGETS]
        beyond = regrets.values[p] - regrets.values[order[0]]
        gaps = [_mean(beyond[:, n - 1], weights, "+.3f") for n in BUDGETS]
        gaps = ["-"] * len(BUDGETS) if p == order[0] else gaps
        lines.append(_row(regrets.peers[p], *cells, f"{rank[p]:.2f}", *gaps))
    return "\n".join(lines)


def split_table(regrets: Regrets) -> str:
    """Mean regret at the last budget by kind of problem, and on guards only."""
    names = list(dict.fromkeys(name for name, _ in regrets.blocks))
    parts = {kind: [n for n in names if problem(n).kind == kind] for kind in KINDS}
    parts["tuned on"] = [n for n in names if n not in GUARDS]
    parts["guard"] = [n for n in names if n in GUARDS]
    parts = {title: chosen for title, chosen in parts.items() if chosen}
    order = np.argsort(regrets.values[:, :, -1].mean(axis=1))
    lines = _head("peer", *(f"{title} ({len(chosen)})" for title, chosen in parts.items()))
    means = {
        title: regrets.of(chosen).values[:, :, -1].mean(axis=1) for title, chosen in parts.items()
    }
    for p in order:
        lines.append(_row(regrets.peers[p], *(f"{means[title][p]:.3f}" for title in parts)))
    return "\n".join(lines)


def pair_table(peers: Sequence[str], against: str, arguments: argparse.Namespace, x: int) -> str:
    """Peers with part of the runs, each beside one other on the blocks that both have."""
    lines = _head("peer", "trials", "blocks", "regret", f"{against}'s", "difference")
    for peer in peers:
        for n in BUDGETS:
            both = collect([peer, against], arguments.problems, arguments.seeds, x, n)
            if not both.blocks or (n < BUDGETS[-1] and _reaches(peer, x, n + 1)):
                continue
            mine, other = both.values[:, :, -1]
            gap = _mean(mine - other, draws(both.blocks), "+.3f")
            row = (f"{mine.mean():.3f}", f"{other.mean():.3f}", gap)
            lines.append(_row(peer, str(n), str(len(both.blocks)), *row))
    return "\n".join(lines) if len(lines) > 2 else ""


def _reaches(peer: str, parallel: int, n_trials: int) -> bool:
    return any(r.parallel == parallel and r.n_trials >= n_trials for r in results.load(peer))


def ask_table(peers: Sequence[str]) -> str:
    """What a proposal costs beside Optuna's TPE, sequential runs."""
    costs = {}
    for peer in peers:
        runs = [r for r in results.load(peer) if r.parallel == 1 and r.ask_s]
        if runs:
            reached = [BUDGETS[len(r.ask_s) - 1] for r in runs]
            costs[peer] = sum(r.ask_s[-1] for r in runs) / sum(reached), max(reached)
    lines = _head("peer", "CPU ms a trial", f"beside {TPE}", "trials")
    for peer, (cost, n) in sorted(costs.items(), key=lambda item: item[1]):
        beside = f"{cost / costs[TPE][0]:.1f}x" if TPE in costs else "-"
        lines.append(_row(peer, f"{cost * 1000:.1f}", beside, str(n)))
    return "\n".join(lines)


def failed_table(regrets: Regrets, parallel: int, after: int = 20) -> str:
    """Trials that failed after so many, mean over the same blocks; nothing if none ever failed."""
    lines = _head("peer", f"failed of the trials after {after}", "beside random")
    means = {}
    for peer in regrets.peers:
        failed = {
            (r.problem, r.seed): sum(n > after for n in r.failed)
            for r in results.load(peer)
            if r.parallel == parallel
        }
        means[peer] = sum(failed[block] for block in regrets.blocks) / len(regrets.blocks)
    for peer, mean in sorted(means.items(), key=lambda item: item[1]):
        beside = f"{mean / means['random']:.2f}x" if means.get("random") else "-"
        lines.append(_row(peer, f"{mean:.1f}", beside))
    return "\n".join(lines) if any(means.values()) else ""


def batch_table(peers: Sequence[str], arguments: argparse.Namespace) -> str:
    """Regret of 8 workers minus that of one, on the same blocks."""
    lines = _head("peer", "blocks", "1 worker", "8 workers", "8 minus 1")
    for peer in peers:
        one, eight = (
            collect([peer], arguments.problems, arguments.seeds, x, BUDGETS[-1]) for x in (1, 8)
        )
        blocks = [block for block in one.blocks if block in eight.blocks]
        if not blocks:
            continue
        a, b = (
            run.values[0, [run.blocks.index(block) for block in blocks], -1] for run in (one, eight)
        )
        gap = _mean(b - a, draws(tuple(blocks)), "+.3f")
        lines.append(_row(peer, str(len(blocks)), f"{a.mean():.3f}", f"{b.mean():.3f}", gap))
    return "\n".join(lines) if len(lines) > 2 else ""


def text(arguments: argparse.Namespace) -> str:
    """All tables."""
    parts = []
    for x in arguments.parallel:
        whole, part = complete(arguments.problems, arguments.seeds, x)
        peers = arguments.peers or whole
        title = f"{x} worker{'s' * (x > 1)}"
        if peers:
            regrets = collect(peers, arguments.problems, arguments.seeds, x, BUDGETS[-1])
            names = {name for name, _ in regrets.blocks}
            if regrets.blocks:
                n = f"{len(names)} problems, {len(regrets.blocks)} runs a peer"
                parts += [f"## {title}: {n}", main_table(regrets), split_table(regrets)]
                if failed := failed_table(regrets, x):
                    parts.append(failed)
            else:
                parts.append(f"## {title}: no run that all of {', '.join(peers)} have")
        if not arguments.peers and part and arguments.against in (*whole, *part):
            others = [peer for peer in part if peer != arguments.against]
            if pairs := pair_table(others, arguments.against, arguments, x):
                parts += [f"## {title}, peers with part of the runs", pairs]
    stored = arguments.peers or results.peers_stored()
    if batch := batch_table(stored, arguments):
        parts += ["## Eight workers and one", batch]
    return "\n\n".join([*parts, "## What a proposal costs", ask_table(stored)])


def _mean(values: Any, weights: Any, form: str = ".3f") -> str:
    low, high = interval(values, weights)
    return f"{values.mean():{form}} ({low:{form}} to {high:{form}})"


def _head(*cells: str) -> list[str]:
    return [_row(*cells), "|" + "---|" * len(cells)]


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
