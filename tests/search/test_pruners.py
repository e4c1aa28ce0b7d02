"""Which trials the pruners stop, on learning curves where it is plain which are bad."""

from __future__ import annotations

import math
import time

import optuna
import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from hpo.errors import SpecError
from hpo.search import PRUNERS, make_pruner
from hpo.search.asha import AshaPruner
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
        ("asah", 8, {}, "pruner: 'asah' is unknown (did you mean asha?): choose from none, med"),
        ("median", 8, {"eta": 2}, "pruner median: option 'eta' is unknown: it has none"),
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


def ended(study: optuna.Study, curves: list[list[float]]) -> None:
    for curve in curves:
        trial = study.ask()
        for epoch, value in enumerate(curve, start=1):
            trial.report(value, epoch)
        study.tell(trial, curve[-1])


def stops_at(study: optuna.Study, curve: list[float]) -> int | None:
    trial = study.ask()
    for epoch, value in enumerate(curve, start=1):
        trial.report(value, epoch)
        if trial.should_prune():
            study.tell(trial, state=TrialState.PRUNED)
            return epoch
    study.tell(trial, curve[-1])
    return None


def rising(to: float, rate: float, epochs: int = 27) -> list[float]:
    """Far below its end at first, the more so the lower the rate."""
    return [to * (1 - math.exp(-rate * epoch)) for epoch in range(1, epochs + 1)]


QUICK_AND_SLOW = [rising(0.7 + i / 50, 0.6) for i in range(6)] + [
    rising(0.8 + i / 50, 0.12) for i in range(6)
]


def test_curve_lets_a_slow_starter_be_that_will_end_well() -> None:
    slow, flat = rising(0.93, 0.12), [0.3 + epoch / 500 for epoch in range(27)]
    assert slow[5] < 0.8 * QUICK_AND_SLOW[0][5]
    study = make_study("curve", 27)
    ended(study, QUICK_AND_SLOW)
    assert stops_at(study, slow) is None
    assert (stops_at(study, flat) or 27) <= 10
    compared = make_study("median", 27)
    ended(compared, QUICK_AND_SLOW)
    assert stops_at(compared, slow) is not None


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_curve_decides_the_same_for_losses_and_scores_and_after_divergence(direction: str) -> None:
    sign = 1 if direction == "maximize" else -1
    found = []
    for scale in (1.0, 1e-3, 1e5):
        study = make_study("curve", 27, direction)
        ended(study, [[sign * scale * v for v in curve] for curve in QUICK_AND_SLOW])
        found.append(stops_at(study, [sign * scale * v for v in rising(0.5, 0.3)]))
    assert found[0] is not None
    assert found == [found[0]] * 3
    study = make_study("curve", 27, direction)
    ended(study, [[sign * v for v in curve] for curve in QUICK_AND_SLOW])
    ended(study, [[-1e30] * 27 if sign == 1 else [1e30] * 27])
    assert stops_at(study, [sign * v for v in rising(0.5, 0.3)]) is not None
    assert stops_at(study, [sign * v for v in rising(0.95, 0.3)]) is None


def test_curve_copes_with_nan_gaps_short_curves_and_equal_trials() -> None:
    study = make_study("curve", 27)
    nan = float("nan")
    ended(study, [[nan, *curve[1:]] for curve in QUICK_AND_SLOW])
    ended(study, [curve[:9] for curve in QUICK_AND_SLOW])  # early stop: no better epoch came
    assert stops_at(study, [nan, nan, nan, 0.2, nan, 0.2, 0.2, 0.2, nan, *[0.2] * 18]) is not None
    assert stops_at(study, [nan] * 26 + [0.5]) is None
    equal = make_study("curve", 27)
    ended(equal, [[0.5] * 27] * 10)
    assert stops_at(equal, [0.1] * 27) is None  # nothing can be learnt from these


def test_curve_decides_within_5_ms_at_500_trials() -> None:
    study = make_study("curve", 27)
    ended(study, [rising(0.5 + i / 1500, 0.1 + (i % 7) / 10) for i in range(500)])
    trial = study.ask()
    for epoch in range(1, 7):
        trial.report(0.1, epoch)
    trial.should_prune()
    times = []
    for _ in range(20):
        started = time.perf_counter()
        trial.should_prune()
        times.append(time.perf_counter() - started)
    assert min(times) < 0.005


def test_asha_promotes_and_gives_up_by_rank() -> None:
    study = make_study("asha", 9)  # rungs 2 and 6
    assert [stops_at(study, [q] * 9) for q in (0.5, 0.4, 0.45)] == [None, 2, 2]
    assert isinstance(study.pruner, AshaPruner)
    paused = []
    for quality in (0.3, 0.2, 0.1):
        trial = study.ask()
        for epoch in (1, 2):
            trial.report(quality, epoch)
        assert trial.should_prune()
        paused.append(trial.number)
    # Of six at the rung two may pass: the best and one that has ended already.
    assert study.pruner.promotable(study, study.trials, paused) is None
    assert study.pruner.hopeless(study, study.trials, paused, n_to_come=6) == [4, 5]
    assert study.pruner.hopeless(study, study.trials, paused, n_to_come=30) == []
    for _ in range(6):
        stops_at(study, [0.05] * 9)
    assert study.pruner.promotable(study, study.trials, paused) == paused[0]
