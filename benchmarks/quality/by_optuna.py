"""Optuna's contestant: two processes on one study in one SQLite file, TPE and the median pruner.

    python -m benchmarks.quality.by_optuna PROBLEM SEED FOLDER

As its documentation tells for several processes on one machine.  Both are forks of a process that
has imported everything and read the data, which is the quickest way to have two.
"""

from __future__ import annotations

import functools
import multiprocessing
import sys

import optuna

from benchmarks.quality.problems import PROBLEMS, Problem
from benchmarks.quality.training import learn

N_PROCESSES = 2


def objective(problem: Problem, trial: optuna.Trial) -> float:
    """A trial's accuracy, unless it is pruned."""
    epoch = 0

    def report(accuracy: float) -> None:
        nonlocal epoch
        epoch += 1
        trial.report(accuracy, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned

    return learn(problem, problem.space.suggest(trial), report)


def work(problem: str, url: str, seed: int) -> None:
    """One of the processes, until it is ended."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    optuna.load_study(
        study_name="quality",
        storage=url,
        sampler=optuna.samplers.TPESampler(seed=seed),
        pruner=optuna.pruners.MedianPruner(),
    ).optimize(functools.partial(objective, PROBLEMS[problem]))


def main(problem: str, seed: int, folder: str) -> None:
    import torch  # before the fork  # noqa: F401

    url = f"sqlite:///{folder}/optuna.db"
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    optuna.create_study(study_name="quality", storage=url, direction="maximize")
    PROBLEMS[problem].model()
    PROBLEMS[problem].data()
    context = multiprocessing.get_context("fork")
    seeds = [seed * N_PROCESSES + k for k in range(N_PROCESSES)]
    workers = [context.Process(target=work, args=(problem, url, one)) for one in seeds]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
