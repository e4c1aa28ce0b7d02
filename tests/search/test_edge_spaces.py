"""Every sampler on the smallest and the widest spaces there may be; what is beyond is refused."""

from __future__ import annotations

import json
import warnings
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from hpo.errors import SpecError
from hpo.search import SAMPLERS, make_sampler
from hpo.search.coarse_grid import coarse_grid
from hpo.space import Choice, Float, Int, Space
from hpo.space_change import narrow

SPACES = {
    "nothing": Space(),
    "one point": Space(x=Float(0.5, 0.5)),
    "one choice": Space(kind=Choice("a")),
    "one of each": Space(
        x=Float(1, 1), n=Int(3, 3, log=True), kind=Choice(None), s=Int(2, 2, step=5)
    ),
    "one and a range": Space(x=Float(0.5, 0.5), y=Float(0.0, 1.0, grid=(0.0, 1.0))),
    "one behind a choice": Space(k=Choice("a", "b"), n=Int(7, 7, when={"k": "b"})),
    "widest": Space(x=Float(-1e100, 1e100, grid=(0.0, 1e99))),
    "widest, log": Space(x=Float(1e-100, 1e100, log=True, grid=(1e-9, 1e9))),
    "narrow": Space(x=Float(1.0, 1.0 + 2e-12, grid=(1.0,))),
    "tiny": Space(x=Float(0.0, 1e-99, grid=(0.0,))),
    "whole numbers": Space(n=Int(-(2**52), 2**52, grid=(0, 1))),
    "whole numbers, log": Space(n=Int(1, 2**53, log=True)),
    "large step": Space(n=Int(0, 2**53, step=2**50)),
    "fine step": Space(x=Float(0.0, 1.0, step=1e-9, grid=(0.0, 0.5))),
}


def proposed(name: str, space: Space, n: int) -> list[dict[str, Any]]:
    study = optuna.create_study(sampler=make_sampler(name, space, 0, n_trials=12))
    points = []
    for i in range(n):
        trial = study.ask()
        points.append(space.suggest(trial))
        if i % 3 == 1:
            study.tell(trial, state=TrialState.FAIL)
        else:
            study.tell(trial, float(i))
    return points


@pytest.mark.parametrize("kind", list(SPACES))
@pytest.mark.parametrize("name", list(SAMPLERS))
def test_every_sampler_proposes_points_of_the_smallest_and_the_widest_spaces(
    name: str, kind: str
) -> None:
    space = SPACES[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        points = proposed(name, space, 3 if name in ("skopt", "optuna-gp") else 7)
    assert all(space.validate(point) == [] for point in points)


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name not in ("skopt", "optuna-gp")])
def test_one_point_is_tried_once(name: str) -> None:
    space = Space(x=Float(0.5, 0.5))
    study = optuna.create_study(sampler=make_sampler(name, space, 0))
    study.optimize(lambda trial: space.suggest(trial)["x"], n_trials=5)
    assert len(study.trials) == 1


@pytest.mark.parametrize(
    ("parameter", "part"),
    [
        (Float(-1e308, 1e308), "wider than samplers can compute with"),
        (Float(0.0, 1e101), "stay within -1e+100..1e+100"),
        (Float(1e-300, 1.0, log=True), "must be at least 1e-100"),
        (Float(5e-324, 1e-323), "too narrow"),
        (Float(1.0, 1.0000000000000002), "too narrow"),
        (Float(1e15, 1e15 + 0.125), "too narrow"),
        (Float(1e9, 1e9 + 1, step=1e-9), "finer than floats"),
        (Float(0.0, 1.0, step=1e-20), "finer than floats"),
        (Float(0.0, 1e100, step=1e-9), "finer than floats"),
        (Float(0.0, 1.0, step=5e-324), "finer than floats"),
        (Float(0.0, 1.0, step=0.3), "does not divide"),
        (Int(0, 2**53 + 1), "beyond 2**53"),
        (Int(-(2**53), 2**53), "beyond 2**53"),
        (Int(0, 10**5000), "0..2**16609 reaches beyond 2**53"),
        (Int(1, 2**63, log=True), "beyond 2**53"),
        (Int(0, 10, step=10**400), "beyond 2**53"),
        (Float(0.0, 10**400), "wider than"),
        (Choice(*range(20_000)), "more than 10,000"),
    ],
)
def test_what_no_sampler_can_compute_with_is_refused_when_it_is_declared(
    parameter: Any, part: str
) -> None:
    with pytest.raises(SpecError) as refused:
        Space(x=parameter)
    assert part in str(refused.value)
    assert len(str(refused.value)) < 300


# A space is counted, not listed

HUGE = Space(seed=Int(0, 2**31 - 1), lr=Choice(0.1, 0.01))
FINE = Space(share=Float(0.0, 1.0, step=1e-9), kind=Choice("a", "b", "c"))


@pytest.mark.parametrize(
    ("space", "size"), [(HUGE, 2**32), (FINE, 3 * (10**9 + 1)), (Space(n=Int(0, 2**53)), 2**53 + 1)]
)
def test_a_huge_grid_is_counted_and_refused_with_the_count(space: Space, size: int) -> None:
    assert space.grid_size() == size
    with pytest.raises(SpecError, match=f"{size:,} points are more than 1,000,000"):
        make_sampler("grid", space)


def test_a_grid_is_counted_by_its_conditions_and_rules_without_being_listed() -> None:
    branches = {
        f"{kind}{i}": Int(0, 9, when={"kind": kind}) for kind in ("a", "b") for i in range(5)
    }
    space = Space.of({"kind": Choice("a", "b"), **branches})
    assert space.grid_size() == 2 * 10**5
    small = Space(
        a=Int(0, 2),
        b=Choice("x", "y"),
        c=Float(0.0, 0.3, step=0.1, when={"b": "y"}),
        forbidden=[{"a": 2, "b": "x"}],
    )
    assert small.grid_size() == len(small.grid()) == 2 + 3 * 4


@pytest.mark.parametrize("space", [HUGE, FINE])
def test_a_coarse_grid_of_a_huge_space_lists_a_few_values(space: Space) -> None:
    part, _ = narrow(space, coarse_grid(space, 12))
    assert 4 <= part.grid_size() <= 12


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name != "grid"])
def test_huge_spaces_are_searched_without_being_listed(name: str) -> None:
    n = 3 if name in ("skopt", "optuna-gp") else 6
    for space in (HUGE, FINE):
        points = proposed(name, space, n)
        assert all(space.validate(point) == [] for point in points)


def test_a_huge_space_is_stored_and_compared_by_its_ranges() -> None:
    wider = Space(seed=Int(0, 2**32), lr=Choice(0.1, 0.01))
    from hpo.space_change import changes

    assert changes(HUGE, wider) == ([], ["seed: range was 0..2147483647, is wider: 0..4294967296"])
    assert len(json.dumps(HUGE.to_json())) < 1000
