"""A trial trained again: the same bits where nothing differs, and else what differs."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import optuna
import pytest

from hpo.errors import SpecError
from hpo.outcome.rerun import Rerun, compare, plan
from hpo.storage.attempts import FailKind
from hpo.storage.ledger import Ledger
from hpo.storage.sql import open_storage
from hpo.study import ResolvedStudy, resolve, spec_from
from hpo.training.session import pick_device, start
from hpo.tune.driver import _origin, drive, job_of
from hpo.tune.pool import train
from hpo.tune.report import one_line
from hpo.tune.resources import Resources

ONE = Resources(1, 0, 1, 1, 1, 0)
MINE = """
import random
import numpy
import torch
from hpo import Choice, Classifier, Data, Float, Space, tunable

@tunable(Space(x=Float(0.0, 1.0), how=Choice("good", "raise", "nan")), "score")
def function(trial):
    for epoch in range(trial.epochs):
        if trial.params["how"] == "raise" and epoch == 2:
            raise ValueError("as asked")
        noise = random.random() + numpy.random.rand() + float(torch.rand(())) + len({"b", "a"})
        bad = trial.params["how"] == "nan" and epoch == 1
        trial.report(score=float("nan") if bad else trial.params["x"] + noise)


class Net(Classifier):
    space = Space(lr=Float(1e-3, 1e-1, log=True))
    epochs = 3

    def data(self, seed):
        x = torch.randn(60, 4) + torch.tensor(numpy.random.rand(60, 4)).float()
        part = (x, (x[:, 0] > 0).long())
        return Data("noise", part, part, part, {"n_classes": 2})

    def build(self, params, data):
        return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(), torch.nn.Linear(8, 2))

    def prepare(self, batch, params, generator):
        return (batch[0] + random.random() + numpy.random.rand(), *batch[1:])
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MINE)
    return tmp_path


def run(
    study: ResolvedStudy,
    ledger: Ledger,
    params: dict[str, Any],
    prune_at: int = 0,
    lose_at: int = 0,
) -> int:
    """One trial in this process, as warm as all before have left it; returns its number."""
    from dataclasses import replace

    asked = ledger.ask(params, _origin(study, ledger, ONE))
    assert asked is not None
    job = job_of(study)
    metric = ledger.meta.guide.metric
    session = start(replace(job, params={**job.params, **asked.params}))
    attrs: dict[str, Any] = {"run": {"device": pick_device(), "data": session.data_digest}}
    try:
        while not (step := session.step()).finished or step.metrics:
            n = len(session.history)
            ledger.report(asked.number, n, step.metrics.get(metric), prune=False)
            if n == prune_at:
                ledger.prune(asked.number, {"metrics": step.metrics, **attrs})
            if n == lose_at:
                kind: FailKind = "lost"
                ledger.fail(asked.number, "lost: its worker died", kind=kind)
            if n in (prune_at, lose_at):
                session.stop()
                return asked.number
            if step.finished:
                break
    except Exception as error:
        ledger.fail(asked.number, one_line(error), None, attrs)
        session.stop()
        return asked.number
    best = session.best()
    ledger.conclude(asked.number, best, {"metrics": best, **attrs})
    return asked.number


def again(ledger: Ledger, number: int, folder: Path) -> Rerun:
    planned = plan(ledger, number)
    return compare(ledger, planned, train(planned.job, str(folder)))


def study_of(folder: Path, **flags: Any) -> tuple[ResolvedStudy, Any]:
    study = resolve(spec_from({}, {"n_trials": 9, **flags}))
    return study, open_storage(f"sqlite:///{folder}/hpo.db", create=True)


def test_the_cnn_on_digits_comes_to_the_same_bits(folder: Path) -> None:
    small = {"width": "8", "depth": "2", "norm": "batch", "dropout": "0.3"}
    study, storage = study_of(folder, model="cnn", epochs=2, set=small, ema=0.9)
    with drive(study, storage) as ledger:
        whole = run(study, ledger, study.space.default())
        other = {**study.space.default(), "lr": 0.02, "augment": "affine"}
        pruned = run(study, ledger, other, prune_at=1)
        before = (folder / "hpo.db").stat().st_size, ledger.study.user_attrs
        for number, steps in ((whole, 2), (pruned, 1)):
            found = again(ledger, number, folder)
            assert found.same, found
            assert (found.steps.then, found.steps.now) == (steps, steps)
            assert found.metrics == found.differences == []  # the losses, too
            assert "bit for bit" in found.verdict
        assert before == ((folder / "hpo.db").stat().st_size, ledger.study.user_attrs)


@pytest.mark.parametrize("objectives", [["accuracy", "params", "latency_ms"], ["latency_ms"]])
def test_every_objective_is_compared_but_the_clocks(folder: Path, objectives: list[str]) -> None:
    small = {"width": "8", "depth": "2"}
    goals = {"objectives": objectives, "constraints": ["size_mb<=50"]}
    study, storage = study_of(folder, model="cnn", epochs=1, set=small, **goals)
    with drive(study, storage) as ledger:
        number = run(study, ledger, study.space.default())
        trial = ledger.trial(number)
        found = again(ledger, number, folder)
        assert found.same, found
        assert [d.what for d in found.metrics] == ["latency_ms"]
        assert any("latency_ms is a clock's word" in note for note in found.notes)
        if len(objectives) > 1:
            assert found.value.what == "accuracy, params"
            assert found.value.then == found.value.now == trial.values[:2]
            assert repr(trial.values[:2]) in found.verdict
            planned = plan(ledger, number)
            trained = train(planned.job, str(folder))
            trained.metrics["params"] += 1
            other = compare(ledger, planned, trained)
            assert other.same is False and other.part is None
            assert str(trial.values[1] + 1) in other.verdict


