"""The ledger: true states, nothing twice, reopening, on SQLite and PostgreSQL."""

from __future__ import annotations

import math
import threading
from pathlib import Path
from typing import Any

import optuna
import pytest
from sqlalchemy.exc import OperationalError

from hpo import Choice, Float, Int, Space, SpecError
from hpo.errors import StorageError, TrialError
from hpo.search import make_pruner, make_sampler
from hpo.storage.ledger import Ledger, StudyMeta
from hpo.storage.sql import open_storage
from hpo.storage.studies import delete_study, list_studies
from tests.postgres import PostgresServer

SPACE = Space(x=Float(0.0, 1.0), kind=Choice("a", "b"), n=Int(1, 8, when={"kind": "b"}))


def meta(**changes: Any) -> StudyMeta:
    given = {
        "model": "m",
        "metric": "accuracy",
        "direction": "maximize",
        "space": SPACE,
        "data": "d",
        "epochs": 4,
        "seed": 0,
    }
    return StudyMeta(**{**given, **changes})


def opened(url: str, sampler: str = "random", pruner: str = "none", **changes: Any) -> Ledger:
    what = meta(**changes)
    return Ledger.create_or_open(
        open_storage(url, create=True),
        "s",
        what,
        lambda n: make_sampler(sampler, what.space, 0, n_trials_done=n),
        make_pruner(pruner, epochs=4),
    )


def test_states_values_and_attributes_are_true(storage_url: str) -> None:
    ledger = opened(storage_url)
    numbers = [ledger.ask(origin={"seed": 3}).number for _ in range(3)]  # type: ignore[union-attr]
    assert numbers == [0, 1, 2]
    assert ledger.report(0, 1, 0.5) is False
    ledger.report(1, 1, 0.4)
    assert ledger.complete(0, 0.75, {"metrics": {"accuracy": 0.75}})
    assert ledger.prune(1)
    assert ledger.fail(2, "ran\nout of  memory", "Traceback ...")
    again = Ledger.open(open_storage(storage_url, create=False), "s")
    done, pruned, failed = again.trials()
    assert (done.state.name, done.value, done.intermediate_values) == ("COMPLETE", 0.75, {1: 0.5})
    assert done.user_attrs["metrics"] == {"accuracy": 0.75}
    assert done.user_attrs["origin"]["seed"] == 3
    assert (pruned.state.name, pruned.value) == ("PRUNED", 0.4)
    assert failed.user_attrs["fail_reason"] == "ran out of memory"
    assert again.counts() == {"COMPLETE": 1, "PRUNED": 1, "FAIL": 1}
    assert again.best().number == 0  # type: ignore[union-attr]


def test_a_second_end_is_ignored(storage_url: str) -> None:
    ledger = opened(storage_url)
    ledger.ask()
    assert ledger.complete(0, 0.5)
    assert not ledger.complete(0, 0.9)
    assert not ledger.fail(0, "late", None)
    assert ledger.trial(0).value == 0.5
    assert ledger.counts() == {"COMPLETE": 1}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None, "high", True, [1], 9**999])
def test_what_is_no_number_fails_with_a_reason(storage_url: str, value: Any) -> None:
    ledger = opened(storage_url)
    ledger.ask()
    with pytest.raises(TrialError, match="accuracy"):
        ledger.report(0, 1, value)
    ledger.complete(0, value, {"metrics": {"accuracy": value}})
    assert ledger.trial(0).state.name == "FAIL"
    assert "accuracy" in ledger.trial(0).user_attrs["fail_reason"]
    assert ledger.best() is None


def test_what_a_dead_driver_left_is_ended(storage_url: str) -> None:
    opened(storage_url).ask()
    ledger = opened(storage_url)
    assert ledger.reconcile() == 1
    assert ledger.trial(0).user_attrs["fail_reason"] == "lost: its driver died"
    assert ledger.reconcile() == 0


def test_top_lists_distinct_configurations(storage_url: str) -> None:
    ledger = opened(storage_url)
    for value, x in ((0.5, 0.1), (0.9, 0.2), (0.8, 0.2), (0.7, 0.3)):
        asked = ledger.ask({"x": x, "kind": "a"})
        assert asked is not None
        assert asked.params == {"x": x, "kind": "a"}
        ledger.complete(asked.number, value)
    assert [t.value for t in ledger.top(2)] == [0.9, 0.7]


def test_the_pruner_is_asked(storage_url: str) -> None:
    ledger = opened(storage_url, pruner="median")
    for value in (0.9, 0.8, 0.85, 0.95, 0.9):
        asked = ledger.ask()
        assert asked is not None
        for step in range(1, 5):
            ledger.report(asked.number, step, value)
        ledger.complete(asked.number, value)
    last = ledger.ask()
    assert last is not None
    assert any(ledger.report(last.number, step, 0.1) for step in range(1, 4))


