"""Comparisons of studies in a storage: budgets, seeds, directions, what is refused, the files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hpo import Choice, Float, Int, Space, SpecError
from hpo.errors import HpoError
from hpo.report.comparison import Comparison, compare
from hpo.report.comparison_page import comparison_page, conclusions, write_comparison
from hpo.report.contestants import Contestant
from hpo.report.frame import most_at_once, saved_by_pruning, scheduled, spent, trials_frame
from hpo.report.page import Page, Section, html, markdown
from tests.report.studies import EVIL, make


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/hpo.db"


def contest(url: str, levels: dict[str, float], n_seeds: int = 2, **how: object) -> Comparison:
    contestants = [
        Contestant(name, seed, make(url, f"{name}-{seed}", seed=seed, level=level, **how))  # type: ignore[arg-type]
        for name, level in levels.items()
        for seed in range(n_seeds)
    ]
    return compare(contestants)


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_the_better_strategy_comes_first_in_both_directions(url: str, direction: str) -> None:
    better, worse = (0.9, 0.7) if direction == "maximize" else (-0.7, -0.9)
    # `make` turns the level round for a loss: 0.7 is a smaller loss than 0.9.
    c = contest(url, {"worse": worse, "better": better}, 3, direction=direction)
    assert c.strategies == ["better", "worse"]
    assert c.ranks.to_dict() == {"better": 1.0, "worse": 2.0}
    frames = c.trials[c.trials["strategy"] == "better"].groupby("seed")["value"]
    best = frames.max() if direction == "maximize" else frames.min()
    assert (c.sign * c.finals["better"]).tolist() == pytest.approx(best.tolist())
    (d,) = c.differences
    assert (d.a, d.b) == ("better", "worse") and d.gap == pytest.approx(0.2, abs=0.05)


def test_the_best_so_far_is_that_of_the_trials_in_their_order(url: str) -> None:
    c = contest(url, {"a": 0.9, "b": 0.9}, 1)
    values = c.trials[c.trials["strategy"] == "a"].sort_values("index")["value"]
    assert c.curves[("a", 0)].tolist() == pytest.approx(np.maximum.accumulate(values).tolist())


def test_pruned_and_failed_trials_use_budget_and_lost_ones_do_not(url: str) -> None:
    a = make(url, "a", 8, states="CPFLCC")
    b = make(url, "b", 7)
    assert len(trials_frame(a)) == 8 and len(spent(trials_frame(a))) == 7
    c = compare([Contestant("a", 0, a), Contestant("b", 0, b)])
    assert len(c.curves) == 7 and c.notices == []
    assert c.curves[("a", 0)].iloc[0] == c.curves[("a", 0)].iloc[2]  # the two after add nothing
    assert c.saved.loc["a", ["trials", "pruned", "failed"]].tolist() == [7, 1, 1]
    assert saved_by_pruning(trials_frame(a), 3) == (2, pytest.approx(2.0))


def test_unequal_lengths_are_cut_with_notice(url: str) -> None:
    c = compare(
        [Contestant("a", 0, make(url, "a", 9)), Contestant("b", 0, make(url, "b", 6))],
    )
    assert len(c.curves) == 6
    assert c.notices == [
        "Cut to 6 trials each, the length of the shortest study; the longest has 9.",
        "a: 3 of 9 trials are left out; its best is among the first.",
    ]


def test_a_grid_that_is_used_up_stays_at_its_best(url: str) -> None:
    space = Space(x=Int(1, 2), kind=Choice("a", "b"))
    grid = make(url, "g", 4, sampler="grid", space=space)
    c = compare([Contestant("grid", 0, grid), Contestant("b", 0, make(url, "b", 6))])
    assert len(c.curves) == 6 and c.curves[("grid", 0)].iloc[-1] == c.curves[("grid", 0)].iloc[3]
    assert c.times[("grid", 0)].iloc[4:].isna().all()
    (notice,) = c.notices
    assert "all its 4 points" in notice


def test_seeds_that_not_all_have_are_left_out_with_notice(url: str) -> None:
    parts = [("a", 0), ("a", 1), ("b", 1), ("b", 2)]
    c = compare([Contestant(k, s, make(url, f"{k}{s}", seed=s)) for k, s in parts])
    assert c.finals.index.tolist() == [1]
    assert c.notices == ["Left out, since not all strategies have them: seeds 0, 2."]


def test_what_cannot_be_compared_is_refused_with_every_reason(url: str) -> None:
    a = make(url, "a")
    with pytest.raises(SpecError, match="one strategy only"):
        compare([Contestant("a", 0, a)])
    others = [make(url, "b", data="other"), make(url, "c", direction="minimize")]
    with pytest.raises(SpecError) as caught:
        compare([Contestant(v.name, 0, v) for v in [a, *others]])
    assert len(caught.value.problems) == 2 and "'other'" in str(caught.value)
    with pytest.raises(SpecError, match="is there already"):
        compare([Contestant(k, 0, v) for k, v in (("a", a), ("a", make(url, "d")), ("b", a))])
    with pytest.raises(SpecError, match="no seed is common"):
        compare([Contestant("a", 0, a), Contestant("b", 1, make(url, "e", seed=1))])
    with pytest.raises(SpecError, match="no trial has ended of b"):
        compare([Contestant("a", 0, a), Contestant("b", 0, make(url, "f", 0))])
    with pytest.raises(HpoError, match=r"no trial completed .*no luck"):
        compare([Contestant("a", 0, a), Contestant("b", 0, make(url, "h", 3, states="FFF"))])


def test_trials_are_scheduled_one_after_another_on_each_worker() -> None:
    assert scheduled([3, 1, 1, 1, 1], 2) == [3.0, 1.0, 2.0, 3.0, 4.0]
    assert scheduled([1, 2, 3], 1) == [1.0, 3.0, 6.0]
    times = pd.to_datetime([0, 0, 5, 9], unit="s")
    ends = pd.to_datetime([4, 9, 9, 12], unit="s")
    frame = pd.DataFrame({"started": times, "ended": ends, "cached": False})
    assert most_at_once(frame) == 2


def test_random_searchs_budget_is_what_the_others_are_measured_by(url: str) -> None:
    c = contest(url, {"random": 0.7, "tpe": 0.9}, 2)
    reached = c.reached().set_index("strategy")
    assert reached.loc["tpe", "trials"] == 1 and reached.loc["tpe", "reached"] == 1.0
    assert reached.loc["tpe", "share"] == pytest.approx(1 / 12, abs=0.01)
    assert c.reached().empty is False and contest(url, {"x": 0.7, "y": 0.9}, 1).reached().empty


def test_the_files_hold_the_same_and_the_page_fetches_nothing(url: str, tmp_path: Path) -> None:
    c = contest(url, {"random": 0.7, "tpe": 0.9, "gp": 0.9}, 2, states="CCPF")
    files, problem = write_comparison(c, EVIL, tmp_path / "out")
    names = {file.name for file in files}
    assert {"index.html", "report.md", "report.json", "trials.csv", "trials.parquet"} <= names
    page = files[0].read_text()
    assert len(page) < 6e6
    assert EVIL not in page.replace("<script>", "<script>", 1) and 'src="http' not in page
    facts = json.loads((tmp_path / "out" / "report.json").read_text())
    assert facts["conclusions"] == conclusions(c)
    assert comparison_page(c, "x").title == "x: search strategies compared"
    assert f"to {c.direction} {c.metric}" in comparison_page(c, "x").summary[0]
    table = pd.read_csv(tmp_path / "out" / "trials.csv")
    assert any(name.startswith("params_") for name in table)
    assert not any(name.startswith("param_") for name in table)
    stored = pd.read_parquet(tmp_path / "out" / "trials.parquet")
    assert len(table) == len(stored) == 72
    assert table["value"].tolist() == pytest.approx(c.trials["value"].tolist(), nan_ok=True)
    text = (tmp_path / "out" / "report.md").read_text()
    assert all(f"## {section.title}" in text for section in comparison_page(c, "x").sections)
    if problem is None:
        pictures = [file for file in files if file.suffix == ".png"]
        assert len(pictures) == 5 and all(file.stat().st_size > 5000 for file in pictures)


def test_text_is_escaped_in_both_forms() -> None:
    table = pd.DataFrame({EVIL: [EVIL], "b|c": ["x|y\nz"]})
    page = Page(EVIL, [EVIL], [Section(EVIL, [EVIL], table=table, code=EVIL)])
    assert "<script>alert" not in html(page)
    assert "| x\\|y z |" in markdown(page, {})


def test_few_seeds_are_said_to_be_few(url: str) -> None:
    lines = conclusions(contest(url, {"a": 0.7, "b": 0.9, "c": 0.8}, 2))
    assert lines[0] == "No strategy is ahead of another beyond noise over 2 seeds."
    assert "takes 7 seeds at least" in lines[1]


def test_a_space_of_floats_only(url: str) -> None:
    space = Space(x=Float(0, 1), y=Float(0, 1))
    c = compare([Contestant(k, 0, make(url, k, space=space)) for k in ("a", "b")])
    assert len(comparison_page(c, "x").sections) >= 7


@pytest.mark.parametrize("at", [1, 5])
def test_the_best_beyond_the_cut_has_no_test_figure(url: str, at: int) -> None:
    a, b = make(url, "a", 0), make(url, "b", 4)
    for k in range(6):
        asked = a.ask()
        assert asked is not None
        a.complete(asked.number, 2.0 if k == at else 0.1)
    for view, number in ((a, at), (b, b.best().number)):  # type: ignore[union-attr]
        view.set_attr("hpo:tested", {"trial": number, "test": {"score": 0.5}})
    c = compare([Contestant("a", 0, a), Contestant("b", 0, b)])
    assert c.tests.empty is (at == 5)


def test_different_spaces_are_named(url: str) -> None:
    other = make(url, "b", space=Space(lr=Float(1e-4, 1e-2, log=True)))
    c = compare([Contestant("a", 0, make(url, "a")), Contestant("b", 0, other)])
    assert c.notices == ["Their search spaces differ, which may be the whole difference: a | b."]


def test_sections_of_like_names_have_names_of_their_own() -> None:
    page = Page("t", [], [Section("Slice: x"), Section("Slice: X"), Section("Slice x")])
    assert [anchor for anchor, _ in page.placed] == ["slice-x", "slice-x-2", "slice-x-2-2"]
