"""Spaces: what is refused, exact grids, conditions, other libraries' forms."""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hpo import Choice, Float, Int, Space, SpecError
from hpo.parameter import Parameter
from hpo.space_change import carried_over, changes, narrow

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "low above high": ({"a": Float(2, 1)}, "a: low 2 > high 1: swap"),
    "log of zero": ({"a": Float(0, 1, log=True)}, "above 0"),
    "log of negative": ({"a": Int(-1, 5, log=True)}, "above 0"),
    "nan": ({"a": Float(float("nan"), 1)}, "finite"),
    "infinite": ({"a": Float(0, float("inf"))}, "finite"),
    "text bound": ({"a": Float("0", 1)}, "finite number"),
    "step that does not divide": ({"a": Float(0, 1, step=0.3)}, "does not divide"),
    "step of zero": ({"a": Float(0, 1, step=0)}, "above 0"),
    "negative step": ({"a": Int(0, 4, step=-2)}, "above 0"),
    "int step that does not divide": ({"a": Int(0, 5, step=2)}, "does not divide"),
    "log and step": ({"a": Float(1, 2, log=True, step=0.5)}, "exclude"),
    "fractional int": ({"a": Int(0.5, 3)}, "whole"),
    "no choices": ({"a": Choice()}, "no choices"),
    "duplicate choices": ({"a": Choice("x", "x")}, "twice"),
    "choices that cannot be shown": (
        {"a": Choice("\x1b[2J", "b")},
        "cannot be shown",
    ),
    "choices that are no text": ({"a": Choice("\udc80", "b")}, "cannot be shown"),
    "colliding choices": ({"a": Choice(True, 1)}, "equal in Python"),
    "colliding numbers": ({"a": Choice(1, 1.0)}, "equal in Python"),
    "a list of choices": ({"a": Choice([16, 32])}, "write the values alone: Choice(16, 32)"),
    "log that is a number": ({"a": Int(16, 64, 8)}, "log 8 must be True or False"),  # type: ignore[arg-type]
    "a bare list": ({"a": ["x", "y"]}, "write Choice('x', 'y')"),
    "a bare tuple": ({"a": (0.1, 0.5)}, "write Float(0.1, 0.5) for a range"),
    "a bare number": ({"a": 3}, "write Choice(3), or leave it out"),
    "of Optuna": (
        {"a": optuna.distributions.FloatDistribution(1e-3, 1.0, log=True)},
        "write Float(0.001, 1.0, log=True)",
    ),
    "of Optuna, choices": (
        {"a": optuna.distributions.CategoricalDistribution(("x", "y"))},
        "write Choice('x', 'y')",
    ),
    "odd choice": ({"a": Choice("x", [1])}, "text"),
    "default outside": ({"a": Float(0, 1, default=2)}, "outside"),
    "default off the lattice": ({"a": Float(0, 1, step=0.5, default=0.3)}, "multiple"),
    "default no choice": ({"a": Choice("x", default="y")}, "not a choice"),
    "grid outside": ({"a": Float(0, 1, grid=(0.5, 7))}, "grid value"),
    "grid twice": ({"a": Float(0, 1, grid=(0.5, 0.5))}, "twice"),
    "grid empty": ({"a": Float(0, 1, grid=())}, "empty"),
    "dangling condition": ({"a": Int(0, 1, when={"z": 1})}, "no parameter"),
    "own condition": ({"a": Int(0, 1, when={"a": 1})}, "cycle"),
    "cyclic conditions": (
        {"a": Int(0, 1, when={"b": 1}), "b": Int(0, 1, when={"a": 1})},
        "cycle",
    ),
    "impossible condition": ({"a": Int(0, 1), "b": Int(0, 1, when={"a": 7})}, "can never be"),
    "unknown forbidden": ({"a": Int(0, 1), "forbidden": [{"z": 1}]}, "no parameter"),
    "impossible forbidden": ({"a": Int(0, 1), "forbidden": [{"a": 9}]}, "can never be"),
    "empty forbidden": ({"a": Int(0, 1), "forbidden": [{}]}, "everything"),
    "forbidden default": ({"a": Choice("x", "y"), "forbidden": [{"a": "x"}]}, "default"),
    "within below the range": ({"a": Float(0, 1, within=(0, 0.5))}, "does not hold 0..1"),
    "within beside text": ({"a": Choice("x", within=(0, 1))}, "it is for numbers"),
    "within of one number": ({"a": Float(0, 1, within=2)}, "must be (least, most)"),
    "not a parameter": ({"a": object()}, "use Float, Int or Choice"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_work_is_refused_in_one_line(name: str) -> None:
    arguments, expected = REFUSED[name]
    with pytest.raises(SpecError) as caught:
        Space(**arguments)
    assert len(caught.value.problems) == 1
    assert expected in caught.value.problems[0]


def test_all_problems_are_reported_together() -> None:
    with pytest.raises(SpecError) as caught:
        Space(a=Float(2, 1), b=Int(0.5, 3), c=Choice())  # type: ignore[arg-type]
    assert [p[0] for p in caught.value.problems] == ["a", "b", "c"]


def conditional() -> Space:
    return Space(
        optimizer=Choice("adamw", "sgd"),
        momentum=Float(0.0, 0.9, step=0.3, when={"optimizer": "sgd"}),
        nesterov=Choice(True, False, when={"momentum": (0.3, 0.6, 0.9)}),
        depth=Int(1, 3),
        forbidden=[{"optimizer": "sgd", "depth": (2, 3)}],
    )


def test_the_grid_is_exact_and_free_of_duplicates() -> None:
    grid = Space(a=Float(0.1, 0.5, step=0.1)).grid()
    assert [point["a"] for point in grid] == [0.1, 0.2, 0.3, 0.4, 0.5]


def test_inactive_parameters_do_not_multiply_the_grid() -> None:
    space = conditional()
    grid = space.grid()
    keys = {space.key(point) for point in grid}
    # adamw: 3 depths; sgd: depth 1 only, momentum 0 alone or three others times nesterov
    assert len(grid) == len(keys) == space.grid_size() == space.size() == 3 + 1 + 3 * 2
    assert all(space.validate(point) == [] for point in grid)


def test_a_grid_over_a_continuous_parameter_names_the_remedy() -> None:
    with pytest.raises(SpecError, match=r"a: continuous .*--set a=A,B,C"):
        Space(a=Float(0, 1), b=Int(1, 2)).grid()


def test_a_log_int_grid_takes_powers_of_two_and_both_ends() -> None:
    assert [p["a"] for p in Space(a=Int(3, 40, log=True)).grid()] == [3, 4, 8, 16, 32, 40]


def test_a_huge_grid_is_counted_not_listed() -> None:
    space = Space.of({f"p{i}": Int(1, 100) for i in range(10)})
    assert space.grid_size() == 100**10
    assert space.size() is None


def test_json_keeps_everything_and_types() -> None:
    space = Space(a=Choice(1, "1", None, 2.5), b=Float(1, 2, grid=(1.5,)), c=Int(1, 9, step=4))
    assert Space.from_json(json.loads(json.dumps(space.to_json()))) == space
    assert space.fingerprint() != conditional().fingerprint()


def test_a_default_in_the_middle_lies_on_the_lattice() -> None:
    assert Space(a=Float(0, 1, step=0.25), b=Float(1e-4, 1e-2, log=True)).default() == {
        "a": 0.5,
        "b": pytest.approx(1e-3),
    }


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 30), st.sampled_from([0.1, 0.25, 0.05, 1e-3]))
def test_random_points_are_allowed_and_survive_skopt(seed: int, n: int, step: float) -> None:
    high = float(str(round(n * step, 6)))
    space = Space(
        a=Float(0.0, high, step=step),
        b=Int(1, 64, log=True),
        c=Choice("x", 1, None),
        d=Float(1e-5, 1.0, log=True, when={"c": ("x", None)}),
        e=Int(0, 12, step=4),
    )
    point = space.random(random.Random(seed))
    assert space.validate(point) == []
    back = space.from_skopt(space.to_skopt(point))
    assert space.key(back) == space.key(point)
    for dimension, value in zip(space.skopt_dimensions(), space.to_skopt(point), strict=True):
        assert value in dimension


