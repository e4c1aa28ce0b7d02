"""Ray Tune's two contestants: OptunaSearch and ASHA.

    python -m benchmarks.quality.by_ray stock|tuned PROBLEM SEED FOLDER

`stock` is what its documentation writes, at Tune's own defaults.  `tuned` has what makes it quick:
workers that stay (`reuse_actors`), no loggers, no dashboard, nothing on the console.  Both keep
Optuna's trials in an SQLite file, as the others do.
"""

from __future__ import annotations

import os
import sys
from typing import Any

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
if sys.argv[1:2] == ["tuned"]:  # Tune reads them when it is imported
    os.environ |= {"TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1", "RAY_AIR_NEW_OUTPUT": "0"}

import optuna
import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from benchmarks.quality.problems import PROBLEMS
from benchmarks.quality.training import learn
from hpo import Choice, Float, Int, Space


def in_rays_terms(space: Space) -> dict[str, Any]:
    """The space as Ray Tune writes it."""
    found: dict[str, Any] = {}
    for name in space.names:
        p = space[name]
        match p:
            case Choice():
                found[name] = tune.choice(list(p.choices))
            case Float():
                found[name] = (tune.loguniform if p.log else tune.uniform)(p.low, p.high)
            case Int():  # without its upper end
                found[name] = (tune.lograndint if p.log else tune.randint)(p.low, p.high + 1)
    return found


def main(kind: str, name: str, seed: int, folder: str) -> None:
    problem = PROBLEMS[name]

    def objective(config: dict[str, Any]) -> None:
        learn(PROBLEMS[name], config, lambda accuracy: tune.report({"accuracy": accuracy}))

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    search = OptunaSearch(
        seed=seed,
        storage=optuna.storages.RDBStorage(f"sqlite:///{folder}/ray.db"),
        study_name="quality",
    )
    tuned: dict[str, Any] = {}
    if kind == "tuned":
        tuned = {"reuse_actors": True}
        quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
        ray.init("local", num_cpus=2, **quiet)
    else:
        ray.init("local", num_cpus=2)
    tune.Tuner(
        tune.with_resources(objective, {"cpu": 1}),
        param_space=in_rays_terms(problem.space),
        tune_config=tune.TuneConfig(
            metric="accuracy",
            mode="max",
            search_alg=search,
            scheduler=ASHAScheduler(max_t=problem.epochs),
            num_samples=-1,
            max_concurrent_trials=2,
            **tuned,
        ),
        run_config=tune.RunConfig(
            storage_path=f"{folder}/tune", **({"verbose": 0} if tuned else {})
        ),
    ).fit()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])
