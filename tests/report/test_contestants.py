"""Studies that exist, compared: their rows, and what is said beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hpo.compare.plan import COMPARISON
from hpo.report.comparison import compare
from hpo.report.comparison_page import comparison_page, conclusions
from hpo.report.contestants import contestants_of
from hpo.report.statistics import Difference, sentence
from hpo.storage.warm_start import WARM_START
from tests.report.studies import make


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/hpo.db"


def of_comparison(url: str, name: str, strategy: str, seed: int) -> Any:
    view = make(url, name, seed=seed)
    view.study.set_user_attr(COMPARISON, {"name": "c", "strategy": strategy, "seed": seed})
    return view


def test_studies_that_share_a_sampler_are_rows_by_their_names(url: str) -> None:
    views = [make(url, "a", level=0.7), make(url, "b", level=0.9)]
    assert len({view.meta.settings.get("sampler") for view in views}) == 1
    c = compare(contestants_of(views))
    assert c.strategies == ["b", "a"]
    assert comparison_page(c, "x").title == "x: studies compared"
    assert "b is ahead of a" in conclusions(c)[-1]


def test_studies_of_other_seeds_are_compared_and_that_is_said(url: str) -> None:
    c = compare(contestants_of([make(url, "a", seed=3), make(url, "b", seed=4)]))
    assert sorted(c.strategies) == ["a", "b"]
    assert any("seeds differ (a: 3, b: 4)" in line for line in c.notices)


def test_studies_of_a_comparison_keep_their_strategies_and_seeds(url: str) -> None:
    views = [of_comparison(url, f"{k}-{s}", k, s) for k in ("gp", "tpe") for s in (0, 1)]
    assert [(c.strategy, c.seed) for c in contestants_of(views)] == [
        ("gp", 0), ("gp", 1), ("tpe", 0), ("tpe", 1)
    ]  # fmt: skip
    # Not those that make up no comparison: of one strategy, or of seeds of their own.
    assert [c.strategy for c in contestants_of(views[:2])] == ["gp-0", "gp-1"]
    assert [c.strategy for c in contestants_of([views[0], views[3]])] == ["gp-0", "tpe-1"]


def test_what_the_cut_hides_is_said(url: str) -> None:
    views = [make(url, "long", 12), make(url, "short", 3)]
    values = [trial.value for trial in views[0].trials()]
    best = max(range(12), key=lambda k: values[k])
    c = compare(contestants_of(views))
    (said,) = [line for line in c.notices if line.startswith("long: ")]
    assert "9 of 12 trials are left out" in said
    if best >= 3:
        assert f"(trial {best})" in said and f"{values[best]:.4g}" in said
    else:
        assert "its best is among the first" in said


def test_a_warm_start_is_said(url: str) -> None:
    a, b = make(url, "a"), make(url, "b")
    b.study.set_user_attr(WARM_START, [{"study": "a", "data": "digits", "trials": 10}])
    notices = compare(contestants_of([a, b])).notices
    assert any("b was warm-started from a (10 trials on digits)" in line for line in notices)
    assert not any(line.startswith("a was warm") for line in notices)


def test_the_same_gap_with_every_seed_is_no_plus_minus_nothing() -> None:
    said = sentence(Difference("a", "b", 0.1, 1e-17, 0.03, 0.03, 1.0, 6, None))
    assert "±" not in said and "by as much with every seed" in said