def test_a_space_of_a_dict_is_told_its_form() -> None:
    with pytest.raises(SpecError, match=r"has no name: write Space.of"):
        Space({"a": Float(0, 1)})
    with pytest.raises(SpecError, match=r"has no name: write Space\(lr="):
        Space(Float(0, 1))


def test_suggest_draws_active_parameters_with_exact_values() -> None:
    space = conditional()
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    for _ in range(30):
        trial = study.ask()
        point = space.suggest(trial)
        assert trial.params.keys() == point.keys()
        assert {p for p in space.validate(point) if "forbidden" not in p} == set()


NARROWED: dict[str, tuple[dict[str, str], dict[str, Any], set[str]]] = {
    "fix": ({"depth": "2"}, {"depth": 2}, {"optimizer"}),
    "fix a parent": ({"optimizer": "adamw"}, {"optimizer": "adamw"}, {"depth"}),
    "child becomes unconditional": (
        {"optimizer": "sgd", "depth": "1"},
        {"optimizer": "sgd", "depth": 1},
        {"momentum", "nesterov"},
    ),
}


@pytest.mark.parametrize("name", NARROWED)
def test_narrowing_fixes_and_resolves_conditions(name: str) -> None:
    given_settings, fixed, left = NARROWED[name]
    space, found = narrow(conditional(), given_settings)
    assert found == fixed
    assert left <= set(space.names)
    assert not set(space.names) & set(fixed)
    for _ in range(20):
        point = space.random(random.Random(3))
        assert conditional().validate({**fixed, **point}) == []


