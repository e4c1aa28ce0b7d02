"""Breaks a study 20 times in each way and prints a table.

python -m tests.faults [--times 20] [--seed 0] [--only "driver -9"] [--jobs 2]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.faults.campaign import FAULTS, run


def one(name: str, times: int, seed: int) -> tuple[str, list[str]]:
    """A line of the table, and what did not hold."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="hpo-fault-", ignore_cleanup_errors=True) as folder:
        try:
            campaign = run(name, times, Path(folder), seed)
        except Exception as error:
            return f"| {name} | {times} | {seed} | - | - | {error!r} |", [repr(error)]
    took = time.monotonic() - started
    held = "all held" if not campaign.problems else f"{len(campaign.problems)} broken"
    row = f"| {name} | {times} | {seed} | {campaign.n_drivers} | {campaign.total} | {held} |"
    print(f"{row}  {took:.0f} s", flush=True)
    for problem in campaign.problems:
        print(f"    {problem[:2000]}", flush=True)
    return row, campaign.problems


def main() -> int:
    """Exit code 1 if an invariant broke."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=FAULTS, action="append")
    parser.add_argument("--jobs", type=int, default=2, help="studies broken side by side")
    args = parser.parse_args()
    names = args.only or list(FAULTS)
    with ThreadPoolExecutor(args.jobs) as pool:
        results = list(pool.map(lambda name: one(name, args.times, args.seed), names))
    print("\n| fault | times | seed | drivers | trials | invariants |\n|---|---|---|---|---|---|")
    print("\n".join(row for row, _ in results))
    return int(any(problems for _, problems in results))


if __name__ == "__main__":
    raise SystemExit(main())
