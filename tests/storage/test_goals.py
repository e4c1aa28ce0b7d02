"""Several objectives and constraints in the ledger, on SQLite and PostgreSQL."""

from __future__ import annotations

import math
import random
from typing import Any

import optuna
import pytest

from hpo import SpecError
from hpo.model import Objective
from hpo.objectives import constraints_of
from hpo.pareto import dominates
from hpo.search import OBJECTIVES, ONE_OBJECTIVE, SAMPLERS, make_pruner, make_sampler
from hpo.storage.ledger import Ledger, StudyMeta
from hpo.storage.measured import is_feasible
from hpo.storage.sql import open_storage
from hpo.storage.studies import list_studies
from tests.storage.test_ledger import SPACE, meta

TWO: dict[str, Any] = {"more": (Objective("params", "minimize"),)}
LIGHT: dict[str, Any] = {"constraints": constraints_of(["params<=100"])}


def opened(url: str, sampler: str = "random", pruner: str = "none", **changes: Any) -> Ledger:
    what = meta(**changes)
    return Ledger.create_or_open(
        open_storage(url, create=True),
        "s",
        what,
        lambda n: make_sampler(sampler, what.space, 0, n_trials_done=n),
        make_pruner(pruner, epochs=4),
    )


def told(ledger: Ledger, **metrics: float) -> int:
    asked = ledger.ask()
    assert asked is not None
    ledger.conclude(asked.number, metrics, {"metrics": metrics})
    return asked.number


