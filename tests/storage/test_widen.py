"""A study goes on in a wider space: its history keeps its meaning, in one transaction."""

from __future__ import annotations

from typing import Any

import optuna
import pytest

from hpo import Choice, Float, Int, Space
from hpo.search import make_pruner, make_sampler
from hpo.storage import widen
from hpo.storage.ledger import Ledger, StudyMeta
from hpo.storage.sql import open_storage

NARROW = Space(
    x=Float(0.01, 1.0, log=True),
    n=Int(2, 8, step=2, when={"kind": ("b", "c")}),
    kind=Choice("a", "b", "c"),
    odd=Choice(1, "1", None, 2.5),
)
WIDE = Space(
    x=Float(0.001, 10.0, log=True),
    n=Int(2, 16, step=2, when={"kind": ("b", "c")}),
    kind=Choice("z", "c", "a", "y", "b"),
    odd=Choice(None, 2, 2.5, "1", 1, "new"),
)
POINTS: list[dict[str, Any]] = [
    {"x": 0.01, "kind": "a", "odd": 1},
    {"x": 0.1, "n": 2, "kind": "b", "odd": "1"},
    {"x": 0.5, "n": 8, "kind": "c", "odd": None},
    {"x": 1.0, "n": 4, "kind": "b", "odd": 2.5},
]


def opened(url: str, space: Space, sampler: str = "random", name: str = "s") -> Ledger:
    return Ledger.create_or_open(
        open_storage(url, create=True),
        name,
        StudyMeta("m", "accuracy", "maximize", space, "d", 4, 0),
        lambda n: make_sampler(sampler, space, 0, n_trials_done=n),
        make_pruner("none", epochs=4),
    )


def with_history(url: str, name: str = "s") -> Ledger:
    ledger = opened(url, NARROW, name=name)
    for value, point in enumerate(POINTS):
        asked = ledger.ask(point)
        assert asked is not None
        ledger.complete(asked.number, float(value))
    return ledger


def typed(point: dict[str, Any]) -> list[tuple[str, str, Any]]:
    return sorted((name, type(value).__name__, value) for name, value in point.items())


def test_every_value_stays_what_it_was(storage_url: str) -> None:
    with_history(storage_url)
    ledger = opened(storage_url, WIDE)
    fresh = Ledger.open(open_storage(storage_url, create=False), "s")
    for found in (ledger, fresh):
        assert [typed(t.params) for t in found.trials()] == [typed(p) for p in POINTS]
        assert found.study.best_trial.params == POINTS[-1]
        assert found.meta.space == WIDE
        for trial in found.trials():
            assert all(d == WIDE.distributions()[n] for n, d in trial.distributions.items())


def test_another_study_beside_it_is_left_alone(storage_url: str) -> None:
    with_history(storage_url)
    with_history(storage_url, name="beside")
    opened(storage_url, WIDE)
    beside = Ledger.open(open_storage(storage_url, create=False), "beside")
    assert [t.params for t in beside.trials()] == POINTS
    assert beside.trials()[0].distributions["kind"] == NARROW.distributions()["kind"]


@pytest.mark.parametrize("sampler", ["random", "tpe", "skopt", "cmaes", "qmc"])
def test_samplers_go_on_in_the_wider_space(sampler: str, storage_url: str) -> None:
    with_history(storage_url)
    opened(storage_url, NARROW, sampler).ask()
    ledger = opened(storage_url, WIDE, sampler)
    ledger.reconcile("lost")
    for _ in range(12):
        asked = ledger.ask()
        assert asked is not None
        assert WIDE.validate(asked.params) == []
        ledger.complete(asked.number, asked.params["x"])
    assert ledger.counts() == {"COMPLETE": 16, "FAIL": 1}


def test_a_grid_goes_on_with_the_new_points_only(storage_url: str) -> None:
    narrow, wide = (
        Space(a=Choice("x", "y"), b=Int(1, 2)),
        Space(a=Choice("n", "y", "x"), b=Int(1, 3)),
    )
    for space, n_points in ((narrow, 4), (wide, 5)):
        ledger = opened(storage_url, space, "grid")
        n_asked = 0
        while (asked := ledger.ask()) is not None:
            ledger.complete(asked.number, 1.0)
            n_asked += 1
        assert n_asked == n_points
    assert len({wide.key(t.params) for t in ledger.trials()}) == 9


def test_a_crash_halfway_changes_nothing(storage_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with_history(storage_url)

    def broken(*_: Any, **__: Any) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(widen.json, "dumps", broken)  # the last statement's, after the rows
        with pytest.raises(KeyboardInterrupt):
            widen.widen(
                open_storage(storage_url, create=False),
                1,
                StudyMeta("m", "accuracy", "maximize", WIDE, "d", 4, 0),
            )
    ledger = opened(storage_url, NARROW)
    assert [typed(t.params) for t in ledger.trials()] == [typed(p) for p in POINTS]
    assert ledger.ask() is not None


def test_widening_twice_is_widening_once(storage_url: str) -> None:
    with_history(storage_url)
    wide = StudyMeta("m", "accuracy", "maximize", WIDE, "d", 4, 0)
    storage = open_storage(storage_url, create=False)
    for _ in range(2):
        storage = widen.widen(storage, 1, wide)
    study = optuna.load_study(study_name="s", storage=storage)
    assert [typed(t.params) for t in study.trials] == [typed(p) for p in POINTS]
