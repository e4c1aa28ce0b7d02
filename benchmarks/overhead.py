"""What a trivial trial costs: plain Optuna, this service, stock Ray Tune + OptunaSearch.

    python benchmarks/overhead.py [--trials 60] [--rounds 3]
    python benchmarks/overhead.py --curve [--rounds 3]

All three in one run, in turns, each on a new SQLite file of its own, TPE, the same space of six
parameters, an objective that costs nothing, one trial after another.  A first trial warms up and
is not counted, so imports, `ray.init` and the start of the first worker are left out for all.

The curve is what a trial costs in a study that has 100 to 10,000 finished trials already, by
random and by TPE, here and in plain Optuna, on copies of one file.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from hpo import Choice, Float, Int, Objective, Space, tunable
from hpo.tune.observer import Observer

if TYPE_CHECKING:
    from hpo.study import ResolvedStudy

STUDY, DATABASE = "overhead", "study.db"
DONE = (100, 1_000, 3_000, 10_000)
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


def plain_optuna(folder: Path, n: int, sampler: str) -> list[float]:
    """End times of n + 1 trials, the first one a warm-up."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    samplers = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}
    study = optuna.create_study(
        study_name=STUDY,
        storage=f"sqlite:///{folder}/{DATABASE}",
        direction="maximize",
        sampler=samplers[sampler](seed=0),
        load_if_exists=True,
    )
    ends: list[float] = []
    study.optimize(
        lambda trial: _score(SPACE.suggest(trial)),
        n_trials=n + 1,
        callbacks=[lambda study, trial: ends.append(time.perf_counter())],
    )
    return ends


class _Clock(Observer):
    """Observer that notes when trials end."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def trial_ended(self, number: int) -> None:
        self.ends.append(time.perf_counter())


def _study(n_trials: int, sampler: str) -> ResolvedStudy:
    from hpo.study import resolve, spec_from

    flags = {
        "name": STUDY,
        "model": f"{Path(__file__).resolve()}:train",
        "sampler": sampler,
        "n_trials": n_trials,
        "max_concurrent": 1,
    }
    return resolve(spec_from({}, flags))


def this_service(folder: Path, n: int, sampler: str) -> list[float]:
    """The same through `hpo run`'s own path: ledger, bridge, Tune, warm worker."""
    from hpo.storage.sql import open_storage, resolve_url
    from hpo.tune.driver import drive, search
    from hpo.tune.environment import ray_session

    study = _study(n + 1, sampler)
    storage = open_storage(resolve_url(f"sqlite:///{folder}/{DATABASE}"), create=True)
    clock = _Clock()
    with drive(study, storage) as ledger, ray_session(study.spec) as resources:
        before = ledger.counts().get("COMPLETE", 0)
        search(study, ledger, resources, clock)
        done = ledger.counts()["COMPLETE"] - before
    assert done == n + 1, done
    return clock.ends


def stock_ray_tune(folder: Path, n: int, sampler: str) -> list[float]:
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
    ray.init(
        "local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR"
    )
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


def fill(folder: Path, n: int) -> None:
    """A study of n finished trials as runs leave them: nine in ten COMPLETE, the others PRUNED."""
    import random
    from datetime import datetime, timedelta

    from optuna.distributions import distribution_to_json
    from optuna.storages._rdb import models
    from optuna.trial import TrialState
    from sqlalchemy import insert

    from hpo.storage.lock import engine_of
    from hpo.storage.sql import open_storage
    from hpo.tune.driver import drive

    storage = open_storage(f"sqlite:///{folder}/{DATABASE}", create=True)
    with drive(_study(n, "random"), storage) as ledger:
        study_id = ledger.study._study_id
    rng, distributions = random.Random(0), SPACE.distributions()
    kinds = {name: distribution_to_json(d) for name, d in distributions.items()}
    trials, params, values, attrs, steps = [], [], [], [], []
    run = {"proposed_s": 0.004, "duration_s": 0.01, "worker": "host:1", "device": "cpu"}
    for i in range(n):
        point, key, pruned = SPACE.random(rng), {"trial_id": i + 1}, i % 10 == 9
        score, moment = _score(point), datetime.now() + timedelta(seconds=i - n)
        state = TrialState.PRUNED if pruned else TrialState.COMPLETE
        times = {"datetime_start": moment, "datetime_complete": moment}
        trials.append({**key, "study_id": study_id, "number": i, "state": state, **times})
        for name, value in point.items():
            stored = distributions[name].to_internal_repr(value)
            row = {"param_name": name, "param_value": stored, "distribution_json": kinds[name]}
            params.append({**key, **row})
        values.append({**key, "objective": 0, "value": score, "value_type": "FINITE"})
        row = {"step": 1, "intermediate_value": score, "intermediate_value_type": "FINITE"}
        steps.append({**key, **row})
        origin = {"seed": 0, "driver": "earlier", "ask": i}
        for name, fact in (("origin", origin), ("metrics", {"score": score}), ("run", run)):
            attrs.append({**key, "key": name, "value_json": json.dumps(fact)})
    with engine_of(storage).begin() as connection:
        for model, rows in (
            (models.TrialModel, trials),
            (models.TrialParamModel, params),
            (models.TrialValueModel, values),
            (models.TrialUserAttributeModel, attrs),
            (models.TrialIntermediateValueModel, steps),
        ):
            connection.execute(insert(model.__table__), rows)


