"""Starting from earlier studies: their best first, in turns, and only as long as they help."""

from __future__ import annotations

import random
from typing import Any

import optuna
import pytest

from hpo import Choice, Float, Int, Space
from hpo.search import SAMPLERS, make_sampler
from hpo.search.prior import FROM, MOST_OFFERED, Earlier, Prior, Source

SPACE = Space(
    a=Float(0.0, 1.0),
    n=Int(1, 30),
    kind=Choice("x", "y"),
    only=Float(0.0, 1.0, when={"kind": "y"}),
)


def loss(p: dict[str, Any]) -> float:
    return float((p["a"] - 0.3) ** 2 + (p["n"] - 20) ** 2 / 400 + (p["kind"] == "x"))


def source_of(loss_of: Any, name: str = "old", n: int = 40, space: Space = SPACE) -> Source:
    rng = random.Random(name)
    points = [space.random(rng) for _ in range(n)]
    return Source(name, "d", tuple(Earlier(i, p, loss_of(p)) for i, p in enumerate(points)))


def run(
    prior: Prior | None, n: int, sampler: str = "random", sign: int = 1, loss_of: Any = loss
) -> optuna.Study:
    """A study of n trials, the default first."""
    study = optuna.create_study(
        direction="minimize" if sign == 1 else "maximize",
        sampler=make_sampler(sampler, SPACE, 0, n_trials=30, prior=prior),
    )
    study.enqueue_trial(SPACE.default())
    study.optimize(lambda trial: sign * loss_of(SPACE.suggest(trial)), n_trials=n)
    return study


def offered(study: optuna.Study) -> list[int]:
    return [t.number for t in study.trials if FROM in t.system_attrs]


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name != "grid"])
@pytest.mark.parametrize("sign", [1, -1])
def test_after_the_default_comes_the_best_of_an_earlier_study(sampler: str, sign: int) -> None:
    source = source_of(loss)
    best = min(source.trials, key=lambda trial: trial.loss)
    study = run(Prior(SPACE, [source]), 4, sampler, sign)
    assert study.trials[0].params == SPACE.default()
    assert study.trials[1].params == best.params
    assert study.trials[1].system_attrs[FROM] == f"old:{best.number}"
    assert offered(study) == [1, 3]
    assert not any(SPACE.validate(trial.params) for trial in study.trials)


def test_a_few_good_and_different_ones_are_offered_in_turns() -> None:
    source = source_of(loss)
    study = run(Prior(SPACE, [source]), 20)
    numbers = offered(study)
    assert numbers == [1, 3, 5, 7] and len(numbers) == MOST_OFFERED
    ranked = sorted(trial.loss for trial in source.trials)
    found = [study.trials[number] for number in numbers]
    assert all(trial.value is not None and trial.value <= ranked[8] for trial in found)
    assert len({SPACE.key(trial.params) for trial in found}) == MOST_OFFERED


def test_a_good_one_far_away_comes_before_neighbours_of_the_best() -> None:
    here = [{"a": 0.3 + 0.001 * i, "n": 20, "kind": "x"} for i in range(7)]
    far = {"a": 0.9, "n": 3, "kind": "x"}
    rest = [{"a": 0.01 * i, "n": 10, "kind": "x"} for i in range(32)]
    trials = [Earlier(i, p, 0.01 * i) for i, p in enumerate([*here, far, *rest])]
    prior = Prior(SPACE, [Source("old", "d", tuple(trials))])
    assert [c.number for c in prior.best[:2]] == [0, 7]


@pytest.mark.parametrize("sign", [1, -1])
def test_an_earlier_study_that_misleads_costs_two_trials_at_most(sign: int) -> None:
    misleading = source_of(lambda p: -loss(p))
    study = run(Prior(SPACE, [misleading]), 20, sign=sign)
    assert 1 <= len(offered(study)) <= 2


def test_one_that_misleads_does_not_stop_another() -> None:
    sources = [source_of(lambda p: -loss(p), "bad"), source_of(loss, "good")]
    study = run(Prior(SPACE, sources), 20)
    names = [study.trials[n].system_attrs[FROM].partition(":")[0] for n in offered(study)]
    assert names.count("bad") <= 2 <= names.count("good")


def test_a_trial_that_failed_is_no_verdict() -> None:
    study = optuna.create_study(
        sampler=make_sampler("random", SPACE, 0, prior=Prior(SPACE, [source_of(loss)]))
    )
    for _ in range(10):
        trial = study.ask()
        point = SPACE.suggest(trial)
        if FROM in study.trials[trial.number].system_attrs:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            study.tell(trial, loss(point))
    assert len(offered(study)) == MOST_OFFERED


def test_a_pruned_one_counts_against_its_study() -> None:
    study = optuna.create_study(
        sampler=make_sampler("random", SPACE, 0, prior=Prior(SPACE, [source_of(loss)]))
    )
    for _ in range(10):
        trial = study.ask()
        point = SPACE.suggest(trial)
        if FROM in study.trials[trial.number].system_attrs:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            study.tell(trial, loss(point))
    assert 1 <= len(offered(study)) <= 2


@pytest.mark.parametrize("sampler", ["random", "tpe", "gp"])
@pytest.mark.parametrize("breaks", [True, False])
def test_what_breaks_a_constraint_is_no_good_whatever_its_value(sampler: str, breaks: bool) -> None:
    prior = Prior(SPACE, [source_of(loss)])
    study = optuna.create_study(sampler=make_sampler(sampler, SPACE, 0, n_trials=30, prior=prior))
    for _ in range(10):
        trial = study.ask()
        point = SPACE.suggest(trial)
        earlier = FROM in study.trials[trial.number].system_attrs
        trial.set_constraint("c", 1.0 if earlier == breaks else -1.0)
        study.tell(trial, loss(point) - 9.0 * (earlier == breaks))
    assert len(offered(study)) == (1 if breaks else MOST_OFFERED)


def test_the_same_seed_does_not_draw_what_the_earlier_study_drew() -> None:
    cold = run(None, 12)
    trials = tuple(Earlier(t.number, t.params, float(t.value or 0.0)) for t in cold.trials)
    warm = run(Prior(SPACE, [Source("old", "d", trials)]), 12)
    drawn = {SPACE.key(t.params) for t in cold.trials[1:]}
    own = [t for t in warm.trials[1:] if FROM not in t.system_attrs]
    assert own and not any(SPACE.key(t.params) in drawn for t in own)


def test_a_configuration_that_was_measured_often_counts_by_its_mean() -> None:
    lucky, steady = SPACE.default(), {**SPACE.default(), "n": 20}
    trials = [Earlier(0, lucky, 0.0), Earlier(1, lucky, 1.0), Earlier(2, steady, 0.3)]
    prior = Prior(SPACE, [Source("old", "d", tuple(trials))])
    assert [c.origin for c in prior.best] == ["old:2", "old:0"]


def test_a_source_of_another_space_is_moved_into_this_one() -> None:
    wide = Space(a=Float(-5.0, 5.0), n=Int(1, 90), kind=Choice("x", "z"), other=Int(1, 3))
    prior = Prior(SPACE, [source_of(lambda p: abs(p["a"] - 4.0), space=wide)])
    assert prior.best
    assert not any(SPACE.validate(candidate.params) for candidate in prior.best)
    assert prior.best[0].params["a"] == 1.0
