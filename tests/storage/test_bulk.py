"""Reading a study at once gives what Optuna's own storage gives, on SQLite and PostgreSQL."""

from __future__ import annotations

import math
import time
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from hpo.storage.aggregates import totals
from hpo.storage.bulk import BulkStorage
from hpo.storage.lock import engine_of
from hpo.storage.sql import open_storage

X, N = FloatDistribution(1e-5, 1.0, log=True), IntDistribution(1, 9, step=2)
C = CategoricalDistribution((None, True, 3, 0.5, "text"))


def trials() -> list[FrozenTrial]:
    made = [
        create_trial(params={"x": 0.1, "n": 3}, distributions={"x": X, "n": N}, values=[1.5, -2.0]),
        create_trial(values=[math.inf, -math.inf]),
        create_trial(state=TrialState.FAIL, user_attrs={"why": {"é": [1, None]}}),
        create_trial(
            state=TrialState.PRUNED,
            system_attrs={"completed": 1},
            intermediate_values={0: math.nan, 1: math.inf, 2: -math.inf, 10: 0.25},
        ),
        create_trial(state=TrialState.RUNNING, params={"x": 0.2}, distributions={"x": X}),
        create_trial(state=TrialState.WAITING),
    ]
    for choice in C.choices:
        made.append(create_trial(params={"c": choice}, distributions={"c": C}, values=[0.0, 1.0]))
    return made


def known(trial: FrozenTrial) -> dict[str, Any]:
    return {name: repr(value) for name, value in vars(trial).items()}


def test_it_reads_what_optuna_reads(storage_url: str) -> None:
    storage = open_storage(storage_url, create=True)
    study = optuna.create_study(storage=storage, study_name="s", directions=["minimize"] * 2)
    other = optuna.create_study(storage=storage, study_name="other", directions=["minimize"] * 2)
    for trial in trials():
        study.add_trial(trial)
        other.add_trial(trial)
    study_id = study._study_id
    url = engine_of(storage).url.render_as_string(hide_password=False)
    ours, theirs = BulkStorage(url), RDBStorage(url)
    found = ours.get_all_trials(study_id)
    assert len(found) == len(trials())
    assert [known(t) for t in found] == [known(t) for t in theirs.get_all_trials(study_id)]
    done = (TrialState.COMPLETE, TrialState.FAIL)
    assert [known(t) for t in ours.get_all_trials(study_id, states=done)] == [
        known(t) for t in theirs.get_all_trials(study_id, states=done)
    ]
    with pytest.raises(KeyError):
        ours.get_all_trials(10**6)


def test_it_tells_local_time_as_optuna_does(
    storage_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        storage = open_storage(storage_url, create=True)
        study = optuna.create_study(storage=storage, study_name="s")
        study.tell(study.ask(), 0.5)
        url = engine_of(storage).url.render_as_string(hide_password=False)
        ours, theirs = (
            s(url).get_all_trials(study._study_id)[0] for s in (BulkStorage, RDBStorage)
        )
        assert known(ours) == known(theirs)
        started = totals(storage, study._study_id)[study._study_id].started
        assert started == theirs.datetime_start
    finally:
        monkeypatch.undo()
        time.tzset()
