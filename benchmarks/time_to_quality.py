"""From the command to a good model: `hpo run` beside Ray Tune (OptunaSearch, ASHA) and Optuna.

    python benchmarks/time_to_quality.py target [--problem names] [--seeds 5] [--jobs 2]
    python benchmarks/time_to_quality.py run [--problem names] [--contestants hpo,optuna]
                                             [--seeds 5] [--cap 95]
    python benchmarks/time_to_quality.py table [--problem names]
    python benchmarks/time_to_quality.py picture
    python benchmarks/time_to_quality.py forget hpo,ray-stock,ray,optuna [--problem names]

Problems are in `quality/problems.py`: `digits` takes a second a training, `names` five.  The target
is what random search has after 60 full trainings (median over its seeds).  Each contestant starts
in a process of its own, with two cores, two trials at once, an empty SQLite file, and the same
function to train, `quality/training.py`; it is ended once a full training has the target, or by the
cap.  Seconds are counted from the start of its process, imports and all.  They take turns, seed by
seed, and what is on file is not made again.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.quality import results
from benchmarks.quality.problems import PROBLEMS, Problem
from benchmarks.quality.training import LOG, learn

ROOT = Path(__file__).resolve().parents[1]
SAMPLER = "auto"
CONTESTANTS = ("hpo", "ray-stock", "ray", "optuna")
_GRACE_S = 20
"""Seconds that a contestant has to end once it is told to."""


def command(contestant: str, problem: Problem, seed: int, folder: str) -> list[str]:
    """What is typed to start a contestant, which goes on until it is ended."""
    python = [sys.executable, "-m"]
    if contestant == "optuna":
        return [*python, "benchmarks.quality.by_optuna", problem.name, str(seed), folder]
    if contestant.startswith("ray"):
        kind = "stock" if contestant == "ray-stock" else "tuned"
        return [*python, "benchmarks.quality.by_ray", kind, problem.name, str(seed), folder]
    model = ROOT / "benchmarks" / "quality" / "by_hpo.py"
    return [
        *(*python, "hpo.cli", "run", "--model", f"{model}:{problem.name}"),
        *("--sampler", SAMPLER, "--pruner", "median", "--n-trials", "1000"),
        *("--epochs", str(problem.epochs), "--seed", str(seed)),
        *("--storage", f"sqlite:///{folder}/hpo.db", "--output", f"{folder}/runs"),
        *("--no-default-first", "--no-retrain", "--no-report", "--quiet"),
    ]


def race(contestant: str, problem: Problem, seed: int, target: float, cap_s: float) -> results.Race:
    """Starts a contestant, waits for the target or the cap, and ends it."""
    with tempfile.TemporaryDirectory(prefix="quality-") as folder:
        log = Path(folder) / "log.jsonl"
        paths = [str(ROOT), str(ROOT / "models"), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, LOG: str(log), "PYTHONPATH": os.pathsep.join(paths)}
        environment["PYTHONWARNINGS"] = "ignore"
        with (Path(folder) / "output").open("w+") as output:
            start = time.time()
            process = subprocess.Popen(
                command(contestant, problem, seed, folder),
                cwd=folder,
                env=environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
            try:
                while time.time() - start < cap_s:
                    if _reached(log, problem.epochs, target):
                        break
                    if process.poll() is not None:
                        output.seek(0)
                        raise SystemExit(f"{contestant} ended by itself:\n{output.read()[-3000:]}")
                    time.sleep(0.1)
            finally:
                _end(process)
        return results.race_of(_lines(log), problem.epochs, seed, target, start, cap_s)


def _lines(log: Path) -> list[list[Any]]:
    if not log.exists():
        return []
    whole, _, _ = log.read_text().rpartition("\n")
    return [json.loads(line) for line in whole.splitlines()]


def _reached(log: Path, n_epochs: int, target: float) -> bool:
    return any(epoch == n_epochs and value >= target for _, _, epoch, value in _lines(log))


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_GRACE_S)
    with contextlib.suppress(ProcessLookupError):  # what it has left
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def run(arguments: argparse.Namespace) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends the contestant too
    problem = PROBLEMS[arguments.problem]
    target = results.target(problem.name)
    print(f"{problem.name}: target {target:.4f}, cap {arguments.cap:g} s", flush=True)
    known = {name: results.races(problem.name, name) for name in arguments.contestants}
    for seed in range(arguments.seeds):
        at = seed % len(arguments.contestants)  # each is first in turn
        for name in arguments.contestants[at:] + arguments.contestants[:at]:
            if seed in known[name]:
                continue
            found = race(name, problem, seed, target, arguments.cap)
            results.append(problem.name, name, asdict(found))
            when = "not reached" if found.seconds is None else f"{found.seconds:.1f} s"
            print(
                f"{name} seed {seed}: {when}, {found.full} full, {found.stopped} stopped",
                flush=True,
            )


def _random_training(name: str, seed: int, number: int) -> dict[str, Any]:
    rng = random.Random(f"{seed} {number}")
    problem = PROBLEMS[name]
    params = problem.space.random(rng)
    began = time.process_time()
    accuracy = learn(problem, params, lambda accuracy: None)
    spent = round(time.process_time() - began, 2)
    return {"seed": seed, "number": number, "accuracy": accuracy, "cpu_s": spent, **params}


def target(arguments: argparse.Namespace) -> None:
    name = arguments.problem
    done = {(row["seed"], row["number"]) for row in results.rows(name, "random")}
    wanted = [(s, n) for s in range(arguments.seeds) for n in range(results.N_RANDOM)]
    with ProcessPoolExecutor(arguments.jobs) as pool:
        due = [pool.submit(_random_training, name, *one) for one in wanted if one not in done]
        for future in as_completed(due):
            results.append(name, "random", future.result())
    bests = results.random_bests(name)
    shown = ", ".join(f"{bests[seed]:.4f}" for seed in sorted(bests))
    print(f"best of {results.N_RANDOM} random full trainings, by seed: {shown}")
    print(f"target: {results.target(name):.4f}")


def table(arguments: argparse.Namespace) -> None:
    from benchmarks.quality import summary

    print(summary.text(arguments.problem, arguments.contestants))


def picture(arguments: argparse.Namespace) -> None:
    from benchmarks.quality import figure

    print(figure.draw(arguments.contestants))


def forget(arguments: argparse.Namespace) -> None:
    for name in arguments.contestants:
        results.path_of(arguments.problem, name).unlink(missing_ok=True)


def _contestants(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in CONTESTANTS]:
        choices = ", ".join(CONTESTANTS)
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is not known: choose from {choices}")
    return names


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    for function in (target, run, table, picture):
        sub = commands.add_parser(function.__name__)
        sub.set_defaults(command=function)
        if function is not picture:
            sub.add_argument("--problem", choices=PROBLEMS, default="digits")
        if function is not target:
            sub.add_argument("--contestants", type=_contestants, default=list(CONTESTANTS))
        if function in (target, run):
            sub.add_argument("--seeds", type=int, default=5)
        if function is target:
            sub.add_argument("--jobs", type=int, default=2)
        if function is run:
            sub.add_argument("--cap", type=float, default=95.0, help="seconds")
    sub = commands.add_parser("forget")
    sub.set_defaults(command=forget)
    sub.add_argument("contestants", type=_contestants)
    sub.add_argument("--problem", choices=PROBLEMS, default="digits")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    given = parse()
    given.command(given)
