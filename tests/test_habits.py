"""Habits of other libraries in a function: found before a study is begun, with the right form."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from hpo import SpecError
from hpo.habits import advice, problems_of, space_of, studies_at_import, tunables_in
from hpo.registry import find_model, load_model

Load = Callable[[str], ModuleType]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def from_source(source: str) -> ModuleType:
        path = tmp_path / "mine.py"
        path.write_text(source)
        spec = importlib.util.spec_from_file_location("mine", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return from_source


WRONG = {
    "suggest_float": (
        "lr = trial.suggest_float('lr', 1e-5, 1e-1, log=True)",
        "mine.py:2: trial.suggest_float: declare lr=Float(1e-05, 0.1, log=True) in @tunable",
    ),
    "suggest_categorical": (
        "k = trial.suggest_categorical('k', ['a', 'b'])",
        "declare k=Choice('a', 'b')",
    ),
    "suggest by a computed name": ("trial.suggest_int(f'n{1}', 1, 3)", "Space(NAME=Int(LOW"),
    "should_prune": ("if trial.should_prune(): return", "trial.report(...) ends the trial"),
    "set_user_attr": ("trial.set_user_attr('a', 1)", "trial.report(accuracy=..., NAME=...)"),
    "study": ("trial.study.stop()", "hpo asks, runs and ends the trials"),
    "value and step": (
        "for e in range(3): trial.report(0.5, e)",
        "trial.report(0.5, e): name what is reported: trial.report(accuracy=0.5); hpo counts",
    ),
    "a dict": ("trial.report({'accuracy': 1})", "trial.report(**{'accuracy': 1})"),
    "misspelt": ("x = trial.param", "did you mean trial.params?"),
    "a config": ("x = trial['lr']", "trial['lr']: write trial.params['lr']"),
    "return instead of report": (
        "acc = 0.5\n    return acc",
        "train never reports: it returns acc: call trial.report(accuracy=...)",
    ),
    "another metric": (
        "trial.report(acc=1, loss=2)",
        "'accuracy' is not reported by train, which reports acc, loss",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_habit_of_another_library_gets_the_right_form(name: str, load: Load) -> None:
    body, expected = WRONG[name]
    module = load(f"def train(trial):\n    {body}\n")
    problems = problems_of(module.train, "accuracy", ["accuracy"])
    assert any(expected in line for line in problems), problems
    assert all("\n" not in line for line in problems)


RIGHT = (
    "trial.report(accuracy=trial.params['lr'], step=3)",
    "fit(trial)",  # who knows what that does
    "m = {'accuracy': 1}; trial.report(**m)",
    "trial.report(*[], accuracy=1)",
    "done = trial.report; done(accuracy=1)",
    "raise FileNotFoundError('x')",  # that is for its trials to tell
    "if hasattr(trial, 'suggest_float'): trial.suggest_float('x', 0, 1)",
    "def objective(trial): trial.suggest_float('x', 0, 1)\n    trial.report(accuracy=1)",
    "def after(m): trial.report(**m)\n    go(after)",
    "trial.note = 1; trial.report(accuracy=trial.note)",
    "print(trial.number, trial.folder, trial.seed); trial.report(accuracy=1)",
)


@pytest.mark.parametrize("body", RIGHT)
def test_what_may_work_is_left_to_its_trials(body: str, load: Load) -> None:
    module = load(f"def train(trial):\n    {body}\n")
    assert problems_of(module.train, "accuracy", ["accuracy"]) == []


def test_a_function_of_two_arguments_is_refused(load: Load) -> None:
    module = load(
        "def train(trial, data): ...\ndef good(trial, data=None): trial.report(accuracy=1)"
    )
    assert "hpo calls it with the trial alone" in problems_of(module.train, "accuracy", [])[0]
    assert problems_of(module.good, "accuracy", ["accuracy"]) == []


OPTUNA = """
def objective(trial):
    lr = trial.suggest_float("lr", 1e-5, 1e-1, log=True)
    n = trial.suggest_int("n", 1, 9)
    return lr * n
"""


def test_an_undeclared_function_is_told_its_declaration(tmp_path: Path, load: Load) -> None:
    assert space_of(load(OPTUNA).objective) == "Space(lr=Float(1e-05, 0.1, log=True), n=Int(1, 9))"
    with pytest.raises(SpecError, match=r"@hpo.tunable\(Space\(lr=Float\(1e-05"):
        load_model(find_model(f"{tmp_path}/mine.py:objective"))


def test_a_study_at_import_is_refused_before_it_runs(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(OPTUNA + "study = None\nstudy.optimize(objective, n_trials=3)\n")
    with pytest.raises(SpecError, match=r"line 7: study.optimize.* if __name__ == '__main__'"):
        load_model(find_model(f"{path}:objective"))
    assert studies_at_import(OPTUNA + "if __name__ == '__main__':\n    study.optimize(1)\n") == []


def test_models_are_found_in_a_file_that_is_not_run() -> None:
    source = "1/0\n@hpo.tunable(1)\ndef a(t): ...\n@tunable(2)\ndef b(t): ...\nclass C(Model): ..."
    assert tunables_in(source) == ["a", "b", "C"]
    assert tunables_in("def (") == []


def test_advice_names_what_a_trial_has() -> None:
    assert "a trial has params, seed" in advice("zzz")
