"""The page of a comparison, and its files: HTML, Markdown with PNGs, tables, JSON."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd

from hpo.report import plots
from hpo.report.comparison import BASELINE, Comparison
from hpo.report.page import Page, Section, html, json_text, markdown, write_pictures, write_whole
from hpo.report.statistics import (
    least_seeds,
    no_spread,
    number,
    paired_interval,
    sentence,
)

PLUS_MINUS = (
    "± after a mean is the standard deviation over seeds, after a difference half of its 95 % "
    "interval."
)


def conclusions(c: Comparison) -> list[str]:
    """The comparison in plain sentences, the most important first."""
    found = c.differences
    best = c.strategies[0]
    lines = [sentence(d) for d in found if best in (d.a, d.b)]
    clear = [d for d in found if d.significant]
    if not clear:
        lines.insert(0, f"No strategy is ahead of another beyond noise over {_seeds(c)}.")
        if len(c.finals) < (least := least_seeds(len(found))):
            lines.insert(
                1,
                f"Nor could one be: with {_comparisons(len(found))} the test takes {least} seeds "
                "at least. The intervals, each for itself, tell more.",
            )
    else:
        # The rest of what is certain.
        lines += [sentence(d) for d in clear if best not in (d.a, d.b)]
    n, n_default = len(c.facts["studies"]), c.facts["n_best_is_default"]
    if n_default:
        which = "every study" if n_default == n else f"{n_default} of {n} studies"
        lines.append(f"In {which} nothing better than the default configuration was found.")
    return lines


def _comparisons(n: int) -> str:
    return "one comparison" if n == 1 else f"{n} comparisons"


def _seeds(c: Comparison) -> str:
    n = len(c.finals)
    return "one seed" if n == 1 else f"{n} seeds"


def comparison_page(c: Comparison, name: str) -> Page:
    """The report as sections."""
    facts = c.facts
    better = "higher is better" if c.sign > 0 else "lower is better"
    summary = [
        f"{facts['model']} on {facts['data']}: {', '.join(c.strategies)}; {facts['n_trials']} "
        f"trials of up to {facts['epochs']} epochs each, {_seeds(c)}, {c.n_workers} at once. "
        f"Searched to {c.direction} {c.metric} on the validation split ({better}).",
        *conclusions(c)[:1],
    ]
    sections = [
        Section("Conclusion", [*conclusions(c), PLUS_MINUS], table=plots.table_of(c)),
        Section(
            "Best so far by trials",
            ["Mean over seeds; the band is a 95 % bootstrap interval of that mean."],
            plots.best_by_trials(c),
            _alt_curves(c, "trials"),
            table=_every_tenth(c),
            folded=True,
        ),
        Section(
            "Best so far by time",
            [
                "Seconds of proposing and training, each trial starting as soon as one of "
                f"{c.n_workers} workers is free; trainings taken from the cache count with the "
                "time that they took. Pauses, worker start-up and restarts are left out."
            ],
            plots.best_by_time(c),
            _alt_curves(c, "time"),
        ),
        Section(
            "Final best",
            _final_lines(c),
            plots.finals(c),
            "Boxes with a point a seed, by strategy, the best mean rank on the left.",
            table=_finals_table(c),
            folded=True,
        ),
        Section(
            "Are the differences real",
            _test_lines(c),
            plots.critical_difference(c),
            "Mean ranks on a line, 1 the best; grey bars join strategies that are not told apart.",
            table=_pairs_table(c),
        ),
    ]
    reached = c.reached()
    if len(reached):
        sections.append(_reached_section(c, reached))
    sections += [
        Section(
            "Where the time went",
            [
                "Real time of the workers from a study's first trial to its last: what was "
                "answered by the cache is not in it. Waiting includes starting the workers."
            ],
            plots.time_shares(c),
            "A bar a strategy: shares of training, proposing and waiting.",
            table=c.shares.loc[c.strategies].rename_axis("strategy").reset_index().round(1),
            folded=True,
        ),
        Section("What was saved", _saved_lines(c), table=_saved_table(c)),
        _how_section(c, name),
    ]
    what = "studies" if set(facts["studies"]) == set(c.strategies) else "search strategies"
    return Page(f"{name}: {what} compared", summary, sections)


def _alt_curves(c: Comparison, what: str) -> str:
    means = c.sign * c.finals.mean()
    ends = ", ".join(f"{name} {means[name]:.4g}" for name in c.strategies)
    return f"A line a strategy: mean best {c.metric} so far against {what}. At the end: {ends}."


def _every_tenth(c: Comparison) -> pd.DataFrame:
    step = max(1, len(c.curves) // 10)
    rows = c.curves.iloc[[*range(0, len(c.curves) - 1, step), -1]]
    means = c.sign * rows.T.groupby(level="strategy").mean().T[c.strategies]
    return means.reset_index()


def _final_lines(c: Comparison) -> list[str]:
    lines = ["Validation: the value that the search chose by, and so partly luck."]
    if len(c.tests):
        lines.append(
            "Test: each study's best, retrained on training + validation data with the study's "
            "seed and tested once."
        )
    if len(c.default_tests):
        value = plots.spread(c.sign * c.default_tests)
        lines.append(f"The default configuration, retrained and tested the same way: {value}.")
        if len(c.default_tests) > 1:
            best = c.strategies[0]
            gaps = (c.tests[best] - c.default_tests).to_numpy()
            gap, half = paired_interval(gaps)
            word = "ahead of" if gap > 0 else "behind"
            noise = "" if abs(gap) > half else ", which is within noise"
            if not gaps.any():
                lines.append(f"On the test split {best} is the same as the default.")
                return lines
            if no_spread(gap, half):
                lines.append(
                    f"On the test split {best} is {word} the default by {number(abs(gap))}, by as "
                    "much with every seed: no interval."
                )
                return lines
            lines.append(
                f"On the test split {best} is {word} the default by {number(abs(gap))} ± "
                f"{number(half)} (95 %, paired over {_seeds(c)}){noise}."
            )
    return lines


def _finals_table(c: Comparison) -> pd.DataFrame:
    table = (c.sign * c.finals[c.strategies]).rename_axis("seed").reset_index()
    if len(c.tests):
        tests = (c.sign * c.tests[c.strategies]).add_suffix(" (test)")
        table = table.join(tests, on="seed")
    return table


def _test_lines(c: Comparison) -> list[str]:
    n = len(c.differences)
    lines = []
    if not math.isnan(c.friedman):
        verdict = "they are not all alike" if c.friedman < 0.05 else "all alike cannot be excluded"
        lines.append(f"Friedman's test over {_seeds(c)}: p = {c.friedman:.2g}: {verdict}.")
    lines.append(
        f"Pairs by Wilcoxon's signed-rank test over the same seeds, p after Holm's correction for "
        f"{n} comparisons; gap and its 95 % interval by Student's t, each for itself; effect: "
        "rank-biserial correlation."
    )
    return lines


def _pairs_table(c: Comparison) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "pair": f"{d.a} - {d.b}",
                "gap": d.gap,
                "± (95 %)": d.half,
                "p": d.p,
                "p (Holm)": d.p_holm,
                "effect": d.effect,
                "verdict": "beyond noise" if d.significant else "within noise",
                "seeds it would take": d.n_needed
                or ("-" if d.significant or not d.effect else "over 500"),
            }
            for d in c.differences
        ]
    )


def _reached_section(c: Comparison, reached: pd.DataFrame) -> Section:
    lines = [
        f"Until a strategy has what {BASELINE} had with its whole budget and the same seed; "
        "medians over seeds. Where a strategy did not get there its whole budget counts, which is "
        "too little.",
    ]
    for row in reached.to_dict("records"):
        if row["reached"] >= 0.5:
            itself = " itself" if row["strategy"] == BASELINE else ""
            lines.append(
                f"{row['strategy']}{itself}: {row['trials']:.0f} of {len(c.curves)} trials, "
                f"{row['share']:.0%} of {BASELINE}'s whole time."
            )
    shown = reached.rename(
        columns={
            "reached": "seeds that got there",
            "trials": "trials (median)",
            "seconds": "seconds (median)",
            "share": f"share of {BASELINE}'s time",
        }
    )
    for column in ("seeds that got there", f"share of {BASELINE}'s time"):
        shown[column] = shown[column].map("{:.0%}".format)
    return Section(f"How soon as good as {BASELINE}", lines, table=shown.round(1))


def _saved_lines(c: Comparison) -> list[str]:
    saved = c.saved.sum()
    lines = [
        f"Pruning ended {saved['pruned']:.0f} of {saved['trials']:.0f} trials early and saved "
        f"{saved['pruned_epochs_saved']:.0f} epochs, about {saved['pruned_s_saved']:.0f} s of "
        "training.",
    ]
    if saved["cached"]:
        lines.append(
            f"{saved['cached']:.0f} trials had been trained by another strategy with the same "
            f"seed and were not trained again: {saved['cached_s']:.0f} s of training. The curves "
            "by time count it as if it had been spent; the workers' real time does not."
        )
    return lines


def _saved_table(c: Comparison) -> pd.DataFrame:
    table = c.saved.loc[c.strategies].rename_axis("strategy").reset_index()
    counts = [str(name) for name in table if name != "strategy"]
    table[counts] = table[counts].round().astype(int)
    return table.rename(
        columns={
            "pruned_epochs_saved": "epochs saved",
            "pruned_s_saved": "seconds saved",
            "cached_s": "seconds cached",
        }
    )


def _how_section(c: Comparison, name: str) -> Section:
    facts = c.facts
    lines = [
        "All strategies: the same data split, epochs, training settings and, for each seed, the "
        "same training seed; the sampler has that seed too. Budgets count ended trials, pruned "
        "ones and those that failed by themselves included; what was interrupted or lost was "
        f"tried again and does not count ({facts['n_cut_off']} such).",
        *c.notices,
    ]
    if "grid" in c.strategies:
        lines.append("A grid's points are a part of the space that the others search.")
    studies = pd.DataFrame(
        [{"study": study, "strategy": k, "seed": s} for study, (k, s) in facts["studies"].items()]
    )
    return Section("How it was compared", lines, table=studies, folded=True)


def facts_of(c: Comparison, name: str) -> dict[str, Any]:
    """The comparison as plain data; `-f json` prints exactly this."""
    from dataclasses import asdict

    order = c.strategies
    return {
        "name": name,
        **c.facts,
        "n_workers": c.n_workers,
        "conclusions": conclusions(c),
        "friedman_p": c.friedman,
        "strategies": {
            k: {
                "mean_rank": float(c.ranks[k]),
                "final": (c.sign * c.finals[k]).tolist(),
                "area": (c.sign * c.area()[k]).tolist(),
                "test": (c.sign * c.tests[k]).tolist() if len(c.tests) else None,
                "seconds": c.shares.loc[k].to_dict(),
                "saved": c.saved.loc[k].to_dict(),
            }
            for k in order
        },
        "default_test": (c.sign * c.default_tests).tolist() or None,
        "differences": [{**asdict(d), "significant": d.significant} for d in c.differences],
        "reached": c.reached().to_dict("records"),
        "notices": c.notices,
    }


def write_comparison(c: Comparison, name: str, folder: Path) -> tuple[list[Path], str | None]:
    """Writes index.html, report.md and its PNGs, trials.csv, trials.parquet, report.json.

    Returns:
        The files, the page first; why there are no PNGs, or None.
    """
    folder.mkdir(parents=True, exist_ok=True)
    page = comparison_page(c, name)
    write_whole(folder / "index.html", html(page))
    pictures, problem = write_pictures(page, folder)
    write_whole(folder / "report.md", markdown(page, pictures))
    write_whole(folder / "report.json", json_text(facts_of(c, name)))
    # Parameters as in Optuna's DataFrame.
    columns = [str(name) for name in c.trials if str(name).startswith("param_")]
    names = {name: f"params_{name.removeprefix('param_')}" for name in columns}
    trials = c.trials.rename(columns=names)
    trials.to_csv(folder / "trials.csv", index=False)
    # Parameters of mixed types (choices) have no column type: as text.
    mixed = trials.copy()
    for column in mixed.select_dtypes("object"):
        mixed[column] = mixed[column].map(lambda v: None if v is None or v != v else str(v))
    mixed.to_parquet(folder / "trials.parquet", index=False)
    written = ["index.html", "report.md", "report.json", "trials.csv", "trials.parquet"]
    return [folder / file for file in [*written, *pictures.values()]], problem
