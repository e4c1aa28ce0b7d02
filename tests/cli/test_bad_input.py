"""Wrong input gets one line with a remedy, exit code 2, and creates nothing."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer

from hpo.cli import app, main

CASES: dict[str, tuple[list[str], str]] = {
    "unknown model": (["run", "--model", "cnm"], "did you mean 'cnn'"),
    "no model": (["run"], "--model"),
    "missing model file": (["run", "--model", "./nowhere.py:Net"], "no file"),
    "file without a name": (["run", "--model", "./mine.py"], "write ./mine.py:NAME"),
    "missing module": (["run", "--model", "nowhere.at.all:Net"], "no module"),
    "unknown sampler": (["run", "--model", "cnn", "--sampler", "tpee"], "tpe"),
    "unknown objective": (
        ["run", "--model", "cnn", "--objective", "acuracy:maximize"],
        "'acuracy' is no metric of CNN: choose from accuracy",
    ),
    "unknown constraint": (
        ["run", "--model", "cnn", "--constraint", "param<=3"],
        "or params, size_mb, latency_ms",
    ),
    "objective without a direction": (
        ["run", "--model", "cnn", "--objective", "speed"],
        "write speed:minimize or speed:maximize",
    ),
    "objective twice": (
        ["run", "--model", "cnn", "--objective", "f1", "--objective", "f1"],
        "'f1' is named twice",
    ),
    "constraint that is none": (
        ["run", "--model", "cnn", "--constraint", "params=3"],
        "write NAME<=NUMBER",
    ),
    "sampler of one objective": (
        ["run", "--model", "cnn", "--objective", "f1", "--objective", "loss", "--sampler", "skopt"],
        "'skopt' knows one objective alone: choose from auto, grid",
    ),
    "sampler without constraints": (
        ["run", "--model", "cnn", "--constraint", "params<=3", "--sampler", "cmaes"],
        "'cmaes' knows no constraints",
    ),
    "pruner of one objective": (
        ["run", "--model", "cnn", "--objective", "f1", "--objective", "params", "--pruner", "asha"],
        "'asha' judges a trial by one objective: leave it out",
    ),
    "warm start of several objectives": (
        [
            *("run", "--model", "cnn", "--warm-start", "old"),
            *("--objective", "f1", "--objective", "params"),
        ],
        "'old' beside several objectives: earlier studies are ranked by one value",
    ),
    "unknown pruner": (["run", "--model", "cnn", "--pruner", "ash"], "asha"),
    "unknown data": (["run", "--model", "cnn", "--data", "digitz"], "did you mean 'digits'"),
    "data of another kind": (
        ["run", "--model", "cnn", "--data", "surnames"],
        "does not fit CNN: choose from digits",
    ),
    "data folder missing": (
        ["run", "--model", "cnn", "--data", "imagefolder:/no/where"],
        "nothing at",
    ),
    "data that is none": (["run", "--model", "cnn", "--data", "npz:/etc/hostname"], "as .npz"),
    "form without path": (["run", "--model", "cnn", "--data", "npz"], "npz:PATH"),
    "unknown study": (["run", "--study", "cnn-digit"], "cnn-digits"),
    "no trials": (["run", "--model", "cnn", "--n-trials", "0"], "n_trials: 0"),
    "negative trials": (["run", "--model", "cnn", "--n-trials", "-3"], "n_trials: -3"),
    "trials not a number": (["run", "--model", "cnn", "--n-trials", "many"], "n_trials: 'many'"),
    "two budgets": (
        ["run", "--model", "cnn", "--n-trials", "3", "--total-trials", "5"],
        "give one of them",
    ),
    "no time": (["run", "--model", "cnn", "--timeout", "0"], "timeout: 0"),
    "no epochs": (["run", "--model", "cnn", "--epochs", "0"], "epochs: 0"),
    "negative seed": (["run", "--model", "cnn", "--seed", "-1"], "seed: -1"),
    "unknown precision": (["run", "--model", "cnn", "--precision", "int3"], "precision"),
    "no concurrency": (["run", "--model", "cnn", "--max-concurrent", "0"], "max_concurrent"),
    "too many cores": (["run", "--model", "cnn", "--cpus-per-trial", "4096"], "cpus_per_trial"),
    "set without value": (["run", "--model", "cnn", "--set", "lr"], "NAME=VALUE"),
    "set of unknown": (["run", "--model", "cnn", "--set", "lrr=0.1"], "lr"),
    "set outside": (["run", "--model", "cnn", "--set", "lr=1e9"], "lr"),
    "set range outside": (["run", "--model", "cnn", "--set", "width=1..100000"], "width"),
    "set not a choice": (["run", "--model", "cnn", "--set", "optimizer=adamm"], "optimizer"),
    "grid over continuous": (["run", "--model", "cnn", "--sampler", "grid"], "grid"),
    "grid over budget": (["run", "--study", "cnn-grid", "--n-trials", "2"], "12"),
    "name with slash": (["run", "--model", "cnn", "--name", "a/b"], "name"),
    "name too long": (["run", "--model", "cnn", "--name", "x" * 600], "600"),
    "name of control characters": (["run", "--model", "cnn", "--name", "a\x07b"], "printable"),
    "empty name": (["run", "--model", "cnn", "--name", ""], "name"),
    "warm start beside a grid": (
        ["run", "--study", "cnn-grid", "--warm-start", "all"],
        "drop it, or choose another sampler",
    ),
    "warm start without storage": (["run", "--model", "cnn", "--warm-start", "s"], "no studies"),
    "database unreachable": (
        ["run", "--model", "cnn", "--storage", "postgresql://u@127.0.0.1:1/x"],
        "127.0.0.1",
    ),
    "password on the command line": (
        ["run", "--model", "cnn", "--storage", "postgresql://u:canary-pw@127.0.0.1:1/x"],
        "HPO_STORAGE",
    ),
    "little memory": (["run", "--model", "cnn", "--memory-per-trial", "1MB"], "memory_per_trial"),
    "no cluster": (["run", "--model", "cnn", "--ray-address", "127.0.0.1:1"], "no Ray cluster"),
    "a client address": (["run", "--model", "cnn", "--ray-address", "ray://x:1"], "HOST:PORT"),
    "no trial time": (["run", "--model", "cnn", "--trial-timeout", "0"], "trial_timeout: 0"),
    "negative retries": (["run", "--model", "cnn", "--max-retries", "-1"], "max_retries: -1"),
    "dashboard token file": (["dashboard", "--token-file", "/no/where"], "token_file"),
    "nothing to upgrade": (["db", "upgrade"], "hpo.db"),
    "storage of unknown kind": (["run", "--model", "cnn", "--storage", "oracle://x/y"], "oracle"),
    "storage in a missing folder": (
        ["run", "--model", "cnn", "--storage", "sqlite:////no/such/folder/hpo.db"],
        "/no/such/folder",
    ),
    "output is a file": (["run", "--model", "cnn", "--output", "/etc/hostname"], "output"),
    "status without storage": (["status", "cnn-tpe"], "no"),
    "resume without storage": (["resume", "cnn-tpe"], "no"),
    "rerun without storage": (["rerun", "cnn-tpe", "0"], "no studies yet"),
    "rerun of no number": (["rerun", "cnn-tpe", "best"], "trial"),
    "export without storage": (["export-study", "cnn-tpe"], "no studies yet"),
    "export into another form": (["export-study", "cnn-tpe", "--to", "x.csv"], ".jsonl"),
    "import of nothing": (["import-study", "x.jsonl"], "x.jsonl"),
    "import of something else": (["import-study", "/etc/hostname"], "line 1"),
    "best of zero": (["best", "cnn-tpe", "--top", "0"], "top"),
    "unknown command": (["rnu"], "rnu"),
    "unknown flag": (["run", "--model", "cnn", "--n-trial", "3"], "n-trial"),
    "model without its flag": (["run", "cnn"], "write hpo run --model cnn"),
    "words without flags": (
        ["run", "cnn", "tpe", "10", "lr=1e-3"],
        "write hpo run --model cnn --sampler tpe --n-trials 10 --set lr=1e-3",
    ),
    "file without its flag": (["run", "train.py"], "write hpo run --model ./train.py:NAME"),
    "model as a command": (["cnn"], "write hpo run --model cnn"),
    "another word for a command": (["train"], "did you mean hpo run?"),
    "another word for a flag": (["run", "--model", "cnn", "--trials", "10"], "mean --n-trials?"),
    "another word of resume": (["resume", "s", "--max-epochs", "3"], "did you mean --epochs?"),
    "underscore in a flag": (["run", "--model", "cnn", "--n_trials", "3"], "write --n-trials"),
    "one dash": (["run", "-model", "cnn"], "write --model"),
    "a parameter as a flag": (["run", "--model", "cnn", "--lr", "1e-3"], "--set lr=VALUE"),
    "direction as a flag": (
        ["run", "--model", "cnn", "--direction", "minimize"],
        "write --objective NAME:minimize",
    ),
    "study as a model": (["run", "--model", "cnn-digits"], "write --study cnn-digits"),
    "folder as data": (["run", "--model", "cnn", "--data", "/etc"], "--data imagefolder:/etc"),
    "path of nothing as data": (["run", "--model", "cnn", "--data", "./no"], "imagefolder:PATH"),
    "another word for data": (["run", "--model", "cnn", "--data", "images"], "imagefolder:PATH"),
    "another word for a sampler": (
        ["run", "--model", "cnn", "--sampler", "bayes"],
        "did you mean gp or tpe?",
    ),
    "a sampler's class": (["run", "--model", "cnn", "--sampler", "GridSampler"], "mean grid?"),
    "another word for a pruner": (["run", "--model", "cnn", "--pruner", "off"], "mean none?"),
    "time with a unit": (
        ["run", "--model", "cnn", "--timeout", "10m"],
        "timeout: '10m': must be a valid number",
    ),
    "unknown format": (["run", "--model", "cnn", "-f", "yaml"], "format: 'yaml': must be one of"),
    "study is missing": (["best"], "write hpo best STUDY"),
    "dashboard port": (["dashboard", "--port", "99999999"], "port"),
}


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


RunCli = Callable[[list[str], Path], Done]


@pytest.fixture
def run_cli(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> RunCli:
    """Runs a command in this process, where torch is imported once for all cases."""

    def run(arguments: list[str], folder: Path) -> Done:
        monkeypatch.chdir(folder)
        monkeypatch.delenv("HPO_STORAGE", raising=False)
        monkeypatch.delenv("OPTUNA_STORAGE", raising=False)
        monkeypatch.setattr(sys, "argv", ["hpo", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capfd.readouterr()
        return Done(int(end.value.code or 0), out, err)

    return run


@pytest.mark.parametrize("name", CASES)
def test_bad_input_gets_one_line_and_creates_nothing(
    name: str, tmp_path: Path, run_cli: RunCli
) -> None:
    arguments, expected = CASES[name]
    done = run_cli(arguments, tmp_path)
    said = done.stderr.strip()
    assert done.returncode == 2, said or done.stdout
    assert expected in said
    assert "Traceback" not in said
    assert "canary-pw" not in done.stdout + said
    own = [line for line in said.splitlines() if line.startswith("Error: ")]
    assert len(own) == 1 and said == own[0]
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_holds_models_names_them(tmp_path: Path, run_cli: RunCli) -> None:
    (tmp_path / "train.py").write_text("1/0\n@tunable(1)\ndef fit(trial): ...\n")
    for arguments in (["run", "train.py"], ["run", "--model", "train.py"], ["train.py"]):
        assert "./train.py:fit" in run_cli(arguments, tmp_path).stderr


FUNCTION = """
from hpo import Float, Space, tunable

