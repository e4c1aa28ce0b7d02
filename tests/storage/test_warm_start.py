"""Which earlier studies a study may start from, and what it remembers of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest

from hpo import Choice, Float, Space, SpecError
from hpo.model import Objective
from hpo.objectives import constraints_of
from hpo.search import make_pruner, make_sampler
from hpo.storage.ledger import Ledger, StudyMeta
from hpo.storage.sql import open_storage
from hpo.storage.studies import delete_study
from hpo.storage.warm_start import WARM_START, started_from, warm_start

SPACE = Space(lr=Float(0.0, 1.0), kind=Choice("a", "b"))


def meta(**changes: Any) -> StudyMeta:
    given: dict[str, Any] = {
        "model": "m",
        "metric": "accuracy",
        "direction": "maximize",
        "space": SPACE,
        "data": "other",
        "epochs": 4,
        "seed": 0,
    }
    return StudyMeta(**{**given, **changes})


def make(storage: Any, name: str, n_trials: int = 3, **changes: Any) -> Ledger:
    what = meta(**changes)
    ledger = Ledger.create_or_open(
        storage,
        name,
        what,
        lambda n: make_sampler("random", what.space, 0, n_trials_done=n),
        make_pruner("none", epochs=4),
    )
    for k in range(n_trials):
        asked = ledger.ask()
        assert asked is not None
        ledger.complete(asked.number, 0.5 + 0.1 * k)
    return ledger


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One good study and one of each kind that cannot be started from."""
    storage = open_storage(f"sqlite:///{tmp_path_factory.mktemp('warm')}/hpo.db", create=True)
    make(storage, "good", space=Space(lr=Float(0.0, 2.0)), settings={"fixed": {"kind": "b"}})
    make(storage, "model", model="n")
    make(storage, "metric", metric="f1")
    make(storage, "direction", direction="minimize")
    make(storage, "empty", n_trials=0)
    failed = make(storage, "failed", n_trials=0)
    asked = failed.ask()
    assert asked is not None
    failed.fail(asked.number, "no memory")
    make(storage, "elsewhere", space=Space(lr=Float(0.0, 1.0), kind=Choice("c", "d")))
    optuna.create_study(storage=storage, study_name="plain")
    return storage


def test_values_are_losses_and_fixed_parameters_are_params(storage: Any) -> None:
    start = warm_start(storage, "new", meta(), ["good"])
    (source,) = start.sources
    assert [trial.loss for trial in source.trials] == pytest.approx([-0.5, -0.6, -0.7])
    assert {trial.params["kind"] for trial in source.trials} == {"b"}
    assert start.record == [{"study": "good", "data": "other", "trials": 3}]
    assert start.notices == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("new", "is this study itself: name an earlier one"),
        ("goood", "did you mean 'good'"),
        ("plain", "not made by `hpo run`"),
        ("model", "has model 'n', this study 'm'"),
        ("metric", "has metric 'f1', this study 'accuracy'"),
        ("direction", "has direction 'minimize', this study 'maximize'"),
        ("empty", "has no completed trial"),
        ("failed", "has no completed trial"),
        ("elsewhere", "none of its 3 configurations is possible"),
    ],
)
def test_what_cannot_be_started_from_is_refused(storage: Any, name: str, expected: str) -> None:
    with pytest.raises(SpecError) as refused:
        warm_start(storage, "new", meta(), ["good", name])
    (line,) = refused.value.problems
    assert line.startswith("warm_start: ") and repr(name) in line and expected in line


def test_what_breaks_this_studys_constraints_is_left_out(tmp_path: Path) -> None:
    storage = open_storage(f"sqlite:///{tmp_path}/hpo.db", create=True)
    old = make(storage, "old", n_trials=0)  # without constraints: it takes whatever is good
    for accuracy, params in ((0.9, 500.0), (0.7, 80.0), (0.8, 100.0)):
        asked = old.ask()
        assert asked is not None
        metrics = {"accuracy": accuracy, "params": params}
        old.complete(asked.number, accuracy, {"metrics": metrics})

    def started(*constraints: str) -> list[int]:
        new = meta(constraints=constraints_of(constraints))
        (source,) = warm_start(storage, "new", new, ["old"]).sources
        return [trial.number for trial in source.trials]

    assert started() == [0, 1, 2]
    assert started("params<=100") == [1, 2]
    assert started("latency_ms<=3") == [0, 1, 2]  # not measured then, so not known now
    with pytest.raises(SpecError, match=r"'old': none of its 3 completed trials keeps params<=9:"):
        started("params<=9")


def test_a_study_of_several_objectives_is_no_start(tmp_path: Path) -> None:
    storage = open_storage(f"sqlite:///{tmp_path}/hpo.db", create=True)
    more = (Objective("params", "minimize"),)
    front = make(storage, "front", n_trials=0, more=more)
    asked = front.ask()
    assert asked is not None
    front.conclude(asked.number, {"accuracy": 0.9, "params": 5.0})
    with pytest.raises(SpecError, match="warm_start: 'front' has several objectives: name one"):
        warm_start(storage, "new", meta(), ["front"])
    assert warm_start(storage, "new", meta(), ["all"]).sources == ()


def test_all_problems_are_told_at_once(storage: Any) -> None:
    with pytest.raises(SpecError) as refused:
        warm_start(storage, "new", meta(), ["model", "nowhere", "empty"])
    assert len(refused.value.problems) == 3


def test_all_takes_every_study_that_fits_the_latest_first(tmp_path: Path) -> None:
    storage = open_storage(f"sqlite:///{tmp_path}/hpo.db", create=True)
    for name in ("first", "second", "new"):
        make(storage, name)
    make(storage, "model", model="n")
    make(storage, "empty", n_trials=0)
    optuna.create_study(storage=storage, study_name="plain")
    start = warm_start(storage, "new", meta(), ["all"])
    assert [source.name for source in start.sources] == ["second", "first"]
    alone = warm_start(storage, "model", meta(model="n"), ["all"])
    assert alone.sources == () and "starts cold" in alone.notices[0]


def test_what_a_study_was_started_from_is_kept_even_if_it_is_gone(tmp_path: Path) -> None:
    storage = open_storage(f"sqlite:///{tmp_path}/hpo.db", create=True)
    make(storage, "old")
    ledger = make(storage, "new", n_trials=0)
    ledger.set_attr(WARM_START, warm_start(storage, "new", meta(), ["old"]).record)
    again = warm_start(storage, "new", meta(), [])
    assert [source.name for source in again.sources] == ["old"]
    delete_study(storage, "old")
    gone = warm_start(storage, "new", meta(), ["old"])  # the same command again
    assert gone.sources == () and "'old'" in gone.notices[0]
    assert gone.record == started_from(ledger.study.user_attrs) == again.record
