"""What a trivial trial costs: plain Optuna, this service, stock Ray Tune + OptunaSearch.

    python benchmarks/overhead.py [--trials 60] [--rounds 3]

All three in one run, in turns, each on a new SQLite file of its own, TPE, the same space of six
parameters, an objective that costs nothing, one trial after another.  A first trial warms up and
is not counted, so imports, `ray.init` and the start of the first worker are left out for all.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from hpo import Choice, Float, Int, Objective, Space, tunable

SPACE = Space(
    a=Float(1e-4, 1e-1, log=True),
    b=Float(0.0, 1.0),
    c=Float(-5.0, 5.0),
    d=Int(1, 64, log=True),
    e=Int(0, 10),
    f=Choice("x", "y", "z"),
)


@tunable(SPACE, Objective("score"))
def train(trial: Any) -> None:
    """Nothing but an answer."""
    trial.report(score=-(trial.params["b"] ** 2) - abs(trial.params["c"]))


def _score(params: dict[str, Any]) -> float:
    return float(-(params["b"] ** 2) - abs(params["c"]))


def plain_optuna(folder: Path, n: int) -> list[float]:
    """End times of n + 1 trials, the first one a warm-up."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=f"sqlite:///{folder}/optuna.db",
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=0),
    )
    ends: list[float] = []
    study.optimize(
        lambda trial: _score(SPACE.suggest(trial)),
        n_trials=n + 1,
        callbacks=[lambda study, trial: ends.append(time.perf_counter())],
    )
    return ends


class _Clock:
    """Observer that notes when trials end."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def trial_started(self, number: int) -> None: ...

    def trial_reported(self, number: int) -> None: ...

    def trial_ended(self, number: int) -> None:
        self.ends.append(time.perf_counter())


def this_service(folder: Path, n: int) -> list[float]:
    """The same through `hpo run`'s own path: ledger, bridge, Tune, warm worker."""
    from hpo.storage.sql import open_storage, resolve_url
    from hpo.study import resolve, spec_from
    from hpo.tune.driver import drive, search
    from hpo.tune.environment import ray_session

    reference = f"{Path(__file__).resolve()}:train"
    spec = spec_from({}, {"model": reference, "n_trials": n + 1, "max_concurrent": 1})
    study = resolve(spec)
    storage = open_storage(resolve_url(f"sqlite:///{folder}/hpo.db"), create=True)
    clock = _Clock()
    with drive(study, storage) as ledger, ray_session(spec) as resources:
        search(study, ledger, resources, clock)
        states = ledger.counts()
    assert states.get("COMPLETE") == n + 1, states
    return clock.ends


def stock_ray_tune(folder: Path, n: int) -> list[float]:
    """A function trainable and OptunaSearch, as Ray's documentation shows it."""
    import optuna
    import ray
    from ray import tune
    from ray.tune.search.optuna import OptunaSearch

    ends: list[float] = []

    class Clock(tune.Callback):  # type: ignore[misc]
        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
            ends.append(time.perf_counter())

    def objective(config: dict[str, Any]) -> None:
        tune.report({"score": _score(config)})

    search = OptunaSearch(
        SPACE.distributions(),
        metric="score",
        mode="max",
        sampler=optuna.samplers.TPESampler(seed=0),
        storage=optuna.storages.RDBStorage(f"sqlite:///{folder}/ray.db"),
        study_name="stock",
    )
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        tune.Tuner(
            objective,
            tune_config=tune.TuneConfig(
                search_alg=search, num_samples=n + 1, max_concurrent_trials=1
            ),
            run_config=tune.RunConfig(
                storage_path=str(folder / "tune"), verbose=0, callbacks=[Clock()]
            ),
        ).fit()
    finally:
        ray.shutdown()
    return ends


SYSTEMS = {"optuna": plain_optuna, "hpo": this_service, "ray": stock_ray_tune}


def _measure(name: str, n: int) -> float:
    """Milliseconds a trial, in a process of its own so that none inherits another's settings."""
    import subprocess

    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, __file__, "--one", name, "--trials", str(n), "--folder", folder],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
        )
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-3000:]}")
    return float(json.loads(done.stdout.strip().splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--ray-trials", type=int, default=12, help="stock Ray Tune is slow")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", choices=SYSTEMS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        ends = SYSTEMS[args.one](args.folder, args.trials)
        print(json.dumps((ends[-1] - ends[0]) / (len(ends) - 1) * 1000))
        return
    rounds = []
    for _ in range(args.rounds):
        rounds.append(
            {
                name: _measure(name, args.ray_trials if name == "ray" else args.trials)
                for name in SYSTEMS
            }
        )
        print({name: round(ms, 1) for name, ms in rounds[-1].items()}, file=sys.stderr)
    median = {name: statistics.median(r[name] for r in rounds) for name in SYSTEMS}
    print(f"{platform.python_version()}, {os.cpu_count()} cores, medians of {args.rounds} rounds\n")
    print("| | ms a trial | beside plain Optuna | beside stock Ray Tune |\n|---|---|---|---|")
    titles = {"optuna": "plain Optuna", "hpo": "hpo", "ray": "stock Ray Tune + OptunaSearch"}
    for name, title in titles.items():
        beside_optuna = statistics.median(r[name] / r["optuna"] for r in rounds)
        beside_ray = statistics.median(r[name] / r["ray"] for r in rounds)
        print(f"| {title} | {median[name]:.0f} | {beside_optuna:.2f}x | 1/{1 / beside_ray:.1f} |")


if __name__ == "__main__":
    main()
