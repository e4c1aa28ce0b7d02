"""hpo trial and hpo logs: everything of one trial, and what it printed."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from hpo.cli import app
from hpo.errors import HpoError
from hpo.storage.ledger import Ledger
from hpo.storage.sql import open_storage
from hpo.study import resolve, spec_from
from hpo.training.files import TrialFiles
from hpo.tune.driver import drive

MINE = """
from hpo import Float, Space, tunable

@tunable(Space(x=Float(0.0, 1.0)), "score")
def train(trial):
    trial.report(score=trial.params["x"])
"""


def hpo(*arguments: str) -> Result:
    done = CliRunner().invoke(app, arguments)
    if isinstance(done.exception, HpoError):
        done.exit_code = done.exception.exit_code
    elif not isinstance(done.exception, SystemExit | None):
        raise done.exception
    return done


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    """A study with a trial that completed and one that failed."""
    for name in ("HPO_STORAGE", "HPO_STORAGE_FILE", "OPTUNA_STORAGE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    (tmp_path / "mine.py").write_text(MINE)
    study = resolve(spec_from({}, {"model": "./mine.py:train", "name": "s", "n_trials": 4}))
    with drive(study, open_storage(f"sqlite:///{tmp_path}/hpo.db", create=True)) as ledger:
        for _ in range(2):
            asked = ledger.ask(origin={"seed": 7, "output": str(tmp_path / "out")})
            assert asked is not None
            ledger.report(asked.number, 1, 0.25)
            ledger.report(asked.number, 2, 0.5)
        run = {"duration_s": 1.5, "worker": "node-9:12", "device": "cpu"}
        ledger.complete(0, 0.5, {"metrics": {"score": 0.5, "loss": 2.0}, "run": run})
        lines = 'Traceback:\n  File "mine.py", line 6\nKeyError: [b]'
        more = {"run": run, "output": "epoch 1\nepoch 2\n", "odd": [1, 2]}
        ledger.fail(1, "mine.py:6: KeyError: 'b'", lines, more)
        yield ledger


def test_everything_of_a_trial_is_shown(ledger: Ledger) -> None:
    shown = hpo("trial", "s", "1").output
    for part in (
        "FAIL",
        "mine.py:6: KeyError: 'b'",
        "score by epoch: 1: 0.25, 2: 0.5",
        'File "mine.py", line 6\nKeyError: [b]',
        "epoch 1\nepoch 2",
        "node-9:12",
        "seed=7",
        "odd=[1, 2]",
    ):
        assert part in shown, part
    found = json.loads(hpo("trial", "s", "1", "-f", "json").output)
    assert found["params"] == ledger.trial(1).params
    assert found["curve"] == {"1": 0.25, "2": 0.5}
    assert (found["state"], found["kind"], found["seconds"]) == ("FAIL", "error", 1.5)
    assert found["traceback"].endswith("KeyError: [b]") and found["output"].startswith("epoch 1")
    done = json.loads(hpo("trial", "s", "0", "-f", "json").output)
    assert done["value"] == 0.5 and done["metrics"] == {"score": 0.5, "loss": 2.0}
    assert done["traceback"] is None and done["attributes"] == {}
    row = next(csv.DictReader(io.StringIO(hpo("trial", "s", "1", "-f", "csv").output)))
    assert (row["trial"], row["state"], row["params_x"]) == ("1", "FAIL", str(found["params"]["x"]))
    assert row["traceback"].endswith("KeyError: [b]")


@pytest.mark.parametrize("command", ["trial", "logs"])
def test_a_trial_that_is_not_there_is_one_line(ledger: Ledger, command: str) -> None:
    done = hpo(command, "s", "5")
    assert done.exit_code == 2
    assert str(done.exception) == "trial: no 5 in study 's': choose from 0 to 1"


def test_logs_are_listed_and_printed(ledger: Ledger, tmp_path: Path) -> None:
    assert "No logs" in hpo("logs", "s").output
    for label in (0, "confirm-0-1001"):
        log = Path(TrialFiles.new(tmp_path / "out", label).log)
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(f"hello [bold] of {label}\n")
    listed = hpo("logs", "s").output
    assert "confirm-0-1001" in listed
    assert hpo("logs", "s", "0").output == "hello [bold] of 0\n"
    assert hpo("logs", "s", "0", "-f").output == "hello [bold] of 0\n"  # it has ended
    assert hpo("logs", "s", "confirm-0-1001").output == "hello [bold] of confirm-0-1001\n"
    wrong = hpo("logs", "s", "confirm-0-1002")
    assert wrong.exit_code == 2 and "did you mean 'confirm-0-1001'?" in str(wrong.exception)


def test_a_log_on_another_nodes_disk_is_named_and_its_end_printed(ledger: Ledger) -> None:
    done = hpo("logs", "s", "1")
    assert done.exit_code == 0
    assert done.stdout == "epoch 1\nepoch 2\n"
    assert "ran on node-9" in done.stderr and "out/logs/1.log" in done.stderr


def test_files_of_an_earlier_study_are_not_this_ones(tmp_path: Path) -> None:
    first = TrialFiles.new(tmp_path, 3)
    Path(first.folder).mkdir(parents=True)
    Path(first.log).parent.mkdir()
    Path(first.log).write_text("of before")
    second = TrialFiles.new(tmp_path, 3)
    assert second.folder == f"{first.folder}-2" and not Path(second.log).exists()
