"""What TPE is shown of a long study: the same good trials, and no more than it can afford."""

from __future__ import annotations

import pickle
import random
from typing import Any

import optuna
import pytest
from optuna.samplers._tpe.sampler import _split_trials, default_gamma
from optuna.trial import TrialState, create_trial

from hpo import Choice, Float, Int, Space
from hpo.search import make_sampler
from hpo.search.window import Window

PLAIN = Space(x=Float(-1.0, 1.0), kind=Choice("a", "b"), m=Float(0.0, 1.0, when={"kind": "a"}))
STATES = [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL]


def grown(direction: str, n: int, weights: tuple[int, int, int]) -> optuna.Study:
    study = optuna.create_study(direction=direction)
    grow(study, n, weights)
    return study


def grow(study: optuna.Study, n: int, weights: tuple[int, int, int]) -> None:
    rng = random.Random(n)
    for state in rng.choices(STATES, weights, k=n):
        value = round(rng.random(), 2)  # some are equal
        steps = {} if rng.random() < 0.1 else {rng.randint(1, 3): value}
        values = {TrialState.COMPLETE: value}
        study.add_trial(
            create_trial(state=state, value=values.get(state), intermediate_values=steps)
        )


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize("weights", [(8, 1, 1), (1, 30, 1), (0, 1, 0)])
def test_the_good_group_is_that_of_the_whole_study(
    direction: str, weights: tuple[int, int, int]
) -> None:
    study = grown(direction, 700, weights)
    window = Window()
    for n_more in (0, 1, 200):
        grow(study, n_more, weights)
        study.ask()
        whole = study.get_trials(deepcopy=False)
        seen = window.of(study, whole).get_trials(deepcopy=False)
        n_done = sum(t.state in STATES[:2] for t in seen)
        assert 450 <= n_done <= 500
        assert [t.number for t in seen] == sorted(t.number for t in seen)
        assert {t.number for t in whole if t.state == TrialState.RUNNING} <= {
            t.number for t in seen
        }
        assert not any(t.state == TrialState.FAIL for t in seen)
        ended = [t for t in whole if t.state in STATES[:2]]
        assert {t.number for t in ended[-450:]} <= {t.number for t in seen}
        good, _ = _split_trials(study, ended, default_gamma(len(ended)))
        shown, _ = _split_trials(
            study, [t for t in seen if t.state in STATES[:2]], default_gamma(n_done)
        )
        assert [t.number for t in shown] == [t.number for t in good]


def test_a_study_of_usual_size_is_seen_whole() -> None:
    study = grown("minimize", 500, (8, 1, 1))
    assert Window().of(study, study.get_trials(deepcopy=False)) is study


@pytest.mark.parametrize("pruner", [optuna.pruners.NopPruner, optuna.pruners.HyperbandPruner])
def test_a_long_study_gets_new_points_of_the_space(pruner: Any) -> None:
    sampler: Any = make_sampler("tpe", PLAIN, 0)
    sampler._window = Window(n_best=25, n_recent=25)
    study = optuna.create_study(sampler=sampler, pruner=pruner())
    tried = []
    for _ in range(120):
        trial = study.ask()
        point = PLAIN.suggest(trial)
        assert PLAIN.validate(point) == []
        tried.append(PLAIN.key(point))
        trial.report(point["x"] ** 2, 1)
        study.tell(trial, point["x"] ** 2)
    assert len(set(tried)) == len(tried)
    assert len(sampler._window.of(study, study.trials).trials) <= 50


@pytest.mark.parametrize("name", ["tpe", "grid", "auto"])
def test_a_sampler_in_use_can_be_pickled(name: str) -> None:
    space = Space(n=Int(0, 200))
    sampler: Any = make_sampler(name, space, 0)
    if name == "tpe":
        sampler._window = Window(n_best=5, n_recent=5)
    study = optuna.create_study(sampler=sampler)
    for _ in range(15):
        trial = study.ask()
        study.tell(trial, space.suggest(trial)["n"])
    again = pickle.loads(pickle.dumps(study))
    assert space.suggest(again.ask()) == space.suggest(study.ask())
