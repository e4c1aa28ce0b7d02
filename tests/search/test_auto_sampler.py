"""What auto chooses, that it then is the sampler it chose, and that it says so."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any

import optuna
import pytest
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from hpo.search import make_sampler
from hpo.search.auto_sampler import (
    CHOICES,
    MAX_GP_TRIALS,
    N_TIMED,
    AutoSampler,
    Facts,
    choices_text,
    choose_sampler,
    facts_at_start,
    training_s,
)
from hpo.space import Choice, Float, Int, Space

SPACE = Space(x=Float(0.0, 1.0), n=Int(1, 9), kind=Choice("u", "v"))
NOON = datetime(2026, 1, 1, 12)


@pytest.mark.parametrize(
    ("facts", "sampler", "reason"),
    [
        (Facts("mixed", n_trials=20), "gp", "few, costly trials of a mixed space"),
        (Facts("continuous"), "gp", "continuous space"),  # --timeout alone: no number of trials
        (Facts("conditional", n_trials=1000, n_ended=999), "gp", "conditional space"),
        (Facts("finite", 24, 40), "gp", "each of 24 points once"),
        (Facts("mixed", n_trials=5000), "gp", "until 1,000 of 5,000 trials have ended, then tpe"),
        (Facts("mixed", n_ended=1000), "tpe", "1,000 trials have ended, more than gp learns from"),
        (Facts("finite", 2000, 2000, n_ended=1000), "tpe", "1,000 trials have ended"),
        (Facts("mixed", trial_s=0.02), "tpe", "trials take 0.02 s: gp might not propose as fast"),
        (Facts("mixed", trial_s=0.099), "tpe", "0.099 s"),
        (Facts("mixed", trial_s=0.1), "gp", "few, costly"),
        (Facts("mixed", trial_s=1.5, n_concurrent=15), "gp", "few, costly"),
        (Facts("mixed", trial_s=1.5, n_concurrent=16), "tpe", "trials take 1.5 s, 16 at once"),
        (Facts("finite", 24, 40, trial_s=0.02), "tpe", "0.02 s"),
        (Facts("mixed", trial_s=0.0, short_s=0), "gp", "few, costly"),
    ],
)
def test_the_decision_table(facts: Facts, sampler: str, reason: str) -> None:
    chosen = choose_sampler(facts)
    assert chosen.sampler == sampler
    assert reason in chosen.reason
    assert "\n" not in str(chosen)


@pytest.mark.parametrize(
    ("space", "kind", "size"),
    [
        (Space(x=Float(0.0, 1.0), y=Float(1e-4, 1.0, log=True)), "continuous", None),
        (SPACE, "mixed", None),
        (Space(n=Int(1, 9), kind=Choice("u", "v")), "finite", 18),
        (Space(s=Float(0.0, 0.5, step=0.1)), "finite", 6),
        (Space(kind=Choice("u", "v"), x=Float(0.0, 1.0, when={"kind": "u"})), "conditional", None),
        (Space(kind=Choice("u", "v"), n=Int(1, 3, when={"kind": "u"})), "conditional", 4),
        (Space(n=Int(1, 10**9)), "mixed", None),
    ],
)
def test_a_space_is_known_by_its_parameters(space: Space, kind: str, size: int | None) -> None:
    unknown = facts_at_start(space, None)  # a finite space counts by its own size then
    assert (unknown.kind, unknown.n_points) == (kind, size)
    if size is not None:
        assert facts_at_start(space, size).n_points == size
        assert facts_at_start(space, size - 1).n_points is None


def ended(
    number: int, spent_s: float, state: TrialState = TrialState.COMPLETE, **attrs: Any
) -> FrozenTrial:
    """A trial that began when the one before it did, and took so long from start to end."""
    value = float(number) if state == TrialState.COMPLETE else None
    trial = optuna.trial.create_trial(
        state=state,
        value=value,
        params={"x": number / 2000, "n": 1 + number % 9, "kind": "u"},
        distributions=SPACE.distributions(),
        user_attrs=attrs,
    )
    trial.number = number
    trial.datetime_start = NOON
    trial.datetime_complete = NOON + timedelta(seconds=spent_s)
    return trial


def test_the_trials_that_ended_first_say_how_long_one_takes() -> None:
    trials = [ended(k, 1.0 + k) for k in range(N_TIMED)]
    assert training_s(trials[:-1]) is None
    assert training_s(trials) == 5.5
    # Later ones do not change it, nor do those that failed or still run.
    failed = ended(99, 0.0, TrialState.FAIL)
    assert training_s([failed, *trials, ended(100, 60.0), ended(101, 90.0)]) == 5.5
    # The worker's own clock counts where there is one.
    waited = [ended(k, 9.0, run={"duration_s": 0.25}) for k in range(N_TIMED)]
    assert training_s(waited) == 0.25


def tell(study: optuna.Study, n: int) -> list[dict[str, Any]]:
    proposals = []
    for _ in range(n):
        trial = study.ask()
        proposals.append(SPACE.suggest(trial))
        study.tell(trial, proposals[-1]["x"])
    return proposals


def test_it_proposes_what_the_chosen_sampler_would() -> None:
    auto = optuna.create_study(sampler=make_sampler("auto", SPACE, 3, n_trials=12, short_s=0))
    alone = optuna.create_study(sampler=make_sampler("gp", SPACE, 3, n_trials=12))
    assert tell(auto, 7) == tell(alone, 7)


@pytest.mark.parametrize("directions", [["minimize"], ["minimize", "maximize"]])
@pytest.mark.parametrize(("short_s", "chosen"), [(0, ["gp"]), (60, ["gp", "tpe"])])
def test_it_chooses_so_under_constraints_and_for_several_objectives_too(
    directions: list[str], short_s: float, chosen: list[str]
) -> None:
    def told(name: str, **options: Any) -> optuna.Study:
        sampler = make_sampler(name, SPACE, 3, n_trials=12, **options)
        study = optuna.create_study(directions=directions, sampler=sampler)
        for _ in range(N_TIMED + 2):
            trial = study.ask()
            point = SPACE.suggest(trial)
            trial.set_constraint("n", point["n"] - 5.0)
            study.tell(trial, [point["x"], float(point["n"])][: len(directions)])
        return study

    auto = told("auto", short_s=short_s)
    assert [choice["sampler"] for choice in auto.user_attrs[CHOICES]] == chosen
    points, alone = ([trial.params for trial in study.trials] for study in (auto, told("gp")))
    n_same = N_TIMED if "tpe" in chosen else N_TIMED + 2
    assert points[:n_same] == alone[:n_same]
    assert len({SPACE.key(point) for point in points}) == N_TIMED + 2


def test_short_trials_change_the_sampler_once_and_for_all(
    storage: BaseStorage, caplog: pytest.LogCaptureFixture
) -> None:
    options: dict[str, Any] = {"storage": storage, "study_name": "s"}
    study = optuna.create_study(sampler=make_sampler("auto", SPACE, 3, short_s=60), **options)
    with caplog.at_level(logging.WARNING, "hpo"):
        tell(study, N_TIMED)
        assert not caplog.records
        tell(study, 2)
    assert len(caplog.records) == 1
    assert f"auto: from trial {N_TIMED} on tpe: trials take" in caplog.records[0].getMessage()
    choices = study.user_attrs[CHOICES]
    assert [(c["from_trial"], c["sampler"]) for c in choices] == [(0, "gp"), (N_TIMED, "tpe")]
    assert choices_text(choices).startswith(
        "gp: few, costly trials of a mixed space; from trial 10"
    )

    # A later run, or a driver beside this one, finds the same in the storage and says nothing new.
    for n_done in (12, 12 + 2**20):
        later = make_sampler("auto", SPACE, 3, n_trials_done=n_done, short_s=60)
        assert isinstance(later, AutoSampler)
        assert later.chosen(study).sampler == "tpe"
        tell(optuna.load_study(sampler=later, **options), 1)
    assert study.user_attrs[CHOICES] == choices


def test_a_long_study_is_left_to_tpe() -> None:
    study = optuna.create_study(sampler=make_sampler("auto", SPACE, 3))
    study.add_trials([ended(k, 60.0) for k in range(MAX_GP_TRIALS)])
    tell(study, 1)
    assert [c["sampler"] for c in study.user_attrs[CHOICES]] == ["tpe"]
    shown = study.sampler._made["tpe"]._window.of(study, study.trials)  # type: ignore[attr-defined]
    assert len(shown.trials) <= 500  # tpe with its own window


def test_a_failure_is_not_forgotten_when_the_sampler_changes() -> None:
    space = Space(n=Int(1, N_TIMED + 2))
    sampler = make_sampler("auto", space, 0, short_s=60)
    study = optuna.create_study(sampler=sampler)
    failed = study.ask()
    point = space.suggest(failed)
    study.tell(failed, state=TrialState.FAIL)
    found = []
    while not sampler.exhausted(study):
        trial = study.ask()
        found.append(space.suggest(trial))
        study.tell(trial, 1.0)
    assert [c["sampler"] for c in study.user_attrs[CHOICES]] == ["gp", "tpe"]
    assert point not in found
    assert len(found) == N_TIMED + 1


def test_hyperband_does_not_hide_the_choice() -> None:
    pruner = optuna.pruners.HyperbandPruner(min_resource=1, max_resource=9)
    study = optuna.create_study(
        storage=InMemoryStorage(), sampler=make_sampler("auto", SPACE, 3), pruner=pruner
    )
    tell(study, N_TIMED + 2)
    assert [c["sampler"] for c in study.user_attrs[CHOICES]] == ["gp", "tpe"]
