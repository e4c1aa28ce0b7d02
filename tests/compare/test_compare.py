"""`hpo compare` for real: nothing is trained twice, whatever is killed; bad input is refused."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import optuna
import pytest

from hpo.storage.view import StudyView
from tests.tune.test_run import HPO, environment, hpo, ledger

pytestmark = [pytest.mark.ray, pytest.mark.slow]

TOY = """
import os, time
from hpo import Float, Int, Objective, Space, tunable

@tunable(Space(x=Float(-4, 4, default=3.0), k=Int(1, 3)), Objective("loss", "minimize"))
def train(trial):
    with open(os.path.join(os.path.dirname(__file__), "trained"), "a") as file:
        file.write(f"{trial.seed} {trial.params['x']!r} {trial.params['k']}\\n")
    for epoch in range(trial.epochs):
        time.sleep(float(os.environ.get("TOY_S", "0")))
        trial.report(loss=(trial.params["x"] - 1) ** 2 + trial.params["k"] + 1 / (epoch + 1),
                     test_loss=(trial.params["x"] - 1) ** 2 + trial.params["k"])
"""
ASK = ["compare", "--model", "./mine.py:train", "--samplers", "random,tpe", "--epochs", "2"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "a folder"
    folder.mkdir()
    (folder / "mine.py").write_text(TOY)
    return folder


def n_complete(file: Path) -> int:
    """COMPLETE trials, asked quickly: the run goes on meanwhile."""
    try:
        with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
            query = "select count(*) from trials where state = 'COMPLETE'"
            return int(database.execute(query).fetchone()[0])
    except sqlite3.OperationalError:  # no file, or no tables, yet
        return 0


def trained(folder: Path) -> Counter[str]:
    return Counter((folder / "trained").read_text().splitlines())


def test_what_another_strategy_trained_is_not_trained_again(folder: Path) -> None:
    ask = [*ASK, "--n-trials", "6", "--seeds", "1", "--pruner", "none"]
    facts = hpo(*ask, "--no-test", folder=folder)
    n_cached = sum(one["saved"]["cached"] for one in facts["strategies"].values())
    # The default and the random start are the same for both.
    assert n_cached >= 2
    assert sum(trained(folder).values()) == 12 - n_cached
    assert set(trained(folder).values()) == {1}
    by_key: dict[str, tuple[Any, ...]] = {}
    for name in ("random", "tpe"):
        for trial in ledger(folder, f"compare-mine-train-{name}-0").trials():
            found = (trial.value, tuple(trial.intermediate_values.items()))
            assert by_key.setdefault(str(trial.params), found) == found
            assert trial.user_attrs["run"]["duration_s"] > 0
    # Again: nothing is left to run.  Without the cache: all that it had saved, under a new name.
    assert hpo(*ask, "--no-test", folder=folder)["differences"] == facts["differences"]
    before = sum(trained(folder).values())
    hpo(*ask, "--no-test", "--no-cache", "--name", "fresh", folder=folder)
    assert sum(trained(folder).values()) - before == 12
    assert facts["default_test"] is None


def test_killed_and_run_again_it_repeats_no_finished_trial(folder: Path) -> None:
    ask = [*ASK, "--n-trials", "5", "--seeds", "2", "--pruner", "none", "--quiet"]
    slow = {**environment(), "TOY_S": "0.5"}
    process = subprocess.Popen([*HPO, *ask], cwd=folder, env=slow, start_new_session=True)
    storage = f"sqlite:///{folder}/hpo.db"

    def done() -> dict[tuple[str, int], Any]:
        found = {}
        for name in optuna.get_all_study_names(storage) if (folder / "hpo.db").exists() else ():
            for trial in optuna.load_study(study_name=name, storage=storage).trials:
                if trial.state.name == "COMPLETE":
                    found[(name, trial.number)] = (trial.value, trial.datetime_complete)
        return found

    deadline = time.monotonic() + 120
    while n_complete(folder / "hpo.db") < 7:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.2)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before, n_before = done(), trained(folder)
    assert len(before) < 20
    facts = hpo(*ask, folder=folder)
    after = done()
    assert {key: after[key] for key in before} == before
    for name in optuna.get_all_study_names(storage):
        counts = ledger(folder, name).counts()
        assert counts["COMPLETE"] == 5 and counts.get("RUNNING", 0) == 0
    # Twice at most what was under way when it was killed, and the tests of the bests.
    bests = set()
    for name in optuna.get_all_study_names(storage):
        best: Any = StudyView.open(ledger(folder, name).storage, name).best()
        bests.add(f"{name[-1]} {best.params['x']!r} {best.params['k']}")
    default = {f"{seed} 3.0 2" for seed in (0, 1)}
    again = {key for key, n in trained(folder).items() if n > 1} - bests - default
    assert len(again) <= 2 and sum(n_before.values()) >= 4
    assert facts["default_test"] == pytest.approx([6.0, 6.0])
    assert all(len(one["test"]) == 2 for one in facts["strategies"].values())


def test_the_studies_are_normal_ones_and_have_the_page_as_artifact(folder: Path) -> None:
    facts = hpo(*ASK, "--n-trials", "3", "--seeds", "1", folder=folder)
    page = Path(facts["path"])
    assert page.name == "index.html" and (page.parent / "report.md").is_file()
    name = "compare-mine-train-tpe-0"
    assert hpo("status", name, folder=folder)["trials"] == 3
    from optuna.artifacts import get_all_artifact_meta

    view = ledger(folder, name)
    (meta,) = get_all_artifact_meta(view.study, storage=view.storage)
    assert meta.filename == "compare-mine-train.html"
    stored = folder / "hpo-runs" / ".artifacts" / meta.artifact_id
    assert stored.read_bytes() == page.read_bytes()
    # A run writes its page by itself, and existing studies compare.
    run = ["--model", "./mine.py:train", "--sampler", "qmc", "--n-trials", "3", "--epochs", "2"]
    made = hpo("run", *run, "--no-retrain", folder=folder)
    assert Path(made["report"]).read_text().count("<section") >= 6
    both = hpo("compare", "--studies", f"mine-train-qmc,{name}", folder=folder)
    assert sorted(both["strategies"]) == sorted(["mine-train-qmc", name]) and both["seeds"] == [0]
    facts = json.loads(
        subprocess.run(
            [*HPO, "report", "mine-train-qmc", "-f", "json"],
            cwd=folder,
            env=environment(),
            capture_output=True,
            check=True,
        ).stdout
    )
    assert facts["trials"] == made["trials"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compare"], "model: nothing given"),
        (["compare", "--studies", "a"], "studies: 'a': name two or more"),
        (["compare", "--studies", "a,b", "--seeds", "2"], "seeds: not beside --studies"),
        (["compare", "--model", "cnn", "--samplers", "tpe"], "two samplers or more"),
        (["compare", "--model", "cnn", "--max-concurrent", "0"], "max_concurrent: 0"),
        (["compare", "--studies", "a,b"], "no studies yet"),
        (["report", "a"], "no studies yet"),
        (["report", "a", "-f", "pdf"], "format: 'pdf' is unknown"),
        (["report", "a", "--watch", "0"], "watch: 0"),
    ],
)
def test_bad_input_is_one_line_and_creates_nothing(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    done = subprocess.run(
        [*HPO, *arguments], cwd=tmp_path, env=environment(), capture_output=True, text=True
    )
    assert done.returncode in (1, 2) and message in done.stderr
    assert done.stderr.startswith("Error: ") and done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
