"""A study that goes on by its name: what it keeps, and what a run may change."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from hpo import Float, Space, SpecError
from hpo.search import make_pruner, make_sampler
from hpo.storage.ledger import Ledger
from hpo.storage.request import going_on, remember, resolve_as_begun
from hpo.storage.sql import open_storage
from hpo.study import ResolvedStudy, resolve, spec_from
from hpo.tune.driver import meta_for

SOURCE = """
from hpo import Float, Space, tunable

@tunable(Space(x=Float(0, 1), y=Float(0, 1)), "val_loss")
def train(trial):
    trial.report(val_loss=trial.params["x"])
"""


@pytest.fixture
def study(tmp_path: Path) -> ResolvedStudy:
    path = tmp_path / "mine.py"
    path.write_text(SOURCE)
    flags = {"model": f"{path}:train", "n_trials": 4, "set": {"y": "0.1,0.9"}, "epochs": 3}
    return resolve(spec_from({}, flags))


def begin(study: ResolvedStudy, folder: Path, n_trials: int, state: str = "COMPLETE") -> Ledger:
    """The study in a database, with trials that ended."""
    storage = open_storage(f"sqlite:///{folder / 'hpo.db'}", create=True)

    def sampler(n_done: int) -> optuna.samplers.BaseSampler:
        return make_sampler("random", study.space, 0)

    ledger = Ledger.create_or_open(
        storage, study.name, meta_for(study), sampler, make_pruner("none", epochs=1)
    )
    remember(study, ledger, 4)
    for _ in range(n_trials):
        asked = ledger.ask()
        assert asked is not None
        if state == "COMPLETE":
            ledger.report(asked.number, 1, 0.5)
            ledger.complete(asked.number, 0.5)
        else:
            ledger.fail(asked.number, "ValueError: x")
    return ledger


def test_a_study_that_maximises_a_loss_keeps_its_direction(
    study: ResolvedStudy, tmp_path: Path
) -> None:
    (goal,) = study.objectives
    assert goal.direction == "minimize"
    before = replace(study, objectives=(replace(goal, direction="maximize"),))
    ledger = begin(before, tmp_path, 1)
    again = resolve_as_begun(ledger, going_on(ledger))
    assert [one.goal for one in again.objectives] == ["maximize val_loss"]
    assert meta_for(again).problems_from(ledger.meta, study.name) == []
    refused = meta_for(study).problems_from(ledger.meta, study.name)
    assert "direction was 'maximize', is 'minimize'" in refused[0]
    assert "--objective val_loss:maximize" in refused[0]


def test_a_study_whose_listed_values_were_a_range_keeps_it(
    study: ResolvedStudy, tmp_path: Path
) -> None:
    old = Space(x=Float(0, 1), y=Float(0.1, 0.9, grid=(0.1, 0.9)))
    ledger = begin(replace(study, space=old), tmp_path, 1)
    assert resolve_as_begun(ledger, going_on(ledger)).space == old
    fresh = begin(replace(study, name="fresh"), tmp_path, 1)
    assert resolve_as_begun(fresh, going_on(fresh)).space == study.space


def test_resume_takes_trials_and_time_as_run_does(study: ResolvedStudy, tmp_path: Path) -> None:
    ledger = begin(study, tmp_path, 3)
    plain = going_on(ledger)
    assert (plain.n_trials, plain.total_trials) == (None, 4)
    more = going_on(ledger, n_trials=9, timeout=60)
    assert (more.n_trials, more.total_trials, more.timeout) == (9, None, 60)
    assert going_on(ledger, timeout=60).total_trials == 4
    full = begin(replace(study, name="full"), tmp_path, 4)
    resolved = resolve_as_begun(full, going_on(full, timeout=60))
    assert (resolved.n_trials, resolved.spec.total_trials, resolved.timeout) == (None, None, 60)
    with pytest.raises(SpecError, match="n_trials: 0: must be"):
        going_on(ledger, n_trials=0)


def test_other_epochs_are_taken_only_while_no_trial_has_a_value(
    study: ResolvedStudy, tmp_path: Path
) -> None:
    ledger = begin(study, tmp_path, 1)
    assert going_on(ledger, epochs=3).epochs == 3
    with pytest.raises(SpecError, match=r"epochs: 5: the trials of .* have 3.*--warm-start"):
        going_on(ledger, epochs=5)
    failed = begin(replace(study, name="failed"), tmp_path, 2, "FAIL")
    longer = resolve_as_begun(failed, going_on(failed, epochs=5))
    assert longer.epochs == 5
    assert begin(longer, tmp_path, 0).meta.epochs == 5
    assert Ledger.open(failed.storage, failed.name).meta.epochs == 5


def test_a_narrower_range_is_refused_with_the_way(study: ResolvedStudy, tmp_path: Path) -> None:
    begin(study, tmp_path, 1)
    narrower = Space(x=Float(0, 0.5), y=study.space["y"])
    with pytest.raises(SpecError, match=rf"--warm-start {study.name} .* hpo resume {study.name}"):
        begin(replace(study, space=narrower), tmp_path, 0)
