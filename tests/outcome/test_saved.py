"""Folders of functions: what the card tells, what is in them, and how that is loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hpo import SpecError
from hpo import load as load_network
from hpo.cli import main
from hpo.outcome.artifact import CARD, card, explain, read, save
from hpo.outcome.confirm import Confirmed
from hpo.outcome.retrain import describe
from hpo.outcome.saved import loading, saved_text
from hpo.training.product import Product
from hpo.training.session import Job
from hpo.tune.pool import train
from tests.outcome.test_seedless import studied

RETURNS = {
    "booster": "Booster()",
    "estimator": "LogisticRegression().fit([[0.0], [1.0]], [0, 1])",
    "state": "torch.nn.Linear(3, 2).state_dict()",
    "network": "torch.nn.Linear(3, 2)",
    "figures": "{'accuracy': 0.9}",
    "nothing": "None",
}
SOURCE = """
import torch
from sklearn.linear_model import LogisticRegression
from hpo import Float, Space, tunable
from tests.training.test_product import Booster

@tunable(Space(x=Float(0.0, 1.0)), "accuracy")
def train(trial):
    trial.report(accuracy=0.9{test})
    return {returned}
"""


def saved(folder: Path, returns: str, test: str = "") -> Path:
    """A folder that the function's retraining left."""
    source = SOURCE.format(returned=RETURNS[returns], test=test)
    study, ledger = studied(folder, source=source)
    job = Job(study.ref, {"x": 0.3}, study.data, 0, study.epochs, "retrain")
    trained = train(job, str(folder))
    assert trained.error is None, trained.error
    ranking = [Confirmed(1, {"x": 0.3}, 0.9, {7: {"accuracy": 0.9}}, "accuracy")]
    facts = describe(study, ledger, ranking, trained, {}, {"x": 0.5})
    return save(facts, trained.product, trained.files, folder / "out")


def test_the_card_of_a_function_tells_of_no_test_and_no_rows(tmp_path: Path) -> None:
    path = saved(tmp_path, "network")
    text = (path / CARD).read_text()
    for untrue in ("tested", "? rows", "training + validation", "hpo.load", "retrained"):
        assert untrue not in text, untrue
    assert "only the function knows" in text
    reported = (saved(tmp_path / "b", "network", ", test_accuracy=0.8") / CARD).read_text()
    assert (
        "test: accuracy" in reported and "its test figures are those that it reported" in reported
    )


def test_a_class_without_test_rows_was_not_tested(tmp_path: Path) -> None:
    facts = replace(read(saved(tmp_path, "network")), is_function=False, info={"n_train": 10})
    assert "Trained on 10 rows, not tested" in card(facts)
    assert "there are no test figures" in explain(facts) and "retrained. " in card(facts)


@pytest.mark.parametrize("returns", ["booster", "estimator", "state", "network"])
def test_what_a_function_returns_is_saved_and_its_line_loads_it(
    tmp_path: Path, returns: str
) -> None:
    path = saved(tmp_path, returns)
    code, _ = loading(read(path), str(path))
    assert code.splitlines()[-1] in (path / CARD).read_text().replace("./", f"{path}/")
    before = "import torch\nnetwork = torch.nn.Linear(3, 2)\n" if "network." in code else ""
    after = "\nassert model.predict([[2.0]]) == [1]" if returns == "estimator" else ""
    after = "\nassert model.text == 'trees'" if returns == "booster" else after
    ran = subprocess.run(
        [sys.executable, "-c", before + code + after], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    with pytest.raises(SpecError) as error:
        load_network(path)
    assert code.splitlines()[-1] in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("returns", ["figures", "nothing"])
def test_where_nothing_is_saved_that_is_said(tmp_path: Path, returns: str) -> None:
    path = saved(tmp_path, returns)
    assert sorted(os.listdir(path)) == ["README.md", "model.json"]
    for said in (saved_text(read(path)), (path / CARD).read_text()):
        assert "no model, only metrics and parameters: the function returned" in said
    with pytest.raises(SpecError, match=r"holds no model.*the function returned"):
        load_network(path)


def test_a_pickle_is_never_loaded_unasked_and_its_risk_is_told(tmp_path: Path) -> None:
    path = saved(tmp_path, "estimator")
    assert "runs code that the file holds" in (path / CARD).read_text()
    assert read(path).versions.get("scikit-learn")


@pytest.mark.parametrize("command", ["evaluate", "export", "predict", "serve", "compress", "view"])
@pytest.mark.parametrize("model", [False, True])
def test_commands_for_networks_refuse_a_folder_without_one_in_a_line(
    tmp_path: Path,
    command: str,
    model: bool,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    path = saved(tmp_path, "booster")
    more = ["seven.png"] if command == "predict" else []
    more += ["--model", f"{tmp_path}/mine.py:train"] if model else []
    monkeypatch.setattr(sys, "argv", ["hpo", command, str(path), *more])
    with pytest.raises(SystemExit) as end:
        main()
    lines = capfd.readouterr().err.splitlines()
    assert end.value.code == 2 and len(lines) == 1, lines
    assert "no network that hpo can rebuild" in lines[0] and "load_model" in lines[0]


def test_leftovers_of_killed_processes_go_and_running_ones_stay(tmp_path: Path) -> None:
    first = saved(tmp_path, "booster")
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"],
                          capture_output=True, text=True, check=True)  # fmt: skip
    for pid in (gone.stdout.strip(), str(os.getppid())):
        (first.parent / f".draft-{pid}").mkdir()
    second = save(read(first), Product(), {}, first.parent)
    assert second.name == "best-2"
    left = [p.name for p in first.parent.iterdir() if p.name.startswith(".draft")]
    assert left == [f".draft-{os.getppid()}"]


def test_a_name_that_another_process_takes_meanwhile_is_left_to_it(
    tmp_path: Path, monkeypatch: Any
) -> None:
    first = saved(tmp_path, "booster")
    exists = Path.exists
    monkeypatch.setattr(Path, "exists", lambda p: p.name != "best" and exists(p))
    assert save(read(first), Product(), {}, first.parent).name == "best-2"


OWN = """
import torch
from hpo import Float, Space, tunable

class Mine:
    def predict(self, x): return [2 * v for v in x]
class Booster:
    def save_model(self, path): open(path, "w").write("trees")
    def load_model(self, path): self.text = open(path).read()

@tunable(Space(x=Float(0.0, 1.0)), "accuracy")
def train(trial):
    trial.report(accuracy=0.9)
    return {returned}
"""


@pytest.mark.parametrize("returned", ["Mine()", "Booster()"])
def test_objects_of_the_functions_own_file_load_by_their_line(
    tmp_path: Path, returned: str
) -> None:
    study, ledger = studied(tmp_path, source=OWN.format(returned=returned))
    trained = train(Job(study.ref, {"x": 0.3}, study.data, 0, study.epochs, "retrain"), ".")
    ranking = [Confirmed(1, {"x": 0.3}, 0.9, {7: {"accuracy": 0.9}}, "accuracy")]
    facts = describe(study, ledger, ranking, trained, {}, {"x": 0.5})
    path = save(facts, trained.product, {}, tmp_path / "out")
    code, _ = loading(read(path), str(path))
    used = "model.predict([2]) == [4]" if returned == "Mine()" else "model.text == 'trees'"
    # A pickle brings its class along; what saved itself is loaded beside the function's file.
    folder = tmp_path / "out" if returned == "Mine()" else tmp_path
    ran = subprocess.run(
        [sys.executable, "-c", f"{code}\nassert {used}"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