def test_another_model_of_the_zoo_does_so_too(folder: Path) -> None:
    study, storage = study_of(folder, model="vae", epochs=1)
    with drive(study, storage) as ledger:
        first = run(study, ledger, study.space.default())
        run(study, ledger, dict(study.space.suggest(optuna.create_study().ask())))
        assert again(ledger, first, folder).same


def test_ones_own_class_and_function_may_draw_from_any_generator(folder: Path) -> None:
    for model, params in (("Net", {"lr": 0.05}), ("function", {"x": 0.5, "how": "good"})):
        study, storage = study_of(folder, model=f"./mine.py:{model}", name=model, epochs=3)
        with drive(study, storage) as ledger:
            numbers = [run(study, ledger, params) for _ in range(2)]
            first, second = (ledger.trial(n).intermediate_values for n in numbers)
            assert first == second  # whatever the worker has done before
            found = again(ledger, numbers[0], folder)
            assert found.same and found.differences == [], found


def test_a_failure_is_the_same_if_it_fails_the_same_way(folder: Path) -> None:
    study, storage = study_of(folder, model="./mine.py:function", epochs=4)
    with drive(study, storage) as ledger:
        for how, said in (("raise", "as asked"), ("nan", "diverged: score is nan in epoch 2")):
            number = run(study, ledger, {"x": 0.5, "how": how})
            found = again(ledger, number, folder)
            assert found.same, found
            assert said in found.verdict and said in str(found.error.now)
        mended = MINE.replace('raise ValueError("as asked")', "pass")
        (folder / "mine.py").write_text(mended)
        found = again(ledger, 0, folder)
        assert found.same is False and found.error.now is None
        assert [d.what for d in found.differences] == ["file mine.py"]
        assert "no error now" in found.verdict and "file mine.py" in found.verdict


def test_what_was_cut_off_is_compared_as_far_as_it_came(folder: Path) -> None:
    study, storage = study_of(folder, model="./mine.py:function", epochs=4)
    with drive(study, storage) as ledger:
        lost = run(study, ledger, {"x": 0.5, "how": "good"}, lose_at=2)
        found = again(ledger, lost, folder)
        assert found.same and found.value.then is None and found.value.now is not None
        assert (found.steps.then, found.steps.now) == (2, 4)
        assert "cut off" in found.notes[0]
        asked = ledger.ask({"x": 0.1, "how": "good"})
        assert asked is not None
        with pytest.raises(SpecError, match="1 is RUNNING"):
            plan(ledger, 1)
        ledger.fail(asked.number, "lost: its driver died", kind="lost")
        assert again(ledger, 1, folder).same is None
        with pytest.raises(SpecError, match=r"no 7 in study .*: choose from 0 to 1"):
            plan(ledger, 7)


def test_what_differs_is_named_with_the_step_where_the_curves_part(folder: Path) -> None:
    study, storage = study_of(folder, model="./mine.py:function", epochs=3)
    with drive(study, storage) as ledger:
        number = run(study, ledger, {"x": 0.5, "how": "good"})
        (folder / "mine.py").write_text(
            MINE.replace("bad = ", "noise += epoch > 0\n        bad = ")
        )
        attrs = ledger.study.user_attrs
        (key,) = (k for k in attrs if k.startswith("hpo:circumstances:"))
        then = json.loads(json.dumps(attrs[key]))
        then["packages"] |= {"torch": "1.0", "gone": "2.0"}
        ledger.set_attr(key, then)
        found = again(ledger, number, folder)
        assert found.same is False
        assert found.part is not None and found.part.what == "step 2"
        assert found.part.now == pytest.approx(found.part.then + 1)
        names = [d.what for d in found.differences]
        assert names == ["package gone", "package torch", "file mine.py"]
        assert "they part at step 2" in found.verdict and "package torch" in found.verdict


def test_what_it_needs_and_is_not_here_is_said_before_anything_starts(folder: Path) -> None:
    study, storage = study_of(folder, model="./mine.py:function", epochs=2)
    with drive(study, storage) as ledger:
        number = run(study, ledger, {"x": 0.5, "how": "good"})
        (folder / "mine.py").unlink()
        with pytest.raises(SpecError, match="no file"):
            plan(ledger, number)


def test_data_that_differ_are_seen_by_their_digest(folder: Path) -> None:
    study, storage = study_of(folder, model="./mine.py:Net")
    with drive(study, storage) as ledger:
        number = run(study, ledger, {"lr": 0.05})
        assert math.isfinite(ledger.trial(number).value or math.nan)
        (folder / "mine.py").write_text(
            MINE.replace("torch.randn(60, 4)", "torch.randn(60, 4) + 1")
        )
        names = [d.what for d in again(ledger, number, folder).differences]
        assert names == ["file mine.py", "data"]
