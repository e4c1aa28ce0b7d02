"""`hpo run` for real: every sampler, own models, odd folders, failures, signals, resuming."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from hpo.storage.ledger import Ledger
from hpo.storage.sql import open_storage

pytestmark = [pytest.mark.ray, pytest.mark.slow]

HPO = [sys.executable, "-m", "hpo.cli"]
SMALL = ["--epochs", "1", "--set", "width=8", "--set", "depth=2", "--no-report", "--no-retrain"]


def environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if k not in ("HPO_STORAGE", "OPTUNA_STORAGE")}


def hpo(*arguments: str, folder: Path, code: int = 0) -> Any:
    """Runs a command with `-f json`; returns what it printed."""
    done = subprocess.run(
        [*HPO, *arguments, "-f", "json"],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == code, done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout) if done.stdout.strip() else done.stderr


def ledger(folder: Path, name: str) -> Ledger:
    return Ledger.open(open_storage(f"sqlite:///{folder}/hpo.db", create=False), name)


TOY = """
from hpo import Choice, Float, Objective, Space, tunable

@tunable(Space(x=Float(0.0, 1.0), how=Choice(%s)), "score")
def train(trial):
    how = trial.params["how"]
    for epoch in range(trial.epochs):
        if how == "raise" and epoch == 1:
            raise ValueError("as asked")
        if how == "nan":
            trial.report(score=float("nan"))
        if how == "missing":
            trial.report(other=1.0)
        if how == "text":
            trial.report(score="good")
        if how == "die":
            import os
            os._exit(1)
        if how == "silent":
            return
        if how == "slow":
            import time
            time.sleep(0.5)
        trial.report(score=trial.params["x"] * (epoch + 1), worker=float(__import__("os").getpid()))
"""


def write_toy(folder: Path, *how: str) -> Path:
    file = folder / "toy.py"
    file.write_text(TOY % ", ".join(map(repr, how)))
    return file


BROKEN = """
import os
from pathlib import Path
from hpo import Float, Space, tunable

@tunable(Space(x=Float(0.0, 1.0)), "score")
def train(trial):
    print("trial", trial.number, flush=True)
    os.system(f"echo child {trial.number}")
    (trial.folder / "ckpt.pt").write_text(str(trial.number))
    score = float(Path("scale.txt").read_text()) * trial.params["x"]  # of the launch folder
    {"a": 1}["a" if Path("fixed").exists() else "b"]
    print("x" * 1_000_000)
    trial.report(score=score)
