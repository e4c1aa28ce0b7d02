"""Trials begin and end whole: one transaction each, in rows that Optuna reads as its own."""

from __future__ import annotations

import random
from typing import Any

import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from hpo.search import make_pruner
from hpo.search.pruners import PRUNERS
from hpo.storage import rows
from hpo.storage.lock import engine_of
from tests.storage.test_ledger import opened


def commits(engine: Any) -> list[None]:
    """Grows by one with each commit that wrote something."""
    found: list[None] = []
    dirty = False

    @event.listens_for(engine, "before_cursor_execute")
    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        nonlocal dirty
        dirty |= not statement.lstrip().upper().startswith("SELECT")

    @event.listens_for(engine, "commit")
    def count(connection: Any) -> None:
        nonlocal dirty
        if dirty:
            found.append(None)
        dirty = False

    return found


@pytest.mark.parametrize("sampler", ["random", "tpe", "cmaes"])
def test_a_trial_costs_two_commits_and_one_for_each_report(storage_url: str, sampler: str) -> None:
    ledger = opened(storage_url, sampler=sampler, pruner="median")
    for _ in range(12):  # beyond the random start
        asked = ledger.ask()
        assert asked is not None
        ledger.complete(asked.number, asked.params["x"])
    written = commits(engine_of(ledger.storage))
    asked = ledger.ask(origin={"seed": 0})
    assert asked is not None
    ledger.report(asked.number, 1, 0.5)
    ledger.complete(asked.number, 0.5, {"metrics": {"accuracy": 0.5}, "run": {}}, last=(2, 0.6))
    assert len(written) == 3
    assert ledger.trial(asked.number).intermediate_values == {1: 0.5, 2: 0.6}


def test_optuna_reads_what_was_written(storage_url: str) -> None:
    ledger = opened(storage_url)
    asked = ledger.ask({"x": 0.25, "kind": "b", "n": 3}, {"seed": 1})
    assert asked is not None
    url = engine_of(ledger.storage).url.render_as_string(hide_password=False)

    def read() -> Any:
        return RDBStorage(url).get_all_trials(ledger.study._study_id)[0]

    running = read()
    assert (running.number, running.state) == (0, TrialState.RUNNING)
    assert running.params == {"x": 0.25, "kind": "b", "n": 3}
    assert running.distributions == ledger.meta.space.distributions()
    assert running.user_attrs["origin"]["seed"] == 1
    assert running.datetime_complete is None
    ledger.complete(0, 0.75, {"metrics": {"accuracy": 0.75}})
    done = read()
    assert (done.state, done.value) == (TrialState.COMPLETE, 0.75)
    assert done.user_attrs["metrics"] == {"accuracy": 0.75}
    assert done.datetime_start <= done.datetime_complete


def test_attributes_left_by_a_half_written_end_are_overwritten(storage_url: str) -> None:
    ledger = opened(storage_url)
    ledger.ask()
    trial = ledger.trial(0)
    ledger.storage.set_trial_user_attr(trial._trial_id, "metrics", {"accuracy": 0.1})
    assert ledger.complete(0, 0.5, {"metrics": {"accuracy": 0.5}, "run": {"epochs": 1}})
    attrs = ledger.trial(0).user_attrs
    assert (attrs["metrics"], attrs["run"]) == ({"accuracy": 0.5}, {"epochs": 1})


def test_an_end_whose_answer_got_lost_is_told_once(
    storage_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = opened(storage_url)
    ledger.ask()
    ledger.ask()
    write, begin = rows.end_trial, rows.begin_trial
    lost = ["end", "begin"]

    def losing_end(*arguments: Any) -> bool:
        done = write(*arguments)
        if "end" in lost:
            lost.remove("end")
            raise OperationalError("commit", {}, Exception("connection reset"))
        return done

    def losing_begin(*arguments: Any) -> tuple[int, int]:
        done = begin(*arguments)
        if "begin" in lost:
            lost.remove("begin")
            raise OperationalError("commit", {}, Exception("connection reset"))
        return done

    monkeypatch.setattr(rows, "end_trial", losing_end)
    monkeypatch.setattr(rows, "begin_trial", losing_begin)
    assert ledger.complete(0, 0.5, {"run": {"epochs": (1, 2)}}) is True
    asked = ledger.ask()
    assert asked is not None
    assert asked.number == 2
    assert not lost
    assert ledger.counts() == {"COMPLETE": 1, "RUNNING": 2}


def test_an_end_that_cannot_be_written_whole_is_not_written(
    storage_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = opened(storage_url)
    ledger.ask()

    def failing(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(rows, "_set_attributes", failing)
    with pytest.raises(KeyboardInterrupt):
        ledger.complete(0, 0.5, {"run": {}}, last=(1, 0.5))
    trial = ledger.trial(0)
    assert (trial.state, trial.value, trial.intermediate_values) == (TrialState.RUNNING, None, {})


@pytest.mark.parametrize("pruner", list(PRUNERS))
def test_pruners_decide_as_they_do_in_optuna(storage_url: str, pruner: str) -> None:
    rng = random.Random(0)
    curves = [[rng.random() for _ in range(9)] for _ in range(25)]
    ledger = opened(storage_url, pruner=pruner, epochs=10)  # the last report ends a trial
    ledger.study.pruner = make_pruner(pruner, epochs=9)
    ledger._sight.pruner = ledger.study.pruner
    plain = optuna.create_study(
        study_name="s", direction="maximize", pruner=make_pruner(pruner, epochs=9)
    )
    for curve in curves:
        asked, trial = ledger.ask(), plain.ask()
        assert asked is not None
        for step, value in enumerate(curve, start=1):
            trial.report(value, step)
            stop = trial.should_prune()
            assert ledger.report(asked.number, step, value) == stop
            if stop:
                plain.tell(trial, state=TrialState.PRUNED)
                ledger.prune(asked.number)
                break
        else:
            plain.tell(trial, curve[-1])
            ledger.complete(asked.number, curve[-1])
    for ours, theirs in zip(ledger.trials(), plain.trials, strict=True):
        assert (ours.state, ours.value) == (theirs.state, theirs.value)
        assert ours.intermediate_values == theirs.intermediate_values
