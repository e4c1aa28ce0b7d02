"""What failed by its configuration teaches every sampler that learns; what was cut off teaches
nothing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from hpo.search import make_sampler
from hpo.search.failures import KIND, teaches, with_failures
from hpo.search.tried import Tried
from hpo.search.warp import clipped, warped
from hpo.space import Choice, Float, Int, Space

LEARNERS = {  # name: options that make it use its model soon
    "auto": {"short_s": 0},
    "tpe": {"n_startup_trials": 5},
    "gp": {},
    "optuna-gp": {"n_startup_trials": 5},
    "skopt": {"n_initial_points": 5},
}
SPACE = Space(rate=Float(0.0, 1.0), width=Float(0.0, 1.0))


def told(study: optuna.Study, space: Space, params: dict[str, Any], **outcome: Any) -> None:
    study.add_trial(create_trial(params=params, distributions=space.distributions(), **outcome))


def n_in_the_failing_part(name: str, kind: str, n: int = 6) -> int:
    """Of n proposals after a study in which a rate above 0.5 always ended in such a failure, while
    below it the value rises towards that edge."""
    sampler = make_sampler(name, SPACE, 1, n_trials=60, **LEARNERS[name])
    study = optuna.create_study(sampler=sampler, direction="maximize")
    rng = np.random.default_rng(0)
    for i in range(24):
        params = {"rate": float(rng.random()), "width": float(rng.random())}
        if i % 3 == 0:
            params["rate"] = 0.5 + 0.5 * params["rate"]
        if params["rate"] > 0.5:
            attrs = {KIND: kind}
            told(study, SPACE, params, state=TrialState.FAIL, user_attrs=attrs)
        else:
            told(study, SPACE, params, value=params["rate"] - params["width"] ** 2)
    found = 0
    for _ in range(n):
        trial = study.ask()
        params = SPACE.suggest(trial)
        if failed := params["rate"] > 0.5:
            trial.set_user_attr(KIND, kind)
            study.tell(trial, state=TrialState.FAIL)
        else:
            study.tell(trial, params["rate"] - params["width"] ** 2)
        found += failed
    return found


@pytest.mark.parametrize("name", list(LEARNERS))
def test_what_depends_on_parameters_teaches_every_sampler_that_learns(name: str) -> None:
    n = 4 if name in ("optuna-gp", "skopt") else 8  # they take long to propose
    assert n_in_the_failing_part(name, "error", n) <= n / 2 - 1


def test_what_was_cut_off_teaches_nothing() -> None:
    lost = n_in_the_failing_part("gp", "lost")
    assert lost > n_in_the_failing_part("gp", "oom")
    assert lost >= 3  # the value rises that way, and nothing speaks against it


def trial_of(state: TrialState, attrs: dict[str, Any] | None = None, **more: Any) -> FrozenTrial:
    return create_trial(
        params={"rate": 0.5, "width": 0.5},
        distributions=SPACE.distributions(),
        state=state,
        user_attrs=attrs or {},
        **more,
    )


@pytest.mark.parametrize("kind", [None, "error", "oom", "timeout"])
def test_these_kinds_teach(kind: str | None) -> None:
    assert teaches(trial_of(TrialState.FAIL, {KIND: kind} if kind else {}))


@pytest.mark.parametrize("kind", ["lost", "interrupted"])
def test_these_kinds_do_not(kind: str) -> None:
    assert not teaches(trial_of(TrialState.FAIL, {KIND: kind}))


def test_a_value_that_is_not_finite_teaches_as_a_failure_does() -> None:
    assert teaches(trial_of(TrialState.COMPLETE, value=math.inf))
    assert not teaches(trial_of(TrialState.COMPLETE, value=1.0))


def test_a_failure_that_another_attempt_made_good_teaches_nothing() -> None:
    study = optuna.create_study()
    study.add_trial(trial_of(TrialState.FAIL, {KIND: "oom"}))
    tried = Tried(SPACE)
    assert len(tried.look(study).failed) == 1
    study.add_trial(trial_of(TrialState.COMPLETE, value=1.0))
    assert tried.look(study).failed == []
    study.add_trial(trial_of(TrialState.FAIL, {KIND: "oom"}))
    assert tried.look(study).failed == []


def test_a_later_run_remembers_what_failed_and_may_try_it_again() -> None:
    study = optuna.create_study()
    study.add_trial(trial_of(TrialState.FAIL, {KIND: "error"}))
    past = Tried(SPACE).look(study)
    assert len(past.failed) == 1
    assert SPACE.key(past.failed[0].params) not in past


def test_a_failure_is_shown_as_the_worst_of_each_objective_and_constraint() -> None:
    study = optuna.create_study(directions=["minimize", "maximize"])
    for values, broken in (([1.0, 5.0], -1.0), ([3.0, 2.0], 4.0)):
        study.add_trial(
            trial_of(
                TrialState.COMPLETE, values=values, system_attrs={"constraints": [broken, -2.0]}
            )
        )
    study.add_trial(trial_of(TrialState.FAIL))
    trials = study.get_trials(deepcopy=False)
    *others, failed = with_failures(study, trials, [trials[2]])
    assert others == trials[:2]
    assert (failed.state, failed.values) == (TrialState.COMPLETE, [3.0, 2.0])
    assert list(failed.constraints.values()) == [4.0, -2.0]
    assert trials[2].state == TrialState.FAIL  # the study's own stays as it is


def test_no_failure_is_among_the_tenth_that_tpe_takes_for_good() -> None:
    study = optuna.create_study()
    study.add_trial(trial_of(TrialState.COMPLETE, value=1.0))
    for _ in range(40):
        study.add_trial(trial_of(TrialState.FAIL))
    trials = study.get_trials(deepcopy=False)
    shown = with_failures(study, trials, trials[1:])
    assert len(shown) == 10
    assert math.ceil(0.1 * len(shown)) == 1


@pytest.mark.parametrize("name", ["auto", "gp", "tpe", "optuna-gp", "skopt"])
def test_as_long_as_everything_fails_proposals_move_away(name: str) -> None:
    """A space in which one corner in 16 works, and the default does not."""
    space = Space(**{f"x{i}": Float(0.0, 1.0, default=0.9) for i in range(4)})
    study = optuna.create_study(sampler=make_sampler(name, space, 3, n_trials=40))
    tried = []
    for _ in range(24):
        trial = study.ask()
        tried.append(list(space.suggest(trial).values()))
        study.tell(trial, state=TrialState.FAIL)
    x = np.array(tried)
    gaps = np.linalg.norm(x[:, None] - x[None], axis=2) + 9 * np.eye(len(x))
    assert gaps.min() > 0.15
    assert len({tuple(row > 0.5) for row in x}) >= 10  # of 16 corners


def test_failures_teach_on_the_way_to_a_front() -> None:
    space = Space(rate=Float(0.0, 1.0), width=Float(0.0, 1.0))
    for name in ("gp", "tpe"):
        sampler = make_sampler(name, space, 0, n_trials=50)
        study = optuna.create_study(sampler=sampler, directions=["minimize", "minimize"])
        n_failed = 0
        for number in range(30):
            trial = study.ask()
            p = space.suggest(trial)
            if p["rate"] + p["width"] > 1.0:
                n_failed += number >= 14
                study.tell(trial, state=TrialState.FAIL)
            else:
                study.tell(trial, [1 - p["rate"], 1 - p["width"]])
        assert n_failed <= 10, name  # without a lesson nearly all: the front lies behind the edge


def test_one_explosion_leaves_the_good_ones_apart() -> None:
    good = np.linspace(0.1, 1.0, 10)
    seen = warped(np.concatenate([good, [1e10]]))
    alone = warped(good)
    np.testing.assert_allclose(
        np.diff(seen[:10]) / np.ptp(seen), np.diff(alone) / np.ptp(seen), rtol=1
    )
    assert np.ptp(seen[:10]) > 0.4 * np.ptp(seen)


def test_a_failure_counts_as_the_worst_and_stops_no_fit() -> None:
    seen = warped(np.array([1.0, 2.0, math.inf, 9.0, math.inf]))
    assert seen[2] == seen[4] == seen.max() == seen[3]
    only = warped(np.array([1.0, math.inf, math.inf]))
    assert only[0] < only[1] == only[2]


def test_cmaes_counts_a_failure_towards_its_generation() -> None:
    space = Space(x=Float(-1.0, 1.0), y=Float(-1.0, 1.0), n=Int(1, 3), kind=Choice("a", "b"))
    study = optuna.create_study(sampler=make_sampler("cmaes", space, 0, popsize=4))
    for _ in range(40):
        trial = study.ask()
        p = space.suggest(trial)
        if p["x"] > 0:
            study.tell(trial, state=TrialState.FAIL)
        else:
            study.tell(trial, -p["x"] + p["y"] ** 2)
    generations = {
        value
        for trial in study.get_trials(deepcopy=False)
        for key, value in trial.system_attrs.items()
        if "generation" in key
    }
    # A generation is four trials: with failures left out, half of them would not count.
    assert max(generations) >= 7


def test_skopt_is_told_values_as_they_are_but_for_explosions() -> None:
    good = np.linspace(0.1, 1.0, 10)
    np.testing.assert_array_equal(clipped(good), good)
    assert clipped(np.append(good, 1e10)).max() < 100
