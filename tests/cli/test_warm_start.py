"""`--warm-start` from the command line to the row of a trial, and back to what commands print."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpo.cli import main
from hpo.storage.ledger import Ledger
from hpo.storage.request import remember, stored_spec
from hpo.storage.sql import open_storage
from hpo.storage.view import StudyView
from hpo.study import resolve, spec_from
from hpo.tune.driver import drive

MODEL = """
from hpo import Choice, Float, Space, tunable

@tunable(Space(x=Float(0.0, 1.0), kind=Choice("a", "b")), "score")
def train(trial):
    trial.report(score=trial.params["x"])
"""
Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    """A folder with a model and a storage, and the command in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HPO_STORAGE", f"sqlite:///{tmp_path}/hpo.db")
    (tmp_path / "mine.py").write_text(MODEL)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["hpo", *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        return int(end.value.code or 0), *capfd.readouterr()

    return run


def carry_out(folder: Path, n_trials: int, **settings: Any) -> Ledger:
    """A study whose trials are told at once, without workers."""
    study = resolve(spec_from({"model": "./mine.py:train", "n_trials": n_trials}, settings))
    with drive(study, open_storage(f"sqlite:///{folder}/hpo.db", create=True)) as ledger:
        remember(study, ledger, n_trials)
        for k in range(n_trials):
            first = study.space.default() if k == 0 and not ledger.counts() else None
            asked = ledger.ask(first)
            assert asked is not None
            ledger.complete(asked.number, asked.params["x"])
    return ledger


def test_a_study_says_what_it_was_started_from_and_counts_only_its_own_trials(
    cli: Cli, tmp_path: Path
) -> None:
    old = carry_out(tmp_path, 8, name="old")
    best = old.best()
    assert best is not None
    carry_out(tmp_path, 2, name="new", warm_start=["all"])
    view = StudyView.open(open_storage(f"sqlite:///{tmp_path}/hpo.db", create=False), "new")
    assert view.counts() == {"COMPLETE": 2}
    assert view.trial(1).params == best.params
    assert stored_spec(view).warm_start == ("old",)  # not `all`, which others may join

    code, out, _ = cli("status", "new", "-f", "json")
    assert code == 0 and json.loads(out)["started_from"] == "old (8 trials on own)"
    code, out, _ = cli("best", "new", "-f", "json")
    assert json.loads(out)[0]["from"] == f"old:{best.number}"
    code, out, _ = cli("best", "new")
    assert "started from old" in " ".join(out.split())
    code, out, _ = cli("trials", "new", "-f", "json")
    assert [row["from"] for row in json.loads(out)] == [None, f"old:{best.number}"]
    code, out, _ = cli("report", "new", "-f", "json")
    facts = json.loads(out)
    assert facts["started_from"] == [{"study": "old", "data": "own", "trials": 8}]
    assert "--warm-start old" in facts["command"]


def test_a_study_that_goes_on_keeps_its_start(tmp_path: Path, cli: Cli) -> None:
    carry_out(tmp_path, 8, name="old")
    carry_out(tmp_path, 2, name="new", warm_start=["old"])
    view = carry_out(tmp_path, 2, name="new")  # resumed: nothing is asked any more
    origins = [trial.system_attrs.get("hpo:from") for trial in view.trials()]
    assert len(origins) == 4 and origins[1] and origins[3]
    assert stored_spec(view).warm_start == ("old",)


def test_what_is_wrong_is_refused_before_anything_is_created(cli: Cli, tmp_path: Path) -> None:
    carry_out(tmp_path, 1, name="old")
    (tmp_path / "more.toml").write_text('model = "./mine.py:train"\nwarm_start = 3\n')
    run = ("run", "--model", "./mine.py:train", "--name", "new")
    for arguments, expected in (
        ((*run, "--warm-start", "olt"), "did you mean 'old'"),
        ((*run, "--warm-start", "olt", "--dry-run"), "did you mean 'old'"),
        ((*run, "--warm-start", "new"), "this study itself"),
        (("run", "--study", "./more.toml"), "warm_start: 3: must name studies"),
    ):
        code, out, said = cli(*arguments)
        assert code == 2 and said.startswith("Error: warm_start: ") and expected in said, out + said
        assert "Traceback" not in said
    code, out, _ = cli("studies", "-f", "json")
    assert [row["name"] for row in json.loads(out)] == ["old"]


def test_a_study_file_may_name_one_or_several(cli: Cli, tmp_path: Path) -> None:
    carry_out(tmp_path, 1, name="old")
    for written, expected in (('"old"', ["old"]), ('["old", "all"]', ["old", "all"])):
        (tmp_path / "more.toml").write_text(
            f'model = "./mine.py:train"\nname = "new"\nwarm_start = {written}\n'
        )
        code, out, said = cli("run", "--study", "./more.toml", "--dry-run", "-f", "json")
        assert code == 0, said
        assert json.loads(out)["warm_start"] == expected