@tunable(Space(lr=Float(0, 1)), "accuracy")
def train(trial):
    trial.report(0.5, 1)
"""


def test_a_function_that_cannot_work_leaves_no_study(tmp_path: Path, run_cli: RunCli) -> None:
    file = tmp_path / "mine.py"
    file.write_text(FUNCTION)
    done = run_cli(["run", "--model", "./mine.py:train"], tmp_path)
    assert done.returncode == 2
    assert "Error: mine.py:6: trial.report(0.5, 1): name what is reported" in done.stderr
    file.write_text(FUNCTION.replace("0.5, 1", "accuracy=0.5"))
    done = run_cli(["run", "--model", "./mine.py:train", "--objective", "f1"], tmp_path)
    assert "'f1' is not reported by train, which reports accuracy" in done.stderr
    assert list(tmp_path.iterdir()) == [file]


DATA = """
import hpo

class Net(hpo.Classifier):
    space = hpo.Space(a=hpo.Int(1, 2))

    def data(self, seed):
        BODY
"""


@pytest.mark.parametrize(
    ("body", "expected"),
    [("return {}['b']", "Net.data(0) failed: KeyError: 'b'"), ("return 3", "gives 3: it must")],
)
def test_data_that_fails_leaves_no_study(
    body: str, expected: str, tmp_path: Path, run_cli: RunCli
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(DATA.replace("BODY", body))
    done = run_cli(["run", "--model", "./mine.py:Net"], tmp_path)
    assert done.returncode == 2 and expected in done.stderr
    assert not (tmp_path / "hpo.db").exists()


def test_hpo_runs_as_a_module(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(sys, "argv", ["hpo", "--version"])
    with pytest.raises(SystemExit) as end:
        runpy.run_module("hpo", run_name="__main__")
    assert end.value.code == 0 and "hpo 0." in capsys.readouterr().out


def test_every_problem_is_reported_at_once(tmp_path: Path, run_cli: RunCli) -> None:
    bad = ["--n-trials", "0", "--epochs", "-1", "--sampler", "x", "--name", "a/b"]
    done = run_cli(["run", "--model", "cnn", *bad], tmp_path)
    lines = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 4, done.stderr


@pytest.mark.skipif(os.path.isdir("/proc/driver/nvidia/gpus"), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_refused_before_anything_starts(
    tmp_path: Path, run_cli: RunCli
) -> None:
    done = run_cli(["run", "--model", "cnn", "--gpus-per-trial", "1"], tmp_path)
    assert done.returncode == 2
    assert "gpus_per_trial: 1 asked for, 0 found" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path, run_cli: RunCli) -> None:
    storage = ["--storage", "sqlite:////proc/hpo.db"]
    done = run_cli(["run", "--model", "cnn", *storage], tmp_path)
    assert done.returncode == 2, done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model = 'cnn'\nn_trails = 3", "n_trials"),
        ("model = 'cnn'\nn_trials = 'x'", "n_trials"),
        ("model = 'cnn'\ntrials = 3", "did you mean 'n_trials'"),
        ("model = 'cnn'\nmetric = 'f1'", "did you mean 'objectives'"),
        ("model = 'cnn'\nlr = 0.1", "below [set]"),
        ("model = ", "TOML"),
        ("model = 'cnn'\n[set]\nwidth = 7777777", "width"),
        ("n_trials = 3", "--model"),
    ],
)
def test_bad_study_files(text: str, expected: str, tmp_path: Path, run_cli: RunCli) -> None:
    file = tmp_path / "s.toml"
    file.write_text(text)
    done = run_cli(["run", "--study", str(file)], tmp_path)
    assert done.returncode == 2, done.stderr
    assert expected in done.stderr
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("class Net: pass", "subclass of hpo.Model"),
        ("import hpo\nclass Net(hpo.Model): pass", "declares no"),
        ("1/0", "ZeroDivisionError"),
        ("import hpo\nclass Net(hpo.Classifier): space = hpo.Space(a=hpo.Int(1, 2))", "--data"),
        ("import nowhere_to_be_found", "nowhere_to_be_found"),
        ("import hpo\nclass Nett(hpo.Classifier): space = hpo.Space(a=hpo.Int(1, 2))", "Nett"),
        (
            "import hpo\nclass Net(hpo.Classifier):\n"
            " space = hpo.Space(a=hpo.Float(2, 1), b=hpo.Int(0.5, 3))",
            "a",
        ),
    ],
)
def test_bad_model_files(code: str, expected: str, tmp_path: Path, run_cli: RunCli) -> None:
    file = tmp_path / "mine.py"
    file.write_text(code)
    done = run_cli(["run", "--model", "./mine.py:Net"], tmp_path)
    assert done.returncode == 2, done.stderr
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "hpo.db").exists()


@pytest.mark.alone
def test_help_is_quick_and_shows_examples(tmp_path: Path) -> None:
    code = (
        "import sys, time; start = time.perf_counter()\n"
        "import hpo.cli\n"
        "print(time.perf_counter() - start)\n"
        "print([m for m in ('torch', 'ray', 'pandas', 'optuna', 'sqlalchemy') if m in sys.modules])"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        for _ in range(3)
    ]
    seconds = min(float(run.stdout.splitlines()[0]) for run in runs)
    assert runs[0].stdout.splitlines()[1] == "[]"
    assert seconds < 0.4  # the fastest of three: the machine may be busy


def _commands() -> dict[str, Any]:
    found: dict[str, Any] = {}

    def walk(command: Any, name: str) -> None:
        for child, sub in getattr(command, "commands", {}).items():
            walk(sub, f"{name} {child}".strip())
        if not getattr(command, "commands", {}):
            found[name] = command

    walk(typer.main.get_command(app), "")
    return found


@pytest.mark.parametrize("name", sorted(_commands()))
def test_every_command_has_help_with_an_example(name: str) -> None:
    assert "hpo " in (_commands()[name].help or ""), name


def test_python_without_docstrings_is_refused_since_ray_needs_them(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hpo.cli", "run", "--model", "cnn", "--n-trials", "1"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONOPTIMIZE": "2"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("Error: PYTHONOPTIMIZE: 2 removes docstrings")
    assert len(done.stderr.splitlines()) == 1 and list(tmp_path.iterdir()) == []