def test_narrowing_a_range_a_subset_and_a_list() -> None:
    space = Space(lr=Float(1e-4, 1e-1, log=True), width=Int(8, 64), opt=Choice("a", "b", "c"))
    narrowed, fixed = narrow(space, {"lr": "0.001,0.01", "width": "16..32", "opt": "a,c"})
    assert fixed == {}
    assert narrowed["width"].low == 16  # type: ignore[union-attr]
    assert narrowed["lr"] == Choice(0.001, 0.01)
    assert narrowed["opt"].choices == ("a", "c")  # type: ignore[union-attr]


NUMBERS = Space(
    lr=Float(1e-4, 1e-1, log=True, default=1e-2, within=(1e-8, 10)),
    width=Int(8, 64, log=True, default=16, within=(1, 512)),
    rate=Float(0, 0.5, step=0.1, default=0.2),
    free=Int(0, 9, default=5),
    batch=Choice(16, 32, 64),
    size=Choice(16, 32, within=(1, 256)),
    opt=Choice("a", "b"),
)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("lr", "1e-3,1e-2", Choice(1e-3, 1e-2, default=1e-2)),
        ("lr", "1e-3, 3e-3", Choice(1e-3, 3e-3)),
        ("width", "48,8,16", Choice(48, 8, 16, default=16)),
        ("rate", "0.1,0.4", Choice(0.1, 0.4)),
        ("free", "0,20", Choice(0, 20)),
        ("batch", "32,64", Choice(32, 64)),
        ("batch", "20..64", Choice(32, 64)),
        ("size", "128, 32", Choice(32, 128, within=(1, 256))),
        ("opt", "a,b", Choice("a", "b")),
        ("lr", "1e-3..1e-2", Float(1e-3, 1e-2, log=True, default=1e-2, within=(1e-8, 10))),
        ("rate", "0.1..0.3", Float(0.1, 0.3, step=0.1, default=0.2)),
    ],
)
def test_two_values_are_two_values_and_dots_are_a_range(
    name: str, text: str, expected: Parameter
) -> None:
    narrowed, fixed = narrow(NUMBERS, {name: text})
    assert narrowed[name] == expected and not fixed
    if isinstance(expected, Choice):
        drawn = {narrowed.random(random.Random(seed))[name] for seed in range(60)}
        assert drawn == set(expected.choices)