@pytest.mark.parametrize("pruner", ["median", "curve", "asha", "hyperband"])
def test_a_trial_that_has_reported_its_last_epoch_is_not_pruned(
    tmp_path: Path, pruner: str
) -> None:
    ledger = opened(f"sqlite:///{tmp_path}/trials.db", pruner=pruner)
    for _ in range(9):
        good = ledger.ask()
        assert good is not None
        for step in range(1, 7):  # a function may report more often than it was asked to
            ledger.report(good.number, step, 0.9, prune=False)
        ledger.complete(good.number, 0.9)
    bad = ledger.ask()
    assert bad is not None
    before_the_end = [ledger.report(bad.number, step, 0.1) for step in (1, 2, 3)]
    at_the_end = [ledger.report(bad.number, step, 0.1) for step in (4, 5, 6)]
    assert any(before_the_end) or pruner != "median"  # others may leave it in peace
    assert not any(at_the_end)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"direction": "minimize"}, "direction was 'maximize'"),
        ({"model": "other"}, "model was 'm'"),
        ({"data": "other"}, "data was 'd'"),
        ({"epochs": 9}, "epochs was 4"),
        ({"metric": "f1"}, "metric was 'accuracy'"),
        ({"space": Space(x=Float(0.0, 0.5), kind=Choice("a", "b"))}, "narrower"),
    ],
)
def test_another_study_under_the_same_name_is_refused(
    storage_url: str, change: dict[str, Any], expected: str
) -> None:
    opened(storage_url).ask()
    with pytest.raises(SpecError, match=expected):
        opened(storage_url, **change)
    assert opened(storage_url).meta == meta()


def test_a_wider_space_keeps_its_history(storage_url: str) -> None:
    ledger = opened(storage_url)
    for i, value in enumerate((0.3, 0.6, 0.9)):
        ledger.ask({"x": i / 2, "kind": "b", "n": i + 1})
        ledger.complete(i, value)
    wider = Space(
        x=Float(-1.0, 2.0), kind=Choice("new", "b", "a"), n=Int(1, 16, when={"kind": "b"})
    )
    ledger = opened(storage_url, sampler="tpe", space=wider)
    assert ledger.best().params == {"x": 1.0, "kind": "b", "n": 3}  # type: ignore[union-attr]
    seen = set()
    for _ in range(25):
        asked = ledger.ask()
        assert asked is not None
        assert wider.validate(asked.params) == []
        seen.add(asked.params["kind"])
        ledger.complete(asked.number, asked.params["x"])
    assert "new" in seen
    assert ledger.counts() == {"COMPLETE": 28}


def test_a_grid_ends_by_itself(storage_url: str) -> None:
    space = Space(a=Int(0, 2), b=Choice("x", "y"))
    ledger = opened(storage_url, sampler="grid", space=space)
    points = set()
    while (asked := ledger.ask()) is not None:
        points.add(space.key(asked.params))
        ledger.complete(asked.number, 1.0)
    assert len(points) == sum(ledger.counts().values()) == 6


def test_studies_are_listed_and_misspellings_suggested(storage_url: str) -> None:
    ledger = opened(storage_url)
    ledger.ask()
    ledger.complete(0, 0.5)
    (summary,) = list_studies(ledger.storage)
    assert (summary.name, summary.model, summary.best) == ("s", "m", 0.5)
    assert (summary.trials, summary.goal) == ({"complete": 1}, "maximize accuracy")
    with pytest.raises(SpecError, match="see `hpo studies`"):
        Ledger.open(ledger.storage, "other")


def test_every_difference_is_listed_at_once(storage_url: str) -> None:
    opened(storage_url).ask()
    narrower = Space(x=Float(0.0, 0.5), kind=Choice("a", "b"))
    with pytest.raises(SpecError) as caught:
        opened(storage_url, direction="minimize", epochs=9, space=narrower)
    assert len(caught.value.problems) == 4
    assert all("--name" in line and "\n" not in line for line in caught.value.problems)


def test_a_report_after_the_end_stores_nothing_and_says_stop(storage_url: str) -> None:
    ledger = opened(storage_url)
    ledger.ask()
    ledger.report(0, 1, 0.5)
    ledger.fail(0, "gone", None)
    assert ledger.report(0, 2, 0.6) is True
    assert ledger.trial(0).intermediate_values == {1: 0.5}


