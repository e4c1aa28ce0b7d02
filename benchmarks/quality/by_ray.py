"""Ray Tune's two contestants: OptunaSearch and ASHA.

    python -m benchmarks.quality.by_ray stock|tuned SEED FOLDER

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

from benchmarks.quality.training import EPOCHS, learn

SPACE = {
    "lr": tune.loguniform(1e-4, 1.0),
    "momentum": tune.uniform(0.0, 0.98),
    "weight_decay": tune.loguniform(1e-6, 1e-1),
    "batch_size": tune.choice([32, 64, 128]),
    "width": tune.lograndint(6, 25),  # without its upper end
    "kernel": tune.choice([3, 5, 7]),
    "norm": tune.choice(["batch", "group", "none"]),
    "activation": tune.choice(["relu", "gelu", "silu"]),
    "dropout": tune.uniform(0.0, 0.6),
    "label_smoothing": tune.uniform(0.0, 0.3),
}


def objective(config: dict[str, Any]) -> None:
    """Reports each epoch's accuracy."""
    learn(config, lambda accuracy: tune.report({"accuracy": accuracy}))


def main(kind: str, seed: int, folder: str) -> None:
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
        param_space=SPACE,
        tune_config=tune.TuneConfig(
            metric="accuracy",
            mode="max",
            search_alg=search,
            scheduler=ASHAScheduler(max_t=EPOCHS),
            num_samples=-1,
            max_concurrent_trials=2,
            **tuned,
        ),
        run_config=tune.RunConfig(
            storage_path=f"{folder}/tune", **({"verbose": 0} if tuned else {})
        ),
    ).fit()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