def test_each_objective_has_its_value(storage_url: str) -> None:
    ledger = opened(storage_url, **TWO)
    told(ledger, accuracy=0.9, params=50.0, loss=0.3)
    plain = optuna.load_study(study_name="s", storage=storage_url)
    assert [d.name for d in plain.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert plain.metric_names == ["accuracy", "params"]
    assert plain.trials[0].values == [0.9, 50.0]
    again = opened(storage_url, **TWO)
    told(again, accuracy=0.8, params=40.0)
    assert [t.values for t in again.trials()] == [[0.9, 50.0], [0.8, 40.0]]
    (listed,) = list_studies(open_storage(storage_url, create=False))
    assert (listed.goal, listed.best) == ("maximize accuracy, minimize params", [0.9, 40.0])


@pytest.mark.parametrize("bad", [math.nan, math.inf, None, "many"])
def test_one_bad_value_of_several_fails_the_trial_with_a_reason(bad: Any, storage_url: str) -> None:
    ledger = opened(storage_url, **TWO)
    number = told(ledger, accuracy=0.9, params=bad)
    trial = ledger.trial(number)
    assert trial.state.name == "FAIL" and trial.values is None
    assert "params" in trial.user_attrs["fail_reason"]
    assert ledger.front() == [] and ledger.best() is None


def test_a_missing_metric_fails_with_those_that_were_reported(storage_url: str) -> None:
    ledger = opened(storage_url, **TWO)
    number = told(ledger, accuracy=0.9, size=3.0)
    reason = ledger.trial(number).user_attrs["fail_reason"]
    assert reason == "no metric 'params' among: accuracy, size"


def test_the_front_is_brute_forces_and_optunas(storage_url: str) -> None:
    ledger = opened(storage_url, **TWO, constraints=constraints_of(["loss<=0.8"]))
    rng = random.Random(0)
    for _ in range(25):
        told(ledger, accuracy=rng.random(), params=rng.randint(1, 9), loss=rng.random())
    kept = [t for t in ledger.trials() if t.user_attrs["metrics"]["loss"] <= 0.8]
    assert 0 < len(kept) < 25 and ledger.n_infeasible() == 25 - len(kept)
    front = {
        t.number
        for t in kept
        if not any(dominates(other.values, t.values, (1, -1)) for other in kept)
    }
    assert {t.number for t in ledger.front()} == front
    assert {t.number for t in ledger.study.best_trials} == front
    assert ledger.best() == ledger.front()[0]


def test_what_breaks_a_constraint_is_never_best(storage_url: str) -> None:
    ledger = opened(storage_url, **LIGHT)
    for accuracy, params in ((0.99, 101.0), (0.9, 100.0), (0.95, 5000.0), (0.8, 7.0)):
        told(ledger, accuracy=accuracy, params=params)
    assert [t.value for t in ledger.top(3)] == [0.9, 0.8]
    assert ledger.trial(0).system_attrs["constraints"] == [1.0]  # as Optuna's dashboard reads it
    assert ledger.trial(1).constraints == {"0": 0.0}
    assert ledger.study.best_trial.number == 1
    assert [is_feasible(t) for t in ledger.trials()] == [False, True, False, True]
    (listed,) = list_studies(open_storage(storage_url, create=False))
    assert listed.best == 0.9


def test_infeasible_trials_are_no_measure_for_the_pruner(storage_url: str) -> None:
    def last_is_stopped(params: float) -> bool:
        ledger = opened(storage_url, pruner="median", **LIGHT)
        for value, size in ((0.5, 1.0), (0.5, 1.0), (0.9, params), (0.9, params), (0.9, params)):
            asked = ledger.ask()
            assert asked is not None
            for step in range(1, 5):
                ledger.report(asked.number, step, value)
            ledger.conclude(asked.number, {"accuracy": value, "params": size})
        last = ledger.ask()
        assert last is not None
        stopped = any([ledger.report(last.number, step, 0.6) for step in range(1, 4)])
        ledger.prune(last.number, {"metrics": {"accuracy": 0.6, "params": 500.0}})
        assert ledger.trial(last.number).constraints == {"0": 400.0}
        optuna.delete_study(study_name="s", storage=ledger.storage)
        return stopped

    assert not last_is_stopped(params=101.0)
    assert last_is_stopped(params=99.0)


def test_other_goals_are_another_study(storage_url: str) -> None:
    opened(storage_url, **TWO, **LIGHT)
    with pytest.raises(SpecError, match=r"constraints was 'params<=100', is 'none'"):
        opened(storage_url, **TWO)
    with pytest.raises(SpecError, match=r"objectives was 'accuracy:maximize, params:minimize', is"):
        opened(storage_url, **LIGHT)
    assert opened(storage_url, **TWO, **LIGHT).meta.several


def test_a_study_of_one_objective_is_described_as_it_always_was() -> None:
    plain = meta().to_json()
    assert not {"more", "constraints", "own"} & set(plain)
    full = meta(**TWO, **LIGHT, own=Objective("f1"))
    assert StudyMeta.from_json(full.to_json()) == full
    assert full.goal == "maximize accuracy, minimize params; params<=100"


def test_a_dead_drivers_trials_are_tried_again(storage_url: str) -> None:
    opened(storage_url, **TWO).ask()
    ledger = opened(storage_url, **TWO)
    assert ledger.reconcile() == 1
    (attempt,) = ledger.due_again(3)
    asked = ledger.ask(attempt=attempt)
    assert asked is not None and asked.params == attempt.params
    assert ledger.conclude(asked.number, {"accuracy": 0.5, "params": 3})
    assert ledger.trial(asked.number).values == [0.5, 3.0]


def test_every_sampler_says_what_it_does_with_goals() -> None:
    assert OBJECTIVES.keys() == SAMPLERS.keys()


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name not in ONE_OBJECTIVE])
@pytest.mark.parametrize("changes", [{**TWO, **LIGHT}, LIGHT], ids=["several", "one"])
def test_samplers_go_with_goals(sampler: str, changes: dict[str, Any], tmp_path: Any) -> None:
    space = SPACE
    if sampler == "grid":
        from hpo import Choice, Space

        space = Space(a=Choice(*range(6)), b=Choice("u", "v"))
    ledger = opened(f"sqlite:///{tmp_path}/t.db", sampler, space=space, **changes)
    seen = set()
    for k in range(12):
        asked = ledger.ask()
        assert asked is not None and not space.validate(asked.params)
        seen.add(space.key(asked.params))
        x = float(asked.params.get("x", asked.params.get("a", 0)))
        ledger.conclude(asked.number, {"accuracy": x, "params": 150 - 100 * x + k})
    assert len(seen) == 12
    assert all(len(t.values) == len(ledger.meta.objectives) for t in ledger.trials())