def _as_optuna_makes_it(file: Path) -> None:
    """Write-ahead logging is a property of the file, and not what Optuna sets."""
    import sqlite3

    connection = sqlite3.connect(file)
    connection.execute("PRAGMA journal_mode=DELETE")
    connection.close()


def _measure(name: str, n: int, sampler: str = "tpe", filled: Path | None = None) -> float:
    """Milliseconds a trial, in a process of its own so that none inherits another's settings."""
    import subprocess

    with tempfile.TemporaryDirectory() as folder:
        if filled is not None:
            file = Path(folder) / DATABASE
            shutil.copy(filled / DATABASE, file)
            if name == "optuna":
                _as_optuna_makes_it(file)
        command = [sys.executable, __file__, "--one", name, "--trials", str(n)]
        done = subprocess.run(
            [*command, "--sampler", sampler, "--folder", folder],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
        )
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-3000:]}")
    return float(json.loads(done.stdout.strip().splitlines()[-1]))


def _three(args: argparse.Namespace) -> None:
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
    print("| | ms a trial | beside plain Optuna | beside stock Ray Tune |\n|---|---|---|---|")
    titles = {"optuna": "plain Optuna", "hpo": "hpo", "ray": "stock Ray Tune + OptunaSearch"}
    for name, title in titles.items():
        beside_optuna = statistics.median(r[name] / r["optuna"] for r in rounds)
        beside_ray = statistics.median(r[name] / r["ray"] for r in rounds)
        print(f"| {title} | {median[name]:.0f} | {beside_optuna:.2f}x | 1/{1 / beside_ray:.1f} |")


def _curve(args: argparse.Namespace) -> None:
    lines = [(sampler, name) for sampler in ("random", "tpe") for name in ("optuna", "hpo")]
    found: dict[tuple[str, str, int], list[float]] = {}
    with tempfile.TemporaryDirectory() as parent:
        folders = {n: Path(parent) / str(n) for n in DONE}
        for n, folder in folders.items():
            folder.mkdir()
            fill(folder, n)
        for _ in range(args.rounds):
            for n, folder in folders.items():
                for sampler, name in lines:
                    ms = _measure(name, args.trials, sampler, folder)
                    found.setdefault((sampler, name, n), []).append(ms)
                    print(sampler, name, n, round(ms, 1), file=sys.stderr)
    titles = " | ".join(f"{n:,}" for n in DONE)
    print(f"| ms a trial after | {titles} | {DONE[-1]:,} beside {DONE[0]:,} |")
    print("|---" * (len(DONE) + 2) + "|")
    for sampler, name in lines:
        rounds = [found[sampler, name, n] for n in DONE]
        growth = statistics.median(b / a for a, b in zip(rounds[0], rounds[-1], strict=True))
        cells = " | ".join(f"{statistics.median(of_n):.0f}" for of_n in rounds)
        title = "plain Optuna" if name == "optuna" else name
        print(f"| {sampler}, {title} | {cells} | {growth:.2f}x |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, help="60; for the curve 30")
    parser.add_argument("--ray-trials", type=int, default=12, help="stock Ray Tune is slow")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--curve", action="store_true", help="beside 100 to 10,000 trials")
    parser.add_argument("--one", choices=SYSTEMS, help=argparse.SUPPRESS)
    parser.add_argument("--sampler", default="tpe", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.trials = args.trials or (30 if args.curve else 60)
    if args.one:
        ends = SYSTEMS[args.one](args.folder, args.trials, args.sampler)
        print(json.dumps((ends[-1] - ends[0]) / (len(ends) - 1) * 1000))
        return
    cores = len(os.sched_getaffinity(0))
    print(f"{platform.python_version()}, {cores} cores, medians of {args.rounds} rounds\n")
    (_curve if args.curve else _three)(args)


if __name__ == "__main__":
    main()
