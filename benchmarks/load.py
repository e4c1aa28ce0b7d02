"""Many drivers on one database: nothing lost, nothing double, and how long a `tell` takes.

    python benchmarks/load.py postgres [--drivers 16] [--trials 200]
    python benchmarks/load.py sqlite [--drivers 8] [--trials 50]
    python benchmarks/load.py looking [--trials 10000]

The first two drive the ledger without Ray, for it is the database that is under load: PostgreSQL
drivers share one study (`--join`), SQLite's have one each in the same file.  The third fills a
study and times the commands that look at it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

from hpo import Choice, Float, Int, Space
from hpo.search import make_pruner, make_sampler
from hpo.storage.creation import ensure_study
from hpo.storage.lease import Lease
from hpo.storage.ledger import Ledger, StudyMeta
from hpo.storage.sql import open_storage

SPACE = Space(a=Float(1e-4, 1.0, log=True), b=Float(0, 1), c=Int(1, 64), d=Choice("x", "y"))
META = StudyMeta("load", "score", "maximize", SPACE, "none", 1, 0)


def drive(url: str, name: str, n: int, shared: bool, sampler: str) -> list[float]:
    """One driver: n trivial trials; seconds of each `tell`."""
    storage = open_storage(url, create=True)
    study_id = ensure_study(storage, name, META)
    times = []
    with Lease(storage, study_id, name, shared=shared) as lease:
        offset = int(lease.run, 16) % 2**31
        ledger = Ledger.create_or_open(
            storage,
            name,
            META,
            lambda done: make_sampler(sampler, SPACE, 0, n_trials_done=done + offset),
            make_pruner("none", epochs=1),
            lease=lease,
        )
        for _ in range(n):
            asked = ledger.ask(origin={"seed": 0})
            assert asked is not None
            ledger.report(asked.number, 1, asked.params["b"], prune=False)
            started = time.perf_counter()
            assert ledger.complete(asked.number, asked.params["b"], {"run": {"epochs": 1}})
            times.append(time.perf_counter() - started)
    return times


def load(kind: str, n_drivers: int, n_trials: int, sampler: str) -> dict[str, Any]:
    """Runs the drivers as processes, checks every row, returns the figures."""
    import numpy as np

    with tempfile.TemporaryDirectory() as folder:
        server: Any = None
        if kind == "postgres":
            sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
            from tests.postgres import PostgresServer

            server = PostgresServer(max_connections="200")
        try:
            url = server.create("load") if server else f"sqlite:///{folder}/load.db"
            names = ["load" if server else f"load-{i}" for i in range(n_drivers)]
            command = [sys.executable, __file__, "one", "--trials", str(n_trials)]
            command += ["--sampler", sampler, *(["--shared"] if server else [])]
            started = time.perf_counter()
            processes = [
                subprocess.Popen(
                    [*command, "--name", name],
                    env={**os.environ, "HPO_STORAGE": url},
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
                for name in names
            ]
            outcomes = [process.communicate() for process in processes]
            took = time.perf_counter() - started
            errors = [e for p, (_, e) in zip(processes, outcomes, strict=True) if p.returncode]
            if errors:
                raise SystemExit(f"{len(errors)} drivers failed, the first:\n{errors[0][-2000:]}")
            tells = np.array([t for out, _ in outcomes for t in json.loads(out)])
            states: Counter[str] = Counter()
            n_distinct = 0
            for name in set(names):
                trials = Ledger.open(open_storage(url, create=False), name).trials()
                assert [t.number for t in trials] == list(range(len(trials)))
                states.update(t.state.name for t in trials)
                n_distinct += len({SPACE.key(t.params) for t in trials})
        finally:
            if server:
                server.close()
    return {
        "drivers": n_drivers,
        "states": dict(states),
        "distinct": n_distinct,
        "seconds": round(took, 1),
        "tell p50 ms": round(float(np.quantile(tells, 0.5)) * 1000, 1),
        "tell p99 ms": round(float(np.quantile(tells, 0.99)) * 1000, 1),
        "tell max ms": round(float(tells.max()) * 1000, 1),
    }


def looking(n_trials: int) -> dict[str, Any]:
    """Seconds of the commands that look, on one study of so many trials, fresh process each."""
    import random

    from optuna.trial import FrozenTrial, TrialState

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        url = f"sqlite:///{folder}/hpo.db"
        storage = open_storage(url, create=True)
        study_id = ensure_study(storage, "big", META)
        rng, distributions = random.Random(0), SPACE.distributions()
        from datetime import datetime

        for i in range(n_trials):
            params = SPACE.random(rng)
            storage.create_new_trial(
                study_id,
                FrozenTrial(
                    number=i,
                    trial_id=-1,
                    state=TrialState.COMPLETE,
                    value=params["b"],
                    datetime_start=datetime.now(),
                    datetime_complete=datetime.now(),
                    params=params,
                    distributions={key: distributions[key] for key in params},
                    user_attrs={"run": {"epochs": 5, "duration_s": 1.0, "worker": "w"}},
                    system_attrs={},
                    intermediate_values={step: params["b"] for step in range(1, 6)},
                ),
            )
        figures: dict[str, Any] = {"trials": n_trials}
        hpo = [sys.executable, "-m", "hpo.cli"]
        for command in (
            ["status", "big"],
            ["trials", "big", "-f", "json"],
            ["best", "big"],
            ["studies"],
        ):
            started = time.perf_counter()
            subprocess.run(
                [*hpo, *command], cwd=folder, check=True, stdout=subprocess.DEVNULL, env=_plain()
            )
            figures[f"hpo {command[0]} s"] = round(time.perf_counter() - started, 2)
        figures |= _dashboard(url, study_id, folder)
    return figures


def _dashboard(url: str, study_id: int, folder: Path) -> dict[str, float]:
    from hpo.web.dashboard import make_dashboard

    server = make_dashboard(url, "127.0.0.1", 0, folder)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_port}"
    figures = {}
    for name, path in (
        ("dashboard list s", "/api/studies"),
        ("dashboard study s", f"/api/studies/{study_id}?after=0"),
    ):
        started = time.perf_counter()
        with urllib.request.urlopen(base + path, timeout=60) as answer:
            answer.read()
        figures[name] = round(time.perf_counter() - started, 2)
    server.shutdown()
    return figures


def _plain() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if k not in ("HPO_STORAGE", "OPTUNA_STORAGE")}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", choices=("postgres", "sqlite", "looking", "one"))
    parser.add_argument("--drivers", type=int)
    parser.add_argument("--trials", type=int)
    parser.add_argument("--sampler", default="random")
    parser.add_argument("--name", help=argparse.SUPPRESS)
    parser.add_argument("--shared", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.what == "one":
        url = os.environ["HPO_STORAGE"]
        print(json.dumps(drive(url, args.name, args.trials, args.shared, args.sampler)))
    elif args.what == "looking":
        print(json.dumps(looking(args.trials or 10_000), indent=1))
    else:
        drivers, trials = (16, 200) if args.what == "postgres" else (8, 50)
        figures = load(args.what, args.drivers or drivers, args.trials or trials, args.sampler)
        print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
