"""`hpo.run` as people call it: a script, closures, classes, threads, beside their own Ray."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import pytest
import torch

import hpo

pytestmark = [pytest.mark.ray, pytest.mark.slow]

HELPER = "def far(x):\n    return (x - 0.3) ** 2\n"
FUNCTION = """
import hpo
from helper import far
from hpo import Float, Space

SCALE = 2

def train(trial):
    for epoch in range(2):
        trial.report(loss=SCALE * far(trial.params["x"]))

SPACE = Space(x=Float(0.0, 1.0))
SHORT = dict(epochs=2, pruner="none", max_concurrent=2)
"""
OF_MAIN = """
result = hpo.run(train, space=SPACE, objective="loss", n_trials=3, **SHORT)
assert result.best.value == 2 * far(result.best.params["x"]), result.best
assert result.best.values == {"loss": result.best.value}
assert list(result.confirmed["trial"])[0] is not None
assert result.verdict and result.path.is_dir() and result.report.is_file()
assert len(result.trials) == 3 and "params_x" in result.trials
assert "best of the search" in result._repr_html_()
again = hpo.run(train, space=SPACE, objective="loss", total_trials=3, **SHORT)
assert len(again.trials) == 3
resumed = hpo.resume("train-auto", model=train, space=SPACE, objective="loss", n_trials=1)
assert len(resumed.trials) == 4
study = hpo.open_study("train-auto")
assert study.best == resumed.best and study.optuna.best_trial.number == study.best.number
try:
    study.optuna.optimize(lambda trial: 1.0, n_trials=1)
except hpo.HpoError as error:
    assert "open to look at" in str(error)
else:
    raise AssertionError("it wrote")
assert [one.name for one in hpo.studies()] == ["train-auto"]
"""
BESIDE_RAY = """
import threading
import ray
import torch
from hpo import Choice, Classifier, Data

ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")

def outer(factor):
    def inner(trial):
        trial.report(score=factor * trial.params["x"])
    return inner

closure = hpo.run(
    outer(3), space=SPACE, objective="score:maximize", n_trials=2, name="closure", retrain=False
)
assert closure.best.value == 3 * closure.best.params["x"]
assert closure.path is None and closure.confirmed is None

found = []
thread = threading.Thread(
    target=lambda: found.append(hpo.run(outer(2), space=SPACE, objective="score:maximize",
                                        n_trials=2, name="thread", retrain=False))
)
thread.start()
thread.join()
assert found[0].best.value == 2 * found[0].best.params["x"]

class Net(Classifier):
    '''Tells the sign.'''
    space = Space(lr=Float(1e-3, 1e-1, log=True), width=Choice(4, 8))
    objective = "accuracy"

    def data(self, seed):
        x = torch.randn(300, 4, generator=torch.Generator().manual_seed(seed))
        y = (x.sum(1) > 0).long()
        parts = [(x[a:b], y[a:b]) for a, b in ((0, 200), (200, 250), (250, 300))]
        return Data("sign", *parts, {"n_classes": 2})

    def build(self, params, data):
        return torch.nn.Sequential(
            torch.nn.Linear(4, params["width"]), torch.nn.ReLU(),
            torch.nn.Linear(params["width"], 2),
        )

net = hpo.run(Net, n_trials=2, epochs=3, confirm_seeds=2, confirm_top=1)
assert net.name == "Net-auto" and "accuracy" in net.test, net.test
assert net.model(torch.zeros(1, 4)).shape == (1, 2)
assert ray.is_initialized()
"""


def script(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    (folder / "helper.py").write_text(HELPER)
    (folder / "script.py").write_text(text)
    environment = {k: v for k, v in os.environ.items() if k != "HPO_STORAGE"}
    return subprocess.run(
        [sys.executable, "script.py"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,
    )


def test_a_function_of_a_script_and_a_second_run_in_the_same_process(tmp_path: Path) -> None:
    done = script(tmp_path, FUNCTION + OF_MAIN)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_closure_a_thread_and_a_class_beside_the_users_ray(tmp_path: Path) -> None:
    done = script(tmp_path, FUNCTION + BESIDE_RAY)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


INTERRUPTED = """
import signal, time

def slow(trial):
    for epoch in range(200):
        time.sleep(0.1)
        trial.report(loss=trial.params["x"])

before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]

class Say(hpo.Client):
    def opened(self, ledger, url, after):
        print("begun", flush=True)

try:
    hpo.run(slow, space=SPACE, objective="loss", n_trials=3, name="s", client=Say(), epochs=200)
except KeyboardInterrupt:
    print("interrupted", flush=True)
after = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
assert before == after
print(hpo.open_study("s").counts, flush=True)
"""


def test_an_interrupt_ends_a_run_in_order_and_leaves_the_process(tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text(HELPER)
    (tmp_path / "script.py").write_text(FUNCTION + INTERRUPTED)
    process = subprocess.Popen(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env={k: v for k, v in os.environ.items() if k != "HPO_STORAGE"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    from hpo.storage.ledger import Ledger
    from hpo.storage.sql import open_storage

    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        time.sleep(0.5)
        ledger = Ledger.open(open_storage(f"sqlite:///{tmp_path}/hpo.db", create=False), "s")
        if any(trial.intermediate_values for trial in ledger.trials()):
            break
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    said, counts = out.splitlines()
    assert said == "interrupted" and "'interrupted': " in counts and "running" not in counts


CELLS = (
    "import hpo\nfrom hpo import Float, Space",
    "def train(trial):\n    for epoch in range(2):\n        trial.report(loss=trial.params['x'])",
    "result = hpo.run(train, space=Space(x=Float(0.0, 1.0)), objective='loss', n_trials=2,\n"
    "                 epochs=2, pruner='none', progress=True)\nresult",
    "assert result.best.values['loss'] == result.best.params['x']\n"
    "assert hpo.open_study('train-auto').best == result.best",
)


def test_a_notebook_runs_a_function_of_a_cell_and_shows_the_result(tmp_path: Path) -> None:
    nbformat, nbclient = map(import_module, ("nbformat", "nbclient"))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in CELLS])
    folder = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=300, resources=folder).execute()
    outputs = notebook.cells[2].outputs
    shown = [o["data"]["text/html"] for o in outputs if o["output_type"] == "execute_result"]
    assert len(shown) == 1 and "best of the search" in shown[0]
    assert any("finished" in str(o) or "trial" in str(o).lower() for o in outputs[:-1])


def test_data_of_a_class_that_is_defined_again_is_not_that_of_the_first() -> None:
    from hpo.api.live import reference
    from hpo.registry import load_data, load_model

    def defined(value: float) -> type[hpo.Model]:
        class Net(hpo.Classifier):
            space = hpo.Space(lr=hpo.Float(0.1, 1.0))
            objective = "accuracy"  # type: ignore[assignment]

            def data(self, seed: int) -> hpo.Data:
                rows = (torch.full((4, 1), value), torch.tensor([0, 1, 0, 1]))
                return hpo.Data("rows", rows, rows, rows, {"n_classes": 2})

        return Net

    for value in (1.0, 2.0):
        data = load_data(load_model(reference(defined(value))), "own", 0)
        assert data is not None and float(data.train[0][0, 0]) == value
