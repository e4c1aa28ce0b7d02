"""The live display: rows of what runs, everything that will be trained, and the time that takes."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import pytest
from rich.console import Console

from hpo import Float, Int, Space
from hpo.outcome.workload import Workload
from hpo.search import make_pruner, make_sampler
from hpo.storage.ledger import Ledger, StudyMeta
from hpo.storage.sql import open_storage
from hpo.tracking.forecast import Forecast
from hpo.tracking.progress import StudyProgress

SPACE = Space(lr=Float(1e-4, 1e-1, log=True), width=Int(8, 64))
AFTER = Workload(n_best=3, with_default=True, n_seeds=3, n_retrained=2)


def made(folder: Path, direction: str = "maximize", space: Space = SPACE) -> Ledger:
    fixed = {} if space.params else {"lr": 0.05, "width": 16}
    meta = StudyMeta("m", "accuracy", direction, space, "d", 5, 0, {"fixed": fixed})  # type: ignore[arg-type]
    return Ledger.create_or_open(
        open_storage(f"sqlite:///{folder / 'a.db'}", create=True),
        "s",
        meta,
        lambda n: make_sampler("random", space, 0),
        make_pruner("none", epochs=5),
    )


def display(ledger: Ledger, *, width: int = 80, terminal: bool = True) -> StudyProgress:
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None)
    return StudyProgress(console, ledger, 8, 5, AFTER, None)


def text_of(shown: StudyProgress) -> str:
    assert isinstance(shown.console.file, io.StringIO)
    return shown.console.file.getvalue()


def screen(shown: StudyProgress) -> str:
    """What stands below the lines now."""
    width = shown.console.width
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    console.print(shown._render())
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def start(shown: StudyProgress, ledger: Ledger) -> int:
    asked = ledger.ask()
    assert asked is not None
    shown.trial_started(asked.number, asked.params)
    shown.trial_placed(asked.number)
    return asked.number


def report(shown: StudyProgress, ledger: Ledger, number: int, epoch: int, value: float) -> None:
    ledger.report(number, epoch, value)
    shown.trial_reported(number, epoch, value)


@pytest.mark.parametrize(("direction", "best"), [("maximize", "0.8123"), ("minimize", "0.7")])
def test_running_trials_are_rows_with_epoch_last_value_and_best(
    direction: str, best: str, tmp_path: Path
) -> None:
    ledger = made(tmp_path, direction)
    shown = display(ledger)
    start(shown, ledger)
    other = start(shown, ledger)
    report(shown, ledger, other, 1, 0.812345)
    report(shown, ledger, other, 2, 0.7)
    lines = screen(shown).splitlines()
    assert lines[0].split() == ["trial", "epoch", "accuracy", "best", "time"]
    assert lines[1].split()[:2] == ["0", "0/5"]
    assert lines[2].split() == ["1", "2/5", "0.7", best, "0s"]
    assert all(len(line) <= 80 for line in lines)


def test_everything_that_will_be_trained_is_said_and_counted(tmp_path: Path) -> None:
    ledger = made(tmp_path)
    shown = display(ledger)
    number = start(shown, ledger)
    assert "0 of 8 trials, then at most 14 trainings" in screen(shown)
    assert "time left not known yet" in screen(shown)
    for epoch in (1, 2):
        report(shown, ledger, number, epoch, 0.5)
    assert " left" in screen(shown) and "not known" not in screen(shown)
    shown.phase("confirming", 0, 12)
    assert "confirming: 0 of 12 trainings, then 2 to retrain" in screen(shown)
    assert shown.forecast.n_after == 14
    shown.phase("confirming", 12, 12)
    shown.phase("retraining", 0, 2)
    assert "retraining: 0 of 2 trainings" in screen(shown)
    assert shown.forecast.n_after == 2 and shown._seconds_left()
    shown.phase("retraining", 2, 2)
    assert shown.forecast.n_after == 0


def test_the_start_of_the_workers_is_shown(tmp_path: Path) -> None:
    ledger = made(tmp_path)
    assert "starting workers: 0 of 8 trials, then at most 14 trainings" in screen(display(ledger))
    only_retrained = StudyProgress(display(ledger).console, ledger, 0, 5, AFTER, None)
    assert "starting workers: at most 14 trainings" in screen(only_retrained)
    with display(ledger, terminal=False) as shown:
        assert text_of(shown) == "starting workers\n"


def test_trainings_after_the_search_are_rows_with_configuration_and_seed(tmp_path: Path) -> None:
    ledger = made(tmp_path)
    ledger.meta.settings["fixed"] = {"momentum": 0.9}
    shown = display(ledger, width=140)
    shown.trial_started(0, {"lr": 0.1})
    shown.phase("confirming", 0, 12)
    shown.training_started("trial 3, seed 1001", {"lr": 0.012345, "width": 8, "momentum": 0.9})
    shown.training_started("the default, seed 1001", {"lr": 0.001, "width": 16, "momentum": 0.9})
    lines = screen(shown).splitlines()
    assert lines[0].split() == ["training", "time", "parameters"]
    assert " ".join(lines[1].split()) == "trial 3, seed 1001 0s lr=0.01235 width=8"
    shown.trainings["trial 3, seed 1001"].params = {f"p{n}": n for n in range(60)}
    assert " ".join(screen(shown).splitlines()[1].split()).startswith("trial 3, seed 1001 0s p0=0")
    shown.console.width = 80  # no room for parameters: what trains is named whole
    lines = screen(shown).splitlines()
    assert [line.split() for line in lines[:2]] == [
        ["training", "time"],
        ["trial", "3,", "seed", "1001", "0s"],
    ]
    shown.training_ended("trial 3, seed 1001")
    assert "trial 3" not in screen(shown) and "the default" in screen(shown)
    shown.phase("retraining", 0, 2)
    assert "the default" not in screen(shown)


def test_a_line_for_a_trial_has_four_digits_and_the_best(tmp_path: Path) -> None:
    ledger = made(tmp_path)
    shown = display(ledger, terminal=False)
    for value in (0.812345, 0.7):
        number = start(shown, ledger)
        ledger.complete(number, value)
        shown.trial_ended(number)
    number = start(shown, ledger)
    report(shown, ledger, number, 2, 0.612345)
    ledger.prune(number)
    shown.trial_ended(number)
    for kind in ("interrupted", "error"):
        number = start(shown, ledger)
        ledger.fail(number, "mine.py:11: KeyError: 'b'", kind=kind)  # type: ignore[arg-type]
        shown.trial_ended(number)
    lines = text_of(shown).splitlines()
    params = ledger.trial(0).params
    assert lines[0].startswith("Trial 0 complete: accuracy 0.8123, the best so far; lr=")
    assert f"lr={params['lr']:.4g}" in lines[0] and "{" not in lines[0]
    assert lines[1].startswith("Trial 1 complete: accuracy 0.7; best 0.8123 (trial 0); lr=")
    assert lines[2] == "Trial 2 pruned after epoch 2 of 5: accuracy 0.6123"
    assert lines[3] == "Trial 3 interrupted; the next run tries it again"
    assert lines[4] == "Trial 4 failed: mine.py:11: KeyError: 'b'"
    assert "2 complete, 1 pruned, 1 failed, 1 interrupted" in screen(shown)


def test_with_everything_fixed_the_line_shows_the_fixed_parameters(tmp_path: Path) -> None:
    ledger = made(tmp_path, space=Space())
    shown = display(ledger, terminal=False)
    number = start(shown, ledger)
    ledger.complete(number, 0.5)
    shown.trial_ended(number)
    assert text_of(shown).rstrip().endswith("all fixed: lr=0.05 width=16")


def test_a_wide_terminal_shows_the_parameters_of_running_trials(tmp_path: Path) -> None:
    ledger = made(tmp_path)
    shown = display(ledger, width=140)
    start(shown, ledger)
    assert "width=" in screen(shown).splitlines()[1]
    next(iter(shown.rows.values())).params = {f"p{n}": n for n in range(60)}
    heading, row = (" ".join(line.split()) for line in screen(shown).splitlines()[:2])
    assert heading == "trial epoch accuracy best time parameters"
    assert row.startswith("0 0/5 0s p0=0 p1=1") and row.endswith("…")


def test_more_trials_than_rows_are_counted(tmp_path: Path) -> None:
    ledger = made(tmp_path)
    shown = display(ledger)
    for _ in range(15):
        start(shown, ledger)
    assert "and 3 more" in screen(shown) and len(screen(shown).splitlines()) == 16


def test_a_trial_without_a_worker_says_what_it_waits_for(tmp_path: Path) -> None:
    ledger = made(tmp_path)
    shown = display(ledger)
    asked = ledger.ask()
    assert asked is not None
    shown.trial_started(asked.number, asked.params)
    shown.trial_waits(asked.number, "1 GPU: 0 of 2 GPUs are free")
    assert "waits for 1 GPU" in screen(shown)
    shown.trial_placed(asked.number)
    assert "waits" not in screen(shown)


def test_the_forecast_counts_pruned_trials_and_the_trainings_after_the_search() -> None:
    forecast = Forecast(epochs=10, n_trials=4, n_after=3, timeout=None)
    assert forecast.seconds_left(5.0) is None
    assert forecast.seconds_left(5.0, [1]) is None  # a first epoch holds what happens once
    forecast.trial_ended(10, complete=True)
    forecast.trial_ended(2, complete=False)
    # 12 epochs in 24 s; 6 a trial: 2 are left, and 3 full trainings
    assert forecast.seconds_left(24.0) == pytest.approx(2 * (2 * 6 + 3 * 10))
    # one of the two runs, and has done 4 of its 6
    assert forecast.seconds_left(32.0, [4]) == pytest.approx(2 * (2 + 6 + 3 * 10))
    forecast.searching = False
    forecast.trained()
    assert forecast.seconds_left(44.0) == pytest.approx(2 * 2 * 10)


def test_the_forecast_keeps_to_the_timeout_of_the_search() -> None:
    forecast = Forecast(epochs=10, n_trials=None, n_after=1, timeout=60)
    assert forecast.seconds_left(20.0, [5]) == pytest.approx(40 + 10 * 20 / 5)
    endless = Forecast(epochs=10, n_trials=None, n_after=1, timeout=None)
    assert endless.seconds_left(20.0, [5]) is None


def test_the_time_left_is_never_nothing_while_something_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = made(tmp_path)
    clock = itertools.count(0, 20)
    shown = display(ledger)
    number = start(shown, ledger)
    monkeypatch.setattr("hpo.tracking.progress.time.monotonic", lambda: 1e6 + next(clock))
    for epoch in (1, 2):
        report(shown, ledger, number, epoch, 0.5)
    assert all((shown._seconds_left() or 0) > 0 for _ in range(1000))
