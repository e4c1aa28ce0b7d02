"""What reports cost: seconds, memory and bytes, each command in a fresh process.

    python benchmarks/reports.py

Studies of 100, 1,000 and 10,000 trials of the CNN's space with 8 epochs each, and a comparison of
5 strategies x 5 seeds x 30 trials.  The trials are made up, not trained: it is the report that is
measured.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from hpo.registry import find_model, load_model
from hpo.space import Space
from hpo.storage.meta import META, StudyMeta
from hpo.storage.sql import open_storage

EPOCHS = 8
STRATEGIES = ("grid", "random", "tpe", "gp", "skopt")


def fill(storage: Any, name: str, n_trials: int, sampler: str, seed: int) -> None:
    """A study as `hpo run` leaves it: a fifth pruned, a fiftieth failed, two workers."""
    space = load_model(find_model("cnn")).space
    study = optuna.create_study(storage=storage, study_name=name, direction="maximize")
    settings = {"sampler": sampler, "fixed": {}}
    meta = StudyMeta("cnn", "accuracy", "maximize", space, "digits", EPOCHS, seed, settings)
    study.set_user_attr(META, meta.to_json())
    rng = random.Random(f"{sampler}{seed}")
    start = datetime(2026, 1, 1)
    study.add_trials([_trial(space, rng, start, k) for k in range(n_trials)])


def _trial(space: Space, rng: random.Random, start: datetime, k: int) -> FrozenTrial:
    params = space.random(rng)
    distributions = space.distributions()
    state = TrialState.COMPLETE
    if k and rng.random() < 0.2:
        state = TrialState.PRUNED
    elif k and rng.random() < 0.02:
        state = TrialState.FAIL
    n = {"COMPLETE": EPOCHS, "PRUNED": 2, "FAIL": 0}[state.name]
    level = 0.98 - 0.05 * abs(math.log10(params["lr"] / 5e-3)) + rng.gauss(0, 0.004)
    curve = {e: level - 0.3 / e + rng.gauss(0, 0.002) for e in range(1, n + 1)}
    began = start + timedelta(seconds=4.0 * (k // 2))
    attrs: dict[str, Any] = {
        "run": {
            "proposed_s": 0.05,
            "duration_s": 3.9 * max(n, 1) / EPOCHS,
            "worker": f"host:{k % 2}",
            "device": "cpu",
            "epochs": n,
        },
        "origin": {"driver": "one", "versions": {"torch": "2.14.1"}},
    }
    if state == TrialState.FAIL:
        attrs |= {"fail_kind": "error", "fail_reason": f"diverged: loss is nan ({k % 3})"}
    return FrozenTrial(
        number=k,
        trial_id=k,
        state=state,
        value=max(curve.values()) if state == TrialState.COMPLETE else None,
        datetime_start=began,
        datetime_complete=began + timedelta(seconds=3.95),
        params=params,
        distributions={name: distributions[name] for name in params},
        user_attrs=attrs,
        system_attrs={},
        intermediate_values=curve,
    )


_COMMAND = """
import sys
from hpo.cli import main
try:
    main()
finally:
    print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
"""Prints its own peak memory: what the parent is told includes the parent's own."""


def timed(*arguments: str) -> dict[str, float]:
    """Seconds and peak memory (MiB) of one `hpo` command in a fresh process."""
    started = time.perf_counter()
    command = [sys.executable, "-c", _COMMAND, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "MiB": int(done.stdout.split()[-2]) / 1024}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--trials", type=int, nargs="*", default=[100, 1000, 10_000])
    args = parser.parse_args()
    rows: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/hpo.db"
        storage = open_storage(url, create=True)
        for n in args.trials:
            fill(storage, f"s{n}", n, "tpe", 0)
            page = Path(folder) / f"s{n}.html"
            where = ("--storage", url, "--to", str(page))
            row = timed("report", f"s{n}", *where)
            rows[f"report, {n} trials"] = row | {"MB": page.stat().st_size / 1e6}
        names = []
        for strategy in STRATEGIES:
            for seed in range(5):
                names.append(f"{strategy}-{seed}")
                fill(storage, names[-1], 30, strategy, seed)
        where = ("--storage", url, "--output", f"{folder}/out", "--name", "all")
        row = timed("compare", "--studies", ",".join(names), *where)
        size = (Path(folder) / "out" / "all" / "index.html").stat().st_size / 1e6
        rows["compare, 5 x 5 x 30"] = row | {"MB": size}
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
