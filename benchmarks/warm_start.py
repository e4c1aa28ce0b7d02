"""What earlier studies are worth to a new one, and what they cost if they mislead.

    python benchmarks/warm_start.py run [--samplers tpe,gp] [--seeds 5]
    python benchmarks/warm_start.py table [--seeds 5]

Pairs of problems of one space from the contest (benchmarks/search): a study of the first one is
the source, the second one the target.  A source that misleads is a study of the target's losses
with their sign turned (its best are the target's worst), or of numbers drawn for each
configuration.  Sources are TPE's, with other seeds than the targets'.  Every run begins with the
space's default, as `hpo run` does.  Runs are kept in benchmarks/warm_start/, a file a sampler:
`run` makes only those that are missing.  Needs `pip install 'hpo-torch[benchmarks]'`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import warnings
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ["OMP_NUM_THREADS"] = "1"  # Before numpy: a run gets one core.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

from benchmarks.search import results, summary
from benchmarks.search.problems import problem
from hpo.search import make_sampler
from hpo.search.prior import Earlier, Prior, Source
from hpo.space import Space

PAIRS = (
    ("mlp_kc1", "mlp_phoneme"),
    ("mlp_segment", "mlp_vehicle"),
    ("fcnet_naval", "fcnet_protein"),
    ("fcnet_protein", "fcnet_slice"),
    ("nas_cifar10", "nas_cifar100"),
    ("nas_cifar100", "nas_imagenet"),
    ("digits", "breast_cancer"),
    ("breast_cancer", "digits"),
)
"""Source and target.  The first of each family was looked at while the rules were written."""
STARTS = ("cold", "related", "negated", "noise", "related+noise")
BUDGETS = (5, 10, 20, 30)
N_SOURCE = 40
N_TRIALS = 30
FOLDER = Path(__file__).resolve().parent / "warm_start"
Loss = Callable[[Mapping[str, Any]], float]


def losses(space: Space, loss: Loss, sampler: Any, n: int) -> list[tuple[dict[str, Any], float]]:
    """Points and losses of a study, the default first."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    study = optuna.create_study(sampler=sampler)
    study.enqueue_trial(space.default())
    found = []
    for _ in range(n):
        trial = study.ask()
        params = space.suggest(trial)
        found.append((params, loss(params)))
        study.tell(trial, found[-1][1])
    return found


@cache
def source(kind: str, pair: tuple[str, str], seed: int) -> Source:
    """A finished study of 40 trials."""
    task = problem(pair[1])

    def negated(params: Mapping[str, Any]) -> float:
        return -task.loss(params)

    def noise(params: Mapping[str, Any]) -> float:
        digest = hashlib.sha256(f"{seed} {task.space.key(params)}".encode()).hexdigest()
        return int(digest[:12], 16) / 16**12

    loss = {"related": problem(pair[0]).loss, "negated": negated, "noise": noise}[kind]
    sampler = make_sampler("tpe", task.space, 1000 + seed, n_trials=N_SOURCE)
    trials = losses(task.space, loss, sampler, N_SOURCE)
    return Source(kind, kind, tuple(Earlier(i, *trial) for i, trial in enumerate(trials)))


def one_run(sampler: str, start: str, pair: tuple[str, str], seed: int) -> list[float]:
    """Losses of 30 trials on the target."""
    task = problem(pair[1])
    sources = [source(kind, pair, seed) for kind in start.split("+") if kind != "cold"]
    prior = Prior(task.space, sources) if sources else None
    made = make_sampler(sampler, task.space, seed, n_trials=N_TRIALS, prior=prior)
    return [loss for _, loss in losses(task.space, task.loss, made, N_TRIALS)]


def load(sampler: str) -> dict[tuple[str, str, int], list[float]]:
    """Best loss so far after each trial, by start, target and seed."""
    file = FOLDER / f"{sampler}.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    return {
        (row["start"], row["target"], row["seed"]): results.unfold(
            [tuple(step) for step in row["steps"]], N_TRIALS
        )
        for row in rows
    }


def run(arguments: argparse.Namespace) -> None:
    FOLDER.mkdir(exist_ok=True)
    for sampler in arguments.samplers:
        done = load(sampler)
        for seed in range(arguments.seeds):
            for pair in PAIRS:
                for start in STARTS:
                    if (start, pair[1], seed) in done:
                        continue
                    steps = results.fold(one_run(sampler, start, pair, seed))
                    row = {"start": start, "target": pair[1], "seed": seed, "steps": steps}
                    with (FOLDER / f"{sampler}.jsonl").open("a") as file:
                        file.write(json.dumps(row) + "\n")
                    print(
                        f"{sampler} {start} {pair[1]} seed {seed}: {steps[-1][1]:.6g}", flush=True
                    )


def table(arguments: argparse.Namespace) -> None:
    """Regret as in search_quality.py: 0 the optimum, 1 random search's median at that budget."""
    import numpy as np

    targets = [target for _, target in PAIRS]
    baselines = results.baseline(targets)
    print(f"| sampler, start | {' | '.join(f'at {n} trials' for n in BUDGETS)} |")
    print("|" + "---|" * (1 + len(BUDGETS)))
    for sampler in arguments.samplers:
        curves = load(sampler)
        blocks = tuple(
            (target, seed)
            for target in targets
            for seed in range(arguments.seeds)
            if all((start, target, seed) in curves for start in STARTS)
        )
        if not blocks:
            continue
        regrets = {}
        for start in STARTS:
            rows = []
            for target, seed in blocks:
                best, middle = problem(target).best, np.array(baselines[target][:N_TRIALS])
                above = np.maximum(np.array(curves[start, target, seed]) - best, 0.0)
                rows.append(above / np.maximum(middle - best, 1e-12))
            regrets[start] = np.array(rows)
        weights = summary.draws(blocks)
        cold = regrets["cold"]
        cells = [f"{cold[:, n - 1].mean():.3f}" for n in BUDGETS]
        print(f"| {sampler}, cold ({len(blocks)} runs) | {' | '.join(cells)} |")
        for start in STARTS[1:]:
            gaps = [regrets[start][:, n - 1] - cold[:, n - 1] for n in BUDGETS]
            cells = []
            for gap in gaps:
                low, high = summary.interval(gap, weights)
                cells.append(f"{gap.mean():+.3f} [{low:+.3f}, {high:+.3f}]")
            print(f"| {sampler}, {start} - cold | {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    for command in (run, table):
        sub = commands.add_parser(command.__name__)
        sub.set_defaults(command=command)
        sub.add_argument("--samplers", type=lambda text: text.split(","), default=["tpe", "gp"])
        sub.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    arguments.command(arguments)


if __name__ == "__main__":
    main()
