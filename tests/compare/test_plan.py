"""What a comparison runs, before anything runs."""

from __future__ import annotations

from typing import Any

import pytest

from hpo import Choice, Float, Int, Space, SpecError
from hpo.compare.plan import plan
from hpo.registry import MODELS, find_model, load_model
from hpo.search.coarse_grid import coarse_grid, levels
from hpo.space_change import narrow


def test_every_strategy_has_every_seed_and_all_else_is_alike() -> None:
    planned = plan({}, {"model": "cnn", "seeds": 3, "n_trials": 12, "seed": 7, "epochs": 2})
    assert len(planned.studies) == 15 and planned.n_trials == 12
    specs = [study.spec for study in planned.studies.values()]
    assert {spec.seed for spec in specs} == {7, 8, 9}
    assert len({spec.name for spec in specs}) == 15
    own = {"sampler", "seed", "name", "set"}
    assert len({str(spec.model_dump(exclude=own)) for spec in specs}) == 1
    # All strategies of a seed before the next one: what is cut off has whole seeds.
    assert [seed for _, seed in planned.studies] == [7] * 5 + [8] * 5 + [9] * 5


def test_a_ready_study_gives_its_settings_and_the_comparison_its_own() -> None:
    file = {"model": "cnn", "sampler": "tpe", "name": "x", "total_trials": 40, "epochs": 3}
    planned = plan({**file, "samplers": ["random", "tpe"], "seeds": 2}, {"n_trials": 6})
    assert planned.name == "x" and list(planned.spec.samplers) == ["random", "tpe"]
    assert {study.epochs for study in planned.studies.values()} == {3}
    assert {study.n_trials for study in planned.studies.values()} == {6}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"samplers": "tpe"}, "samplers: 'tpe': must name two samplers or more"),
        ({"samplers": "tpe,tpe"}, "names a sampler twice"),
        ({"samplers": "tpe,rando"}, "did you mean random?"),
        ({"seeds": 0}, "seeds: 0: must be greater than or equal to 1"),
        ({"seeds": "many"}, "seeds: 'many'"),
        ({"samplers": 3}, "samplers: 3: must name samplers"),
        ({"seeds": True}, "seeds: True"),
        ({"name": "é" * 98}, "name: 'é"),
        ({"name": "../x"}, "name: '../x': must not hold"),
        ({"n_trials": 0}, "n_trials: 0"),
        ({"model": "cn"}, "did you mean 'cnn'"),
        ({"seed": 2**32 - 2}, "seed"),
    ],
)
def test_what_is_wrong_is_refused_in_one_line(given: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        plan({}, {"model": "cnn", **given})
    assert message in str(caught.value) and len(caught.value.problems) == 1


def test_every_problem_is_said_at_once() -> None:
    with pytest.raises(SpecError) as caught:
        plan({}, {"model": "cnn", "samplers": "tpe", "seeds": 0, "epochs": 0, "n_trials": 0})
    assert len(caught.value.problems) == 4


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("n_points", [1, 7, 24])
def test_a_coarse_grid_keeps_to_the_budget_and_uses_most_of_it(name: str, n_points: int) -> None:
    space = load_model(find_model(name)).space
    settings = coarse_grid(space, n_points)
    grid, fixed = narrow(space, settings)
    assert n_points / 2 <= grid.grid_size() <= n_points
    assert set(fixed) | set(grid.names) <= set(space.names)
    for cell in grid.grid():
        assert space.validate({**{k: v for k, v in fixed.items() if k in space}, **cell}) == []


def test_levels_are_even_on_the_scale_that_is_searched() -> None:
    assert levels(Float(0.0, 1.0), 2, 0.5) == [0.25, 0.75]
    assert levels(Float(1e-4, 1.0, log=True), 2, 0.01) == [1e-3, 1e-1]
    assert levels(Int(1, 2), 3, 1) == [1, 2]
    assert levels(Choice("a", "b", "c", default="b"), 2, "b") == ["b", "a"]
    assert levels(Float(0.0, 1.0, grid=(0.1, 0.2, 0.3, 0.4)), 2, 0.1) == [0.2, 0.4]


def test_parents_of_conditions_stay_at_their_default() -> None:
    space = Space(
        kind=Choice("a", "b"), x=Float(0, 1, when={"kind": "b"}), y=Float(0, 1, when={"kind": "a"})
    )
    settings = coarse_grid(space, 4)
    assert settings["kind"] == "a" and "x" not in settings and settings["y"].count(",") == 3
