"""Which search strategy was worth it on this machine: grid, random, tpe, gp, skopt; 5 seeds each.

    python benchmarks/strategies.py                # runs what is missing, then prints the summary
    python benchmarks/strategies.py --record       # and copies the reports into docs/strategies

Three problems on real data: cnn on digits (24 trials a study), rnn on surnames and vae on digits
(16).  Over all of them the scores are compared in units of their problem's standard deviation.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from hpo.report.statistics import differences, friedman, mean_ranks, sentence

PROBLEMS: dict[str, list[str]] = {
    "cnn": ["--model", "cnn", "--epochs", "5", "--n-trials", "24"],
    "rnn": ["--model", "rnn", "--epochs", "4", "--n-trials", "16"],
    "vae": ["--model", "vae", "--epochs", "4", "--n-trials", "16"],
}
N_SEEDS = 5
DOCS = Path(__file__).resolve().parents[1] / "docs" / "strategies"


def compare(problem: str, folder: Path) -> dict[str, Any]:
    """Runs what one comparison lacks; its facts."""
    command = [sys.executable, "-m", "hpo.cli", "compare", *PROBLEMS[problem]]
    command += ["--seeds", str(N_SEEDS), "--name", problem]
    command += ["--storage", f"sqlite:///{folder}/hpo.db", "--output", str(folder), "-f", "json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return dict(json.loads(done.stdout))


def scores(facts: dict[str, Any], of: str) -> pd.DataFrame:
    """Scores by seed and strategy, "higher is better", in the problem's standard deviations."""
    sign = 1 if facts["direction"] == "maximize" else -1
    table = pd.DataFrame({name: one[of] for name, one in facts["strategies"].items()}) * sign
    return (table - table.to_numpy().mean()) / table.to_numpy().std()


def over_all(every: dict[str, dict[str, Any]]) -> str:
    """The summary over all problems: a block is a problem and a seed."""
    lines = []
    for of, title in (
        ("final", "best of the search"),
        ("area", "mean best-so-far"),
        ("test", "test"),
    ):
        blocks = pd.concat([scores(facts, of) for facts in every.values()], ignore_index=True)
        blocks = blocks[sorted(blocks)]
        ranks = mean_ranks(blocks)
        shown = ", ".join(f"{name} {rank:.2f}" for name, rank in ranks.items())
        lines += [
            f"### {title.capitalize()}, over {len(blocks)} blocks (problem and seed)",
            "",
            f"Mean ranks: {shown}. Friedman: p = {friedman(blocks):.2g}. Differences are in "
            "standard deviations of the problem:",
            "",
        ]
        best = str(ranks.index[0])
        chosen = [d for d in differences(blocks) if best in (d.a, d.b) or d.significant]
        lines += [f"- {sentence(d)}" for d in chosen] + [""]
    return "\n".join(lines)


def table(every: dict[str, dict[str, Any]]) -> str:
    """A row a problem and strategy."""
    rows = [
        "| problem | strategy | mean rank | best (validation) | test | "
        "share of random's whole time to random's best |"
    ]
    rows.append("|---|---|---|---|---|---|")
    for problem, facts in every.items():
        reached = {row["strategy"]: row for row in facts["reached"]}
        for name, one in facts["strategies"].items():
            soon = f"{reached[name]['share']:.0%}, {reached[name]['reached']:.0%} of seeds"
            rows.append(
                f"| {problem} ({facts['metric']}) | {name} | {one['mean_rank']:.1f} | "
                f"{_spread(one['final'])} | {_spread(one['test'])} | {soon} |"
            )
    return "\n".join(rows)


def _spread(values: list[float]) -> str:
    series = pd.Series(values)
    return f"{series.mean():.5g} ± {series.std():.2g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", choices=PROBLEMS, action="append")
    parser.add_argument("--folder", type=Path, default=Path("strategies-runs"))
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    folder = args.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    every = {name: compare(name, folder) for name in args.only or PROBLEMS}
    text = f"{table(every)}\n\n{over_all(every)}"
    print(text)
    if args.record:
        for name in every:
            target = DOCS / name
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir(parents=True)
            for file in sorted((folder / name).iterdir()):
                if file.suffix in (".md", ".png", ".json"):
                    shutil.copy(file, target / file.name)
        reports = ", ".join(f"[{name}]({name}/report.md)" for name in every)
        (DOCS / "README.md").write_text(
            "# Search strategies compared\n\nMade by `python benchmarks/strategies.py --record`; "
            f"{N_SEEDS} seeds. Reports: {reports}.\n\n{text}\n",
            encoding="utf-8",
        )


if __name__ == "__main__":
    main()