def test_what_another_process_ended_stays_as_it_is(storage_url: str) -> None:
    first = opened(storage_url)
    first.ask()
    first.ask()
    assert opened(storage_url).reconcile(reason="taken for dead") == 2
    assert first.report(0, 1, 0.5) is True
    assert not first.complete(0, 0.5, {"late": 1})
    assert not first.fail(1, "late", None)
    found = Ledger.open(open_storage(storage_url, create=False), "s")
    assert found.counts() == {"FAIL": 2}
    attrs = found.trial(0).user_attrs
    assert (attrs["fail_reason"], attrs["fail_kind"]) == ("taken for dead", "lost")
    assert "late" not in attrs


def test_many_ends_at_once_count_once(storage_url: str) -> None:
    ledger = opened(storage_url)
    ledger.ask()
    told: list[bool] = []
    threads = [
        threading.Thread(target=lambda v=v: told.append(ledger.complete(0, v)))  # type: ignore[misc]
        for v in (0.1, 0.2, 0.3, 0.4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(told) == [False, False, False, True]
    assert ledger.counts() == {"COMPLETE": 1}


def test_a_configuration_outside_the_space_is_refused_without_a_row(storage_url: str) -> None:
    ledger = opened(storage_url)
    with pytest.raises(SpecError, match="x: 7"):
        ledger.ask({"x": 7.0, "kind": "a"})
    assert ledger.counts() == {}


def test_attributes_hold_what_json_cannot(storage_url: str) -> None:
    ledger = opened(storage_url)
    ledger.ask(origin={"loss": math.nan, "text": "nul \0 and \ud800"})
    ledger.complete(0, 0.5, {"metrics": {"loss": math.inf, "list": (1, -math.inf)}})
    attrs = Ledger.open(open_storage(storage_url, create=False), "s").trial(0).user_attrs
    assert attrs["origin"]["loss"] == "nan"
    assert attrs["metrics"] == {"loss": "inf", "list": [1, "-inf"]}
    ledger.set_attr("note", {"a": 1})
    assert ledger.attr("note") == {"a": 1}
    assert ledger.attr("none") is None


def test_a_study_whose_creation_was_cut_off_is_completed(storage_url: str) -> None:
    storage = open_storage(storage_url, create=True)
    optuna.create_study(storage=storage, study_name="s", direction="maximize")
    ledger = opened(storage_url)
    assert ledger.ask() is not None
    assert Ledger.open(storage, "s").meta == meta()


def test_a_study_of_plain_optuna_is_listed_and_left_alone(storage_url: str) -> None:
    storage = open_storage(storage_url, create=True)
    plain = optuna.create_study(storage=storage, study_name="s", direction="maximize")
    plain.tell(plain.ask(), 1.0)
    both = optuna.create_study(storage=storage, study_name="two", directions=["minimize"] * 2)
    both.tell(both.ask(), [1.0, 2.0])
    for call in (lambda: opened(storage_url), lambda: Ledger.open(storage, "s")):
        with pytest.raises(SpecError, match="not made by `hpo run`"):
            call()
    assert [(s.name, s.model, s.best) for s in list_studies(storage)] == [
        ("s", "-", 1.0),
        ("two", "-", [1.0, 2.0]),
    ]


def test_a_study_is_deleted_by_its_exact_name(storage_url: str) -> None:
    ledger = opened(storage_url)
    ledger.ask()
    with pytest.raises(SpecError, match="did you mean 's'"):
        delete_study(ledger.storage, "ss")
    delete_study(ledger.storage, "s")
    assert list_studies(ledger.storage) == []


def test_a_short_outage_is_waited_out_and_a_long_one_is_one_line(
    storage_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = opened(storage_url)
    ledger.patience.wait_s = 0.5
    ledger.ask()
    n_left = 2
    write = ledger.storage.set_trial_intermediate_value

    def failing(*arguments: Any) -> None:
        nonlocal n_left
        if n_left:
            n_left -= 1
            raise OperationalError("insert", {}, Exception("server closed\nthe connection"))
        write(*arguments)

    monkeypatch.setattr(ledger.storage, "set_trial_intermediate_value", failing)
    ledger.report(0, 1, 0.5)
    assert ledger.trial(0).intermediate_values == {1: 0.5}
    n_left = 1000
    with pytest.raises(StorageError) as caught:
        ledger.report(0, 2, 0.5)
    assert "server closed the connection: every acknowledged result is stored" in str(caught.value)


@pytest.mark.postgres
def test_a_restart_of_the_database_loses_no_trial(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    ledger = opened(postgres_url)
    ledger.ask()
    ledger.report(0, 1, 0.5)
    postgres_server.stop()
    back = threading.Timer(1.5, postgres_server.start)
    back.start()
    try:
        ledger.report(0, 2, 0.6)
        assert ledger.complete(0, 0.6)
    finally:
        back.join()
    assert ledger.trial(0).intermediate_values == {1: 0.5, 2: 0.6}
    assert ledger.counts() == {"COMPLETE": 1}