"""


def test_a_broken_function_stops_the_run_says_where_and_has_logs_and_folders(
    tmp_path: Path,
) -> None:
    (tmp_path / "mine.py").write_text(BROKEN)
    (tmp_path / "scale.txt").write_text("2")
    how = ["--n-trials", "12", "--max-concurrent", "2", "--no-report", "--no-retrain"]
    broken = hpo("run", "--model", "./mine.py:train", *how, folder=tmp_path, code=1)
    assert 3 <= broken["trials"]["FAIL"] <= 4
    study = ledger(tmp_path, "mine-train-auto")
    assert {t.user_attrs["fail_reason"] for t in study.trials()} == {"mine.py:12: KeyError: 'b'"}
    assert study.trial(1).user_attrs["output"] == "trial 1\nchild 1\n"
    own = tmp_path / "hpo-runs" / "mine-train-auto"
    assert (own / "logs" / "0.log").read_text() == "trial 0\nchild 0\n"
    assert (own / "trials" / "0" / "ckpt.pt").read_text() == "0"
    (tmp_path / "fixed").touch()
    found = hpo("resume", "mine-train-auto", "--n-trials", "2", folder=tmp_path)
    assert found["trials"]["COMPLETE"] == 2
    last = sum(found["trials"].values()) - 1
    log = (own / "logs" / f"{last}.log").read_text()
    assert log.startswith(f"trial {last}\n") and len(log) > 1_000_000
    assert (own / "trials" / str(last) / "ckpt.pt").read_text() == str(last)


@pytest.mark.parametrize("sampler", ["grid", "gp", "skopt"])  # random, tpe: tests/compare
def test_every_sampler_searches_the_cnn(sampler: str, tmp_path: Path) -> None:
    budget = ["--n-trials", "4"]
    if sampler == "grid":
        settings = ("lr=0.002,0.01", "optimizer=adamw", "weight_decay=0.01", "batch_size=64,128")
        fixed = ("schedule", "kernel", "norm", "activation", "augment")
        first = {"schedule": "onecycle", "kernel": 3, "norm": "batch", "activation": "relu"}
        settings += tuple(f"{n}={first.get(n, 'none')}" for n in fixed)
        settings += ("dropout=0", "label_smoothing=0")
        budget = [part for setting in settings for part in ("--set", setting)]
    found = hpo("run", "--model", "cnn", "--sampler", sampler, *budget, *SMALL, folder=tmp_path)
    assert sum(found["trials"].values()) == 4
    assert found["trials"].get("FAIL", 0) == 0
    assert found["best"]["value"] > 0.7
    trials = ledger(tmp_path, f"cnn-{sampler}").trials()
    assert len({json.dumps(t.params, sort_keys=True) for t in trials}) == 4
    assert {t.user_attrs["run"]["epochs"] for t in trials} == {1}


SAVED = {"weights.safetensors", "model.json", "README.md", "classes.md"}


def test_confirmed_retrained_saved_and_loaded(tmp_path: Path) -> None:
    small = [*SMALL[:-1], "--confirm-top", "2", "--confirm-seeds", "2"]
    found = hpo("run", "--model", "cnn", "--n-trials", "3", *small, folder=tmp_path)
    # The best two, and the default if it is none of them.
    assert [c["n_seeds"] for c in found["confirmed"]] in ([2, 2], [2, 2, 2])
    assert sum(c["default"] for c in found["confirmed"]) == 1
    assert "default" in found["verdict"]
    assert found["confirmed"][0]["mean"] >= found["confirmed"][1]["mean"]
    assert found["test"]["n"] == 1000
    path = Path(found["path"])
    assert {p.name for p in path.iterdir()} == SAVED
    assert "fresh seeds" in (path / "README.md").read_text()

    import torch
    from hpo_models.datasets import digits

    import hpo as package

    inputs, targets = digits.load("", 0).test  # type: ignore[misc]
    with torch.no_grad():
        accuracy = float((package.load(path)(inputs).argmax(1) == targets).double().mean())
    assert accuracy == pytest.approx(found["test"]["best"]["accuracy"], abs=0.0021)

    again = hpo("retrain", "cnn-auto", "--top", "2", "--seeds", "2", folder=tmp_path)
    assert Path(again["path"]).name == "best-2"
    assert again["confirmed"] == found["confirmed"]  # taken from the ledger, not trained again
    study = ledger(tmp_path, "cnn-auto").study
    from optuna.artifacts import get_all_artifact_meta

    names = {a.filename for a in get_all_artifact_meta(study, storage=study._storage)}
    assert names == SAVED


def test_a_failed_trial_is_one_failed_trial(tmp_path: Path) -> None:
    how = ("fine", "raise", "nan", "missing", "text", "die", "silent")
    write_toy(tmp_path, *how)
    settings = ["--set", "x=0.5", "--sampler", "grid", "--epochs", "2", "--max-retries", "1"]
    found = hpo("run", "--model", "./toy.py:train", *settings, folder=tmp_path)
    assert found["trials"] == {"COMPLETE": 1, "FAIL": 7}  # a lost worker is given another chance
    study = ledger(tmp_path, "toy-train-grid")
    reasons = {t.params["how"]: t.user_attrs.get("fail_reason", "") for t in study.trials()}
    expected = {
        "raise": "ValueError: as asked",
        "nan": "diverged",
        "missing": "lacks the objective 'score'",
        "text": "must be a number",
        "die": "worker process died",
        "silent": "without reporting",
    }
    for name, part in expected.items():
        assert part in reasons[name], reasons
    raised = next(t for t in study.trials() if t.params["how"] == "raise")
    assert "as asked" in raised.user_attrs["traceback"]
    died = [t for t in study.trials() if t.params["how"] == "die"]
    assert died[1].user_attrs["origin"]["retry_of"] == died[0].number
    assert raised.intermediate_values == {1: 0.5}


def test_odd_folders_do_no_harm(tmp_path: Path) -> None:
    for name in ("models", "hpo", "optuna", "ray"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('the wrong one')")
    (tmp_path / "types.py").write_text("raise RuntimeError('the wrong one')")
    write_toy(tmp_path, "fine")
    spaced = tmp_path / "an environment with spaces"  # Ray starts workers through a shell
    spaced.symlink_to(sys.prefix)
    script = [str(spaced / "bin" / "python"), str(spaced / "bin" / "hpo")]
    budget = ["--n-trials", "3", "--pruner", "none", "--no-retrain"]
    done = subprocess.run(
        [*script, "run", "--model", "./toy.py:train", *budget],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert ledger(tmp_path, "toy-train-auto").counts() == {"COMPLETE": 3}
    # Who names no sampler is told which one there is, and why.
    said = "auto chose gp: few, costly trials of a continuous space"
    assert said in done.stderr and said in done.stdout
    assert said in (tmp_path / "hpo-runs/toy-train-auto/report.html").read_text()


OWN = '''
import torch
import neighbour
from hpo import Classifier, Data, Float, Int, Space

class Net(Classifier):
    """A small network on data of its own."""
    space = Space(lr=Float(1e-3, 1e-1, log=True), width=Int(4, 16))

    def data(self, seed):
        x = torch.randn(300, 4, generator=torch.Generator().manual_seed(seed))
        y = (x[:, 0] * x[:, 1] > 0).long()
        parts = [(x[a:b], y[a:b]) for a, b in ((0, 200), (200, 250), (250, 300))]
        return Data("xor", *parts, {"n_classes": 2})

    def build(self, params, data):
        w = params["width"]
        layers = torch.nn.Linear(4, w), neighbour.activation(), torch.nn.Linear(w, 2)
        return torch.nn.Sequential(*layers)
'''


def test_a_strangers_own_class_runs_and_loads(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(OWN)
    (tmp_path / "neighbour.py").write_text("import torch\nactivation = torch.nn.ReLU\n")
    budget = ["--n-trials", "3", "--epochs", "3", "--confirm-top", "1", "--confirm-seeds", "2"]
    found = hpo("run", "--model", "./mine.py:Net", *budget, folder=tmp_path)
    assert found["test"]["n"] == 50
    code = (
        "import hpo, sys\n"
        "try: hpo.load(sys.argv[1])\n"
        "except hpo.SpecError as error: assert 'model=' in str(error), error\n"
        "net = hpo.load(sys.argv[1], model='./mine.py:Net')\n"
        "assert not net.training and len(net) == 3"
    )
    subprocess.run([sys.executable, "-c", code, found["path"]], cwd=tmp_path, check=True)
    offered = f"import hpo; assert {found['load']}.training is False"
    subprocess.run([sys.executable, "-c", offered], cwd=tmp_path.parent, check=True)


@pytest.mark.alone
def test_both_workers_are_busy_and_each_trial_has_its_own_process(tmp_path: Path) -> None:
    write_toy(tmp_path, "slow")
    arguments = [
        "--n-trials",
        "6",
        "--epochs",
        "3",
        "--no-retrain",
        "--no-report",
        "--pruner",
        "none",
    ]
    hpo("run", "--model", "./toy.py:train", *arguments, folder=tmp_path)
    trials = ledger(tmp_path, "toy-train-auto").trials()
    workers = [t.user_attrs["run"]["worker"] for t in trials]
    n_workers = min(os.cpu_count() or 1, 6)
    assert len(set(workers)) == n_workers
    lasted = {t.number: timedelta(seconds=t.user_attrs["run"]["duration_s"]) for t in trials}
    start = min(t.datetime_complete - lasted[t.number] for t in trials)  # workers have started
    end = max(t.datetime_complete for t in trials)
    share = sum(lasted.values(), timedelta()) / (n_workers * (end - start))
    assert share > 0.6, share  # one trial after another would give 0.5 of two workers


def test_one_worker_repeats_exactly(tmp_path: Path) -> None:
    found = []
    for part in ("a", "b"):
        folder = tmp_path / part
        folder.mkdir()
        arguments = ["--n-trials", "4", "--max-concurrent", "1", "--seed", "5", *SMALL]
        hpo("run", "--model", "cnn", *arguments, folder=folder)
        found.append([(t.params, t.value) for t in ledger(folder, "cnn-auto").trials()])
    assert found[0] == found[1]


def test_an_interrupt_is_in_order_and_resume_finishes(tmp_path: Path) -> None:
    write_toy(tmp_path, "slow")
    arguments = [
        "--n-trials",
        "8",
        "--epochs",
        "4",
        "--no-retrain",
        "--no-report",
        "--pruner",
        "none",
    ]
    run = subprocess.Popen(
        [*HPO, "run", "--model", "./toy.py:train", *arguments],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        time.sleep(0.5)
        if (tmp_path / "hpo.db").exists():
            try:
                if ledger(tmp_path, "toy-train-auto").counts().get("COMPLETE", 0) >= 2:
                    break
            except Exception:
                continue
    os.killpg(run.pid, signal.SIGINT)  # as a terminal's ctrl-C does
    out, errors = run.communicate(timeout=60)
    assert run.returncode == 130, errors[-2000:]
    assert "hpo resume" in out
    counts = ledger(tmp_path, "toy-train-auto").counts()
    assert set(counts) <= {"COMPLETE", "FAIL"}
    reasons = {
        t.user_attrs.get("fail_reason")
        for t in ledger(tmp_path, "toy-train-auto").trials()
        if t.state.name == "FAIL"
    }
    assert reasons <= {"interrupted"}
    found = hpo("resume", "toy-train-auto", folder=tmp_path)
    assert found["trials"]["COMPLETE"] == 8
    assert [t.number for t in ledger(tmp_path, "toy-train-auto").trials()] == list(
        range(sum(found["trials"].values()))
    )


def test_budgets_add_up_and_another_study_is_refused(tmp_path: Path) -> None:
    write_toy(tmp_path, "fine", "fine too")
    model = ["--model", "./toy.py:train", "--no-retrain", "--no-report", "--pruner", "none"]
    hpo("run", *model, "--n-trials", "2", folder=tmp_path)
    found = hpo("run", *model, "--n-trials", "1", folder=tmp_path)
    assert found["trials"] == {"COMPLETE": 3}
    found = hpo("run", *model, "--total-trials", "5", folder=tmp_path)
    assert found["trials"] == {"COMPLETE": 5}
    said = hpo("run", *model, "--n-trials", "1", "--epochs", "3", folder=tmp_path, code=2)
    assert "epochs was" in said
    for command in ("status", "best", "trials"):
        assert hpo(command, "toy-train-auto", folder=tmp_path)
    assert hpo("studies", folder=tmp_path)[0]["complete"] == 5
    assert "did you mean 'toy-train-auto'" in hpo(
        "status", "toy-train-aut", folder=tmp_path, code=2
    )


def test_two_workers_train_each_trial_together(tmp_path: Path) -> None:
    budget = ["--n-trials", "3", "--confirm-top", "1", "--confirm-seeds", "1", "--epochs", "1"]
    flags = ["--set", "width=8", "--set", "depth=2", "--workers-per-trial", "2", *budget]
    found = hpo("run", "--model", "cnn", *flags, folder=tmp_path)
    assert sum(found["trials"].values()) == 3 and "FAIL" not in found["trials"], found["trials"]
    assert found["test"]["best"]["accuracy"] > 0.5
    workers = {t.user_attrs["run"]["worker"] for t in ledger(tmp_path, "cnn-auto").trials()}
    assert len(workers) == 1  # both cores work on one trial
    said = hpo("run", "--model", "cnn", "--workers-per-trial", "99", folder=tmp_path, code=2)
    assert "there is room for" in said


COUNTING = """
import os
from pathlib import Path
from hpo import Float, Space, tunable

def parent_of(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])

@tunable(Space(x=Float(0.0, 1.0)), "workers:maximize")
def train(trial):
    found = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            title = Path(f"/proc/{pid}/cmdline").read_bytes()
            if parent_of(pid) == os.getppid() and (b"ray::" in title or b"default_worker" in title):
                found += b"Agent" not in title
        except OSError:
            pass
    trial.report(workers=found)
"""


def test_ray_starts_one_worker_a_trial_at_once(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(COUNTING)
    for n in (1, 2):
        flags = ("--max-concurrent", f"{n}", "--n-trials", "2", "--no-retrain", "--no-report")
        hpo("run", "--model", "own.py:train", "--name", f"{n}", *flags, folder=tmp_path)
        values = [trial.value for trial in ledger(tmp_path, f"{n}").study.trials]
        assert values == [n, n]
