"""export-study and import-study: from one folder into another, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import optuna
import pytest
from typer.testing import CliRunner, Result

from hpo.cli import app
from hpo.storage.attempts import KIND
from hpo.storage.ledger import Ledger
from hpo.storage.sql import open_storage
from hpo.study import resolve, spec_from
from hpo.tune.driver import drive

MINE = """
from hpo import Float, Space, tunable

@tunable(Space(x=Float(0.0, 1.0)), "score")
def train(trial):
    trial.report(score=trial.params["x"])
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model and a study of it: a trial of each end, and one under way."""
    for name in ("HPO_STORAGE", "HPO_STORAGE_FILE", "OPTUNA_STORAGE"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / "mine.py").write_text(MINE)
    study = resolve(spec_from({}, {"model": "./mine.py:train", "name": "s", "n_trials": 4}))
    with drive(study, open_storage(f"sqlite:///{folder}/hpo.db", create=True)) as ledger:
        from hpo.storage.request import remember

        remember(study, ledger, 4)
        for _ in range(3):
            asked = ledger.ask()
            assert asked is not None
            ledger.report(asked.number, 1, 0.5)
        ledger.complete(0, 0.5, {"metrics": {"score": 0.5}})
        ledger.fail(1, "as asked")
    return folder


def hpo(*arguments: str) -> Result:
    from hpo.errors import HpoError

    done = CliRunner().invoke(app, arguments)
    if isinstance(done.exception, HpoError):
        done.exit_code = done.exception.exit_code
    elif not isinstance(done.exception, SystemExit | None):
        raise done.exception
    return done


def ledger_in(folder: Path, name: str) -> Ledger:
    return Ledger.open(open_storage(f"sqlite:///{folder}/hpo.db", create=False), name)


@pytest.mark.parametrize("file", ["s.jsonl", "s.db"])
def test_a_study_arrives_as_if_it_had_been_run_there(
    file: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = here.parent / "there"
    there.mkdir()
    assert hpo("export-study", "s", "--to", file).exit_code == 0
    monkeypatch.chdir(there)
    done = hpo("import-study", f"../here/{file}", "--name", "copy")
    assert done.exit_code == 0 and "Imported copy: 3 trials" in done.stdout
    copy, first = ledger_in(there, "copy"), ledger_in(here, "s")
    assert copy.meta == first.meta and copy.best() is not None
    assert copy.attr("hpo:target") == first.attr("hpo:target")
    # What it was asked to do names no study: `resume` takes the name from the row.
    assert (
        copy.attr("hpo:spec") == first.attr("hpo:spec") and first.attr("hpo:spec")["name"] is None
    )
    lost = copy.trial(2)
    assert lost.state.name == "FAIL" and lost.user_attrs[KIND] == "lost"
    assert [attempt.of for attempt in copy.due_again(3)] == [2]
    status = json.loads(hpo("status", "copy", "-f", "json").stdout)
    assert (status["trials"], status["best_value"]) == (3, 0.5)
    assert (status["failed"], status["lost"]) == (1, 1)
    again = hpo("import-study", f"../here/{file}", "--name", "copy")
    assert again.exit_code == 2 and "give --name another" in str(again.exception)


def test_a_model_in_another_place_is_pointed_to(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = here.parent / "there"
    there.mkdir()
    hpo("export-study", "s")
    (here / "s.jsonl").rename(there / "s.jsonl")
    (here / "mine.py").rename(there / "ours.py")
    monkeypatch.chdir(there)
    lost = hpo("import-study", "s.jsonl", "--name", "lost")
    assert lost.exit_code == 0 and "its model is needed" in lost.stdout
    assert hpo("import-study", "s.jsonl", "--model", "./ours.py:train").exit_code == 0
    found = ledger_in(there, "s")
    model = f"{there}/ours.py:train"
    assert found.meta.model == found.attr("hpo:spec")["model"] == model
    wrong = hpo("import-study", "s.jsonl", "--name", "x", "--model", "./no.py:train")
    assert wrong.exit_code == 2 and "no file" in str(wrong.exception)


def test_a_study_of_plain_optuna_comes_in_too(here: Path) -> None:
    plain = optuna.create_study(study_name="plain", storage=f"sqlite:///{here}/plain.db")
    plain.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
    done = hpo("import-study", "plain.db")
    assert done.exit_code == 0 and "Optuna" in done.stdout
    found = optuna.load_study(study_name="plain", storage=f"sqlite:///{here}/hpo.db")
    assert [t.params for t in found.trials] == [t.params for t in plain.trials]


def test_nothing_is_overwritten_and_nothing_created_for_a_bad_file(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hpo("export-study", "s")
    before = (here / "s.jsonl").read_bytes()
    for arguments, said in (
        (["export-study", "s"], "give --force"),
        (["export-study", "s", "--to", "hpo.db", "--force"], "the storage itself"),
        (["export-study", "t"], "no 't' in this storage: choose from s"),
    ):
        done = hpo(*arguments)
        assert done.exit_code == 2 and said in str(done.exception)
    assert (here / "s.jsonl").read_bytes() == before
    (here / "cut.jsonl").write_bytes(before[:-100])
    done = hpo("import-study", "cut.jsonl", "--storage", "new.db")
    assert done.exit_code == 2 and "line 4" in str(done.exception)
    assert not (here / "new.db").exists()
    done = hpo("import-study", "s.jsonl", "--name", "a/b", "--storage", "new.db")
    assert done.exit_code == 2 and not (here / "new.db").exists()
