"""The page of a study of several objectives, and of one with constraints."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpo.model import Objective
from hpo.objectives import constraints_of
from hpo.report.front import front_table, hypervolumes
from hpo.report.front_plots import pareto
from hpo.report.study import study_report
from hpo.report.study_page import facts_of, rerun_command, study_page, write_study
from hpo.search import make_pruner, make_sampler
from hpo.storage.ledger import Ledger, StudyMeta
from hpo.storage.sql import open_storage
from tests.report.studies import SPACE

COST = Objective("params", "minimize")
THIRD = Objective("loss", "minimize")


def make(folder: Path, n: int, more: Any = (COST,), constraints: Any = ()) -> Ledger:
    meta = StudyMeta(
        "m", "score", "maximize", SPACE, "d", 3, 0, {}, more, constraints_of(constraints)
    )
    ledger = Ledger.create_or_open(
        open_storage(f"sqlite:///{folder}/hpo.db", create=True),
        "s",
        meta,
        lambda n: make_sampler("random", SPACE, 0, n_trials_done=n),
        make_pruner("none", epochs=3),
    )
    rng = random.Random(0)
    for k in range(n):
        asked = ledger.ask(origin={"driver": "one"})
        assert asked is not None
        metrics = {
            "score": asked.params["width"] / 64 + rng.gauss(0, 0.1),
            "params": float(asked.params["width"] ** 3),
            "loss": rng.random(),
        }
        ledger.report(asked.number, 1, metrics["score"])
        run = {"duration_s": 1.0, "worker": "w", "device": "cpu", "epochs": 1}
        if k % 7 == 5:
            ledger.fail(asked.number, "no luck")
        else:
            ledger.conclude(asked.number, metrics, {"metrics": metrics, "run": run})
    return ledger


@pytest.mark.parametrize("n", [0, 1, 2, 30])
@pytest.mark.parametrize("more", [(COST,), (COST, THIRD)])
def test_a_front_has_a_page(n: int, more: Any, tmp_path: Path) -> None:
    ledger = make(tmp_path, n, more, ["loss<=0.7"])
    write_study(ledger, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert "NaN" not in text.split("plotly.js v")[0]
    assert ("Pareto front" in text) == (n > 0)
    facts = facts_of(study_report(ledger))
    assert [row["trial"] for row in facts["front"]] == [t.number for t in ledger.front()]
    if facts["best"]:
        assert list(facts["best"]["values"]) == ["score", *(one.metric for one in more)]


def test_importance_is_given_for_each_objective(tmp_path: Path) -> None:
    titles = [s.title for s in study_page(study_report(make(tmp_path, 30))).sections]
    assert "Which parameters matter for score" in titles
    assert "Which parameters matter for params" in titles
    assert "Growth of the front" in titles and "Optimization history" not in titles


def test_the_dominated_share_is_the_area_counted_by_hand(tmp_path: Path) -> None:
    report = study_report(make(tmp_path, 30))
    found = hypervolumes(report)
    assert found["share"].is_monotonic_increasing
    values = report.front[["value_score", "value_params"]].to_numpy() * [-1, 1]
    low, high = values.min(axis=0), values.max(axis=0)
    shares = (values - low) / (1.1 * (high - low))
    points = np.random.default_rng(0).random((200_000, 2))
    covered = np.zeros(len(points), dtype=bool)
    for share in shares:
        covered |= (points >= share).all(axis=1)
    assert found["share"].iloc[-1] == pytest.approx(covered.mean(), abs=0.005)


def test_the_picture_tells_the_front_from_what_is_dominated_or_infeasible(tmp_path: Path) -> None:
    ledger = make(tmp_path, 30, constraints=["loss<=0.7"])
    report = study_report(ledger)
    drawn = {trace.name: trace for trace in pareto(report).data if trace.name}
    front = sorted(t.number for t in ledger.front())
    assert sorted(map(int, drawn["Pareto front"].text)) == front
    assert len(drawn["infeasible"].x) == ledger.n_infeasible() > 0
    n = len(front) + len(drawn["dominated"].x) + len(drawn["infeasible"].x)
    assert n == ledger.counts()["COMPLETE"]
    assert front_table(report)["trial"].tolist() == [t.number for t in ledger.front()]


def test_infeasible_trials_are_not_best_on_the_page_of_one_objective(tmp_path: Path) -> None:
    ledger = make(tmp_path, 30, (), ["params<=30000"])
    report = study_report(ledger)
    best = ledger.best()
    assert best is not None and report.best is not None
    assert report.best["number"] == best.number
    assert best.user_attrs["metrics"]["params"] <= 30000
    assert facts_of(report)["infeasible"] == ledger.n_infeasible() > 0
    write_study(ledger, tmp_path / "page.html")


def test_the_command_names_the_goals(tmp_path: Path) -> None:
    ledger = make(tmp_path, 2, constraints=["loss<=0.7"])
    ledger.set_attr(
        "hpo:spec", {"objectives": ["score", "params"], "constraints": ["loss<=0.7"], "set": {}}
    )
    command = rerun_command(study_report(ledger))
    assert "--objective score --objective params --constraint 'loss<=0.7'" in command