def test_a_declared_range_is_a_proposal_within_hard_limits() -> None:
    wider, _ = narrow(NUMBERS, {"lr": "1e-6..0.5", "width": "4..128", "free": "-100..100"})
    assert [(p.low, p.high) for p in (wider["lr"], wider["width"], wider["free"])] == [  # type: ignore[union-attr]
        (1e-6, 0.5),
        (4, 128),
        (-100, 100),
    ]
    assert changes(NUMBERS, wider)[0] == []
    assert narrow(NUMBERS, {"lr": "5", "size": "256"})[1] == {"lr": 5.0, "size": 256}
    assert Space.from_json(json.loads(json.dumps(wider.to_json()))) == wider


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ({"lrr": "1"}, "did you mean 'lr'"),
        ({"lr": "77"}, "77.0 must be within 1e-08..10"),
        ({"lr": "1e-9..1e-3"}, "1e-09 must be within"),
        ({"lr": "1e-3,70"}, "70.0 must be within"),
        ({"lr": "1e-3,1e-3"}, "twice"),
        ({"lr": "x"}, "number"),
        ({"lr": "-1"}, "must be"),
        ({"lr": "1e-400"}, "beyond what a float can hold"),
        ({"lr": "\u0661e-3"}, "number"),
        ({"lr": "1_0"}, "number"),
        ({"lr": "1e-3...1"}, "LOW..HIGH"),
        ({"lr": "nan"}, "number"),
        ({"lr": "inf"}, "number"),
        ({"lr": "0.01..0.001"}, "swap"),
        ({"width": "8..9999"}, "9999 must be within 1..512"),
        ({"width": "8.5"}, "whole"),
        ({"rate": "0.15"}, "multiple of the step"),
        ({"batch": "100..200"}, "none of 16, 32, 64 is in 100..200"),
        ({"batch": "16..x"}, "number"),
        ({"batch": "128"}, "'128' is not one of 16, 32, 64"),
        ({"size": "512"}, "512 must be within 1..256"),
        ({"size": "1.5"}, "whole"),
        ({"size": "x"}, "not one of 16, 32, nor a number in 1..256"),
        ({"opt": "z"}, "not one of"),
        ({"opt": "a..b"}, "not one of"),
    ],
)
def test_a_wrong_narrowing_is_refused(setting: dict[str, str], expected: str) -> None:
    with pytest.raises(SpecError, match=expected):
        narrow(NUMBERS, setting)


def test_what_changes_keep_history_meaningful() -> None:
    old = Space(a=Float(0, 1), b=Choice("x", "y"))
    assert changes(old, Space(a=Float(0, 2), b=Choice("x", "y", "z"))) == (
        [],
        ["a: range was 0..1, is wider: 0..2", "b: choice 'z' added"],
    )
    for new in (
        Space(a=Float(0, 0.5), b=Choice("x", "y")),
        Space(a=Float(0, 1), b=Choice("x")),
        Space(a=Float(0, 1)),
        Space(a=Float(0, 1), b=Choice("x", "y"), c=Int(0, 1)),
        Space(a=Int(0, 1), b=Choice("x", "y")),
    ):
        assert changes(old, new)[0], new


def test_a_point_of_another_space_is_carried_over() -> None:
    space = Space(
        lr=Float(1e-3, 1e-1, log=True),
        rate=Float(0.0, 0.5, step=0.1),
        depth=Int(2, 8, step=2),
        kind=Choice("a", "b"),
        only=Int(1, 3, default=2, when={"kind": "b"}),
        forbidden=[{"kind": "a", "depth": 8}],
    )
    full = {"lr": 1e-4, "rate": 0.26, "depth": 9, "kind": "b", "gone": 5}
    moved = carried_over(space, full)
    assert moved == {"lr": 1e-3, "rate": 0.3, "depth": 8, "kind": "b", "only": 2}
    assert not space.validate(moved)
    assert carried_over(space, {**full, "kind": "c"}) is None  # no such choice
    assert carried_over(space, {**full, "kind": "a"}) is None  # forbidden
    assert carried_over(space, {**full, "lr": "high"}) is None  # another kind of parameter
    listed, _ = narrow(space, {"lr": "1e-3,1e-1"})
    assert (carried_over(listed, {**full, "lr": 0.09}) or {})["lr"] == 0.1
    assert carried_over(space, {"kind": "a", "only": 3}) == space.default()  # 3 is inactive


def test_scalars_of_numpy_and_torch_are_numbers() -> None:
    space = Space(
        lr=Float(np.float32(0.5), np.int64(1), within=(np.float64(0), None)),
        width=Int(np.int64(8), torch.tensor(16), step=np.int32(4), grid=[np.int64(8)]),
        heads=Choice(np.int64(2), 4, default=np.int64(4)),
    )
    assert space == Space(
        lr=Float(0.5, 1, within=(0.0, None)),
        width=Int(8, 16, step=4, grid=[8]),
        heads=Choice(2, 4, default=4),
    )
    assert json.loads(json.dumps(space.to_json())) == space.to_json()
