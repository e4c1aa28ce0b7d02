"""A whole study: read, written in one transaction, ended where nobody drives it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import warnings
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy import event

from hpo.errors import SpecError
from hpo.storage.attempts import KIND, PAUSED, REASON
from hpo.storage.lock import engine_of
from hpo.storage.sql import open_storage
from hpo.storage.whole import WholeStudy, internal, read_study, write_study
from tests.storage.test_bulk import trials


def facts(study: WholeStudy, *, name: bool = True) -> dict[str, Any]:
    """All of a study but its trials' ids; floats and moments to the last digit."""
    shown = [
        {k: repr(v) for k, v in vars(trial).items() if k != "_trial_id"} for trial in study.trials
    ]
    found = {"name": study.name, "directions": study.directions, "trials": shown}
    found |= {"user": dict(study.user_attrs), "system": dict(study.system_attrs)}
    return found if name else {**found, "name": None}


def made(storage: Any, name: str) -> WholeStudy:
    """A study of Optuna's own making with trials of every state."""
    study = optuna.create_study(storage=storage, study_name=name, directions=["minimize"] * 2)
    study.set_user_attr("who", {"é": [1, None]})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study.set_metric_names(["a", "b"])
    for trial in trials():
        study.add_trial(trial)
    return read_study(storage, name)


def test_a_copy_is_what_optuna_would_have_written(storage_url: str) -> None:
    storage = open_storage(storage_url, create=True)
    first = made(storage, "first")
    write_study(storage, first.named("second"))
    assert facts(read_study(storage, "second"), name=False) == facts(first, name=False)
    # Optuna itself, without this service's way of reading, says the same.
    url = engine_of(storage).url.render_as_string(hide_password=False)
    ours, theirs = (optuna.load_study(study_name=n, storage=url) for n in ("first", "second"))
    assert ours.directions == theirs.directions and ours.metric_names == theirs.metric_names
    assert [repr(vars(a)) for a in _without_ids(ours)] == [
        repr(vars(b)) for b in _without_ids(theirs)
    ]
    theirs.add_trial(create_trial(values=[1.0, 2.0]))  # and goes on with it
    assert theirs.trials[-1].number == len(first.trials)


def _without_ids(study: optuna.Study) -> list[FrozenTrial]:
    found = study.get_trials()
    for trial in found:
        trial._trial_id = 0
    return found


def test_a_name_that_is_taken_is_refused_with_the_remedy(storage_url: str) -> None:
    storage = open_storage(storage_url, create=True)
    study = made(storage, "s")
    with pytest.raises(SpecError, match="'s' is in this storage already: give --name another"):
        write_study(storage, study)
    assert facts(read_study(storage, "s")) == facts(study)


def _write_until_killed(url: str, study: WholeStudy, table: str) -> None:
    storage = open_storage(url, create=False)

    @event.listens_for(engine_of(storage), "after_cursor_execute")
    def kill(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if statement.lower().startswith(f"insert into {table} "):
            os.kill(os.getpid(), signal.SIGKILL)

    write_study(storage, study)


def test_what_is_killed_while_it_writes_leaves_nothing(storage_url: str) -> None:
    storage = open_storage(storage_url, create=True)
    study = made(storage, "s").named("new")
    process = multiprocessing.get_context("spawn").Process(
        target=_write_until_killed, args=(storage_url, study, "trial_values")
    )
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert optuna.get_all_study_names(storage) == ["s"]
    write_study(storage, study)
    assert len(read_study(storage, "new").trials) == len(study.trials)


def test_what_was_running_ends_as_a_driver_would_end_it() -> None:
    going = create_trial(state=TrialState.RUNNING, intermediate_values={1: 0.5})
    paused = create_trial(
        state=TrialState.RUNNING, user_attrs={PAUSED: 2}, intermediate_values={1: 0.5, 2: 0.7}
    )
    study = WholeStudy("s", (optuna.study.StudyDirection.MAXIMIZE,), {}, {}, (going, paused))
    failed, pruned = study.ended().trials
    assert failed.state == TrialState.FAIL and failed.value is None
    assert failed.user_attrs[KIND] == "lost" and "running" in failed.user_attrs[REASON]
    assert pruned.state == TrialState.PRUNED and pruned.value == 0.7
    assert going.state == paused.state == TrialState.RUNNING  # what was read is not touched


def test_true_is_not_taken_for_one() -> None:
    choices = CategoricalDistribution((1, True, 1.0, 0.5, None))
    assert [internal(choices, choice) for choice in choices.choices] == [0, 1, 2, 3, 4]
