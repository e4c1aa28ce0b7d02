"""Confirmation: who is a candidate, and what is said of the difference to the default."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from hpo import Choice, Float, Space
from hpo.errors import HpoError
from hpo.outcome.confirm import Confirmed, candidates, difference, verdict, verdict_on_test
from hpo.search import make_pruner, make_sampler
from hpo.storage.ledger import Ledger
from hpo.storage.sql import open_storage
from hpo.study import ResolvedStudy, resolve, spec_from
from tests.storage.test_ledger import meta


def entry(values: list[float], *, default: bool = False, number: int | None = 1) -> Confirmed:
    runs = {1000 + k: {"accuracy": value} for k, value in enumerate(values)}
    return Confirmed(number, {}, 0.5, runs, "accuracy", is_default=default)


def test_the_difference_is_that_of_a_paired_t_test() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.8, 0.01, 5), rng.normal(0.79, 0.01, 5)
    gap, half = difference(entry(a.tolist()), entry(b.tolist()))
    interval = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert (gap - half, gap + half) == pytest.approx((interval.low, interval.high))


def test_only_seeds_that_both_have_are_compared() -> None:
    gap, half = difference(entry([0.9, 0.8, 0.7]), entry([0.5]))
    assert gap == pytest.approx(0.4) and math.isinf(half)


def test_noise_and_gains_are_told_apart_in_both_directions() -> None:
    close = [entry([0.80, 0.79, 0.82]), entry([0.79, 0.80, 0.80], default=True)]
    assert verdict(close, 1).startswith("Within noise of the default: ahead by 0.00667 ±")
    clear = [entry([0.90, 0.91, 0.92]), entry([0.80, 0.81, 0.815], default=True)]
    assert verdict(clear, 1).startswith("Better than the default by 0.102 ±")
    losses = [entry([0.20, 0.21, 0.23]), entry([0.80, 0.81, 0.82], default=True)]
    assert verdict(losses, -1).startswith("Better than the default by 0.597 ±")
    assert "on one seed" in verdict([entry([0.9]), entry([0.8], default=True)], 1)
    assert verdict([entry([0.9], default=True), entry([0.8])], 1).startswith("No configuration")
    assert verdict([entry([0.9])], 1) == "The default configuration was not confirmed."


MINE = """
from hpo import Choice, Float, Space, tunable

@tunable(Space(x=Float(0.0, 1.0, default=0.25), kind=Choice("a", "b")), "accuracy")
def train(trial): ...
"""


@pytest.fixture
def study(tmp_path: Any) -> ResolvedStudy:
    (tmp_path / "mine.py").write_text(MINE)
    return resolve(spec_from({"model": f"{tmp_path}/mine.py:train", "confirm_top": 2}, {}))


def opened(tmp_path: Any, points: list[tuple[dict[str, Any], float]]) -> Ledger:
    space = Space(x=Float(0.0, 1.0, default=0.25), kind=Choice("a", "b"))
    ledger = Ledger.create_or_open(
        open_storage(f"sqlite:///{tmp_path}/hpo.db", create=True),
        "s",
        meta(space=space),
        lambda n: make_sampler("random", space, 0, n_trials_done=n),
        make_pruner("none", epochs=4),
    )
    for number, (params, value) in enumerate(points):
        ledger.ask(params)
        ledger.complete(number, value)
    return ledger


DEFAULT = {"x": 0.25, "kind": "a"}
OTHERS: list[tuple[dict[str, Any], float]] = [
    ({"x": 0.5, "kind": "b"}, 0.9),
    ({"x": 0.6, "kind": "b"}, 0.8),
    ({"x": 0.7, "kind": "b"}, 0.7),
]


def test_a_default_that_was_tried_is_a_candidate_with_its_number(
    tmp_path: Any, study: ResolvedStudy
) -> None:
    found = candidates(study, opened(tmp_path, [(DEFAULT, 0.1), *OTHERS]))
    assert [(c.number, c.searched, c.is_default) for c in found] == [
        (1, 0.9, False),
        (2, 0.8, False),
        (0, 0.1, True),
    ]


def test_a_default_among_the_best_stands_once(tmp_path: Any, study: ResolvedStudy) -> None:
    found = candidates(study, opened(tmp_path, [(DEFAULT, 0.95), *OTHERS]))
    assert [(c.number, c.is_default) for c in found] == [(0, True), (1, False)]


def test_an_untried_default_is_a_candidate_too(tmp_path: Any, study: ResolvedStudy) -> None:
    found = candidates(study, opened(tmp_path, OTHERS))
    assert [(c.number, c.searched, c.title) for c in found] == [
        (0, 0.9, "trial 0"),
        (1, 0.8, "trial 1"),
        (None, None, "the default"),
    ]
    assert found[-1].params == DEFAULT


def test_without_a_completed_trial_there_is_nothing_to_confirm(
    tmp_path: Any, study: ResolvedStudy
) -> None:
    with pytest.raises(HpoError, match="no completed trial"):
        candidates(study, opened(tmp_path, []))


def test_a_test_that_disagrees_is_said_so() -> None:
    assert verdict_on_test("loss", {"loss": 0.5}, {"loss": 0.4}, -1).startswith(" On the test rows")
    assert verdict_on_test("loss", {"loss": 0.3}, {"loss": 0.4}, -1) == ""
    assert "0.9, not 0.8" in verdict_on_test("a", {"a": 0.8}, {"a": 0.9}, 1)
    assert verdict_on_test("a", {}, {"a": 0.9}, 1) == ""
