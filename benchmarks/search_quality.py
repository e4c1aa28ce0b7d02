"""How good the samplers' proposals are, beside other libraries', on problems that cost nothing.

    python benchmarks/search_quality.py run --peers gp,tpe [--problems all|failing|NAME,...]
                                            [--seeds 5] [--parallel 1,8] [--trials 100] [--jobs 1]
    python benchmarks/search_quality.py table [--peers ...] [--parallel 1] [--against gp]
    python benchmarks/search_quality.py picture [--peers ...]
    python benchmarks/search_quality.py cost [--peers gp] [--trials 1000]
    python benchmarks/search_quality.py forget PEER

Runs are kept in benchmarks/search_quality/, a file a peer: `run` makes only those that are missing,
and goes on where it was interrupted.  The problems need `pip install 'hpo-torch[benchmarks]'`,
other libraries their own packages, each in a virtual environment if need be: `run` there,
`table` and `picture` here.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import pairwise
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ["OMP_NUM_THREADS"] = "1"  # Before numpy and torch: a run gets one core.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

from benchmarks.search import results
from benchmarks.search.contest import Run, simulate
from benchmarks.search.failing import FAILING
from benchmarks.search.peers import PEERS
from benchmarks.search.problems import GUARDS, NAMES, problem


def one_run(peer: str, name: str, seed: int, parallel: int, n_trials: int) -> Run:
    """A run from scratch: the same arguments give the same losses."""
    warnings.simplefilter("ignore")
    task = problem(name)
    asker = PEERS[peer](task.space, seed, n_trials, parallel)
    return simulate(asker, task, seed, n_trials, parallel)


def missing_runs(arguments: argparse.Namespace) -> list[tuple[str, str, int, int, int]]:
    """Runs that are asked for and not stored, whole rounds of a seed first."""
    done = {peer: {record.key for record in results.load(peer)} for peer in arguments.peers}
    return [
        (peer, name, seed, parallel, arguments.trials)
        for peer in arguments.peers
        for parallel in arguments.parallel
        for seed in range(arguments.seeds)
        for name in arguments.problems
        if (name, seed, parallel) not in done[peer]
    ]


def run(arguments: argparse.Namespace) -> None:
    todo = missing_runs(arguments)
    print(f"{len(todo)} runs to make", flush=True)

    def keep(job: tuple[str, str, int, int, int], result: Run) -> None:
        peer, name, seed, parallel, _ = job
        results.append(peer, name, seed, parallel, result)
        best, spent = min(result.losses), result.ask_s[-1]
        print(f"{peer} {name} seed {seed} x{parallel}: {best:.6g}, {spent:.1f} CPU s", flush=True)

    if arguments.jobs == 1:
        for job in todo:
            keep(job, one_run(*job))
        return
    with ProcessPoolExecutor(arguments.jobs) as pool:
        futures = {pool.submit(one_run, *job): job for job in todo}
        for future in as_completed(futures):
            keep(futures[future], future.result())


def forget(arguments: argparse.Namespace) -> None:
    for peer in arguments.peers:
        results.path(peer).unlink(missing_ok=True)


def table(arguments: argparse.Namespace) -> None:
    from benchmarks.search import summary

    print(summary.text(arguments))


def picture(arguments: argparse.Namespace) -> None:
    from benchmarks.search import figure

    print(figure.draw(arguments))


def cost(arguments: argparse.Namespace) -> None:
    """What a proposal costs after so many trials on a problem of ten parameters."""
    n = arguments.trials
    for peer in arguments.peers:
        spent = one_run(peer, "f21_d10", 0, 1, n).ask_s
        each = [after - before for before, after in pairwise(spent)]
        for at in (at for at in (30, 60, 100, 250, 500, 1000) if at <= n):
            print(f"{peer} after {at}: {1000 * median(each[at - 21 : at - 1]):.1f} CPU ms")


def _peers(text: str) -> list[str]:
    return _known("peer", text, PEERS)


def _problems(text: str) -> list[str]:
    groups = {
        "all": list(NAMES),
        "tuning": [name for name in NAMES if name not in GUARDS],
        "guard": [name for name in NAMES if name in GUARDS],
        "failing": list(FAILING),
    }
    return groups.get(text) or _known("problem", text, (*NAMES, *FAILING))


def _known(what: str, text: str, known: object) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in known]:  # type: ignore[operator]
        choices = ", ".join(known)  # type: ignore[call-overload]
        raise argparse.ArgumentTypeError(
            f"{what} {unknown[0]!r} is not known: choose from {choices}"
        )
    return names


def _counts(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    for command in (run, table, picture):
        sub = commands.add_parser(command.__name__)
        sub.set_defaults(command=command)
        sub.add_argument("--peers", type=_peers, required=command is run, default=[])
        sub.add_argument("--problems", type=_problems, default=list(NAMES))
        sub.add_argument("--seeds", type=int, default=5)
        sub.add_argument("--parallel", type=_counts, default=[1, 8] if command is run else [1])
        if command is run:
            sub.add_argument("--trials", type=int, default=results.N_TRIALS)
            sub.add_argument("--jobs", type=int, default=1)
        if command is table:
            sub.add_argument("--against", default="gp", help="peer that differences are taken to")
    sub = commands.add_parser("cost")
    sub.set_defaults(command=cost)
    sub.add_argument("--peers", type=_peers, default=["gp"])
    sub.add_argument("--trials", type=int, default=1000)
    sub = commands.add_parser("forget")
    sub.set_defaults(command=forget)
    sub.add_argument("peers", type=_peers)
    return parser.parse_args(arguments)


def main() -> None:
    arguments = parse()
    try:
        arguments.command(arguments)
    except ModuleNotFoundError as error:
        sys.exit(f"{error}: install the package that has {error.name!r} into {sys.prefix}")


if __name__ == "__main__":
    main()
