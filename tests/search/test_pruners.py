"""Which trials the pruners stop, on learning curves where it is plain which are bad."""

from __future__ import annotations

import optuna
import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from hpo.errors import SpecError
from hpo.search import PRUNERS, make_pruner
from hpo.search.pruners import first_rung

EVERY_PRUNER = pytest.mark.parametrize("name", list(PRUNERS))
EPOCHS = [1, 2, 3, 6, 8, 9, 12, 27, 30]


def run_trial(study: optuna.Study, quality: float, epochs: int) -> int:
    """Reports a curve that rises to `quality` (or falls to -quality); how far it came."""
    sign = 1.0 if study.direction == optuna.study.StudyDirection.MAXIMIZE else -1.0
    trial = study.ask()
    for epoch in range(1, epochs + 1):
        trial.report(sign * quality * (1 - 0.5**epoch), epoch)
        if trial.should_prune():
            study.tell(trial, state=TrialState.PRUNED)
            return epoch
    study.tell(trial, sign * quality)
    return epochs


def make_study(name: str, epochs: int, direction: str = "maximize") -> optuna.Study:
    return optuna.create_study(
        storage=InMemoryStorage(),
        study_name="a study",  # Hyperband draws a trial's bracket by the study's name.
        direction=direction,
        sampler=optuna.samplers.RandomSampler(seed=0),
        pruner=make_pruner(name, epochs=epochs, n_trials=20),
    )


@EVERY_PRUNER
@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_bad_trials_stop_early_and_better_ones_do_not(name: str, direction: str) -> None:
    epochs = 9
    study = make_study(name, epochs, direction)
    for i in range(6):
        run_trial(study, 0.5 + i / 100, epochs)
    bad = [run_trial(study, 0.1, epochs) for _ in range(6)]
    good = [run_trial(study, 0.8 + i / 100, epochs) for i in range(4)]
    assert good == [epochs] * 4
    if name == "none":
        assert bad == [epochs] * 6
    else:
        assert max(bad) < epochs
        assert sum(bad) <= 6 * epochs * 0.75


@pytest.mark.parametrize("name", ["none", "asha", "hyperband"])
@pytest.mark.parametrize("epochs", EPOCHS)
def test_no_rung_prunes_a_trial_at_its_last_epoch(name: str, epochs: int) -> None:
    study = make_study(name, epochs)
    for i in range(20):
        run_trial(study, 0.9 - i / 50, epochs)
    pruned = [t for t in study.trials if t.state == TrialState.PRUNED]
    assert all(t.last_step is not None and t.last_step < epochs for t in pruned)


@EVERY_PRUNER
def test_the_first_trial_runs_to_its_end(name: str) -> None:
    assert run_trial(make_study(name, 8), 0.01, 8) == 8


@pytest.mark.parametrize("epochs", EPOCHS)
def test_rungs_lie_within_a_trial_and_miss_its_last_epoch(epochs: int) -> None:
    rungs = [first_rung(epochs) * 3**k for k in range(5)]
    assert epochs not in rungs
    assert len([rung for rung in rungs if rung < epochs]) >= min(2, epochs // 3 - 1)


def test_asha_lets_about_a_third_pass_the_first_rung() -> None:
    study = make_study("asha", 8)
    order = [(i * 17) % 30 for i in range(30)]  # all qualities, in a fixed disorder
    reached = [run_trial(study, 0.5 + quality / 100, 8) for quality in order]
    # A third of thirty, and some that were early enough to be good for their time.
    assert 6 <= sum(epoch > first_rung(8) for epoch in reached) <= 15


@pytest.mark.parametrize(
    ("name", "epochs", "options", "message"),
    [
        ("asah", 8, {}, "pruner: 'asah' is not known (did you mean asha?): choose from none, med"),
        ("median", 8, {"eta": 2}, "pruner median: option 'eta' is not known: it has none"),
        ("asha", 8, {"reduction_factor": 1}, "reduction_factor: 1 must be a whole number, 2 or"),
        ("none", 0, {}, "epochs: 0 must be a whole number, 1 or more"),
    ],
)
def test_wrong_input_is_refused_with_a_remedy(
    name: str, epochs: int, options: dict[str, int], message: str
) -> None:
    with pytest.raises(SpecError) as error:
        make_pruner(name, epochs=epochs, **options)
    assert message in str(error.value)
