"""Who is confirmed of a front, and under constraints, and what is said of it."""

from __future__ import annotations

from typing import Any

import pytest

from hpo import Choice, Float, Space, SpecError
from hpo.model import Objective
from hpo.outcome.artifact import card, explain
from hpo.outcome.confirm import Confirmed, candidates, check_chosen, verdict_of
from hpo.outcome.retrain import describe
from hpo.search import make_pruner, make_sampler
from hpo.storage.ledger import Ledger
from hpo.storage.sql import open_storage
from hpo.study import ResolvedStudy, resolve, spec_from
from hpo.tune.pool import Trained
from tests.outcome.test_confirm import DEFAULT, MINE
from tests.storage.test_ledger import meta

SPACE = Space(x=Float(0.0, 1.0, default=0.25), kind=Choice("a", "b"))
TWO = {"objectives": ["accuracy", "cost:minimize"]}
CHEAP = {"constraints": ["cost<=10"]}
METRICS = [(0.5, 1.0), (0.9, 2.0), (1.0, 9.0), (0.4, 3.0), (1.1, 11.0)]


def resolved(tmp_path: Any, **settings: Any) -> ResolvedStudy:
    (tmp_path / "mine.py").write_text(MINE)
    return resolve(spec_from({"model": f"{tmp_path}/mine.py:train", "confirm_top": 2}, settings))


def told(tmp_path: Any, study: ResolvedStudy, n: int = 5) -> Ledger:
    ledger = Ledger.create_or_open(
        open_storage(f"sqlite:///{tmp_path}/hpo.db", create=True),
        "s",
        meta(space=SPACE, more=study.objectives[1:], constraints=study.constraints),
        lambda n: make_sampler("random", SPACE, 0, n_trials_done=n),
        make_pruner("none", epochs=4),
    )
    for k, (accuracy, cost) in enumerate(METRICS[:n]):
        ledger.ask({"x": 0.5 + k / 20, "kind": "b"})
        ledger.conclude(k, {"accuracy": accuracy, "cost": cost})
    return ledger


def entry(rows: list[tuple[float, float]], *, default: bool = False, number: int = 1) -> Confirmed:
    runs = {1000 + k: {"accuracy": a, "cost": c} for k, (a, c) in enumerate(rows)}
    return Confirmed(number, {}, 0.5, runs, "accuracy", is_default=default)


def test_the_fronts_nearest_to_the_best_are_confirmed_beside_the_default(tmp_path: Any) -> None:
    study = resolved(tmp_path, **TWO)
    ledger = told(tmp_path, study)
    assert [t.number for t in ledger.front()] == [1, 2, 0, 4]
    found = candidates(study, ledger)
    assert [(c.number, c.searched, c.is_default) for c in found] == [
        (1, 0.9, False),
        (2, 1.0, False),
        (None, None, True),
    ]
    assert [c.number for c in candidates(study, ledger, 2)] == [2, None]


def test_infeasible_trials_are_no_candidates(tmp_path: Any) -> None:
    study = resolved(tmp_path, **CHEAP)
    assert [c.number for c in candidates(study, told(tmp_path, study))] == [2, 1, None]


def test_a_chosen_trial_has_to_be_there_complete_and_feasible(tmp_path: Any) -> None:
    ledger = told(tmp_path, resolved(tmp_path, **TWO, **CHEAP))
    ledger.ask()
    check_chosen(ledger, 3)
    for number, why in ((99, "has none"), (5, "is RUNNING"), (4, "breaks cost<=10")):
        with pytest.raises(SpecError, match=f"trial: {number}.*{why}"):
            check_chosen(ledger, number)


def test_each_objective_is_compared_with_the_defaults(tmp_path: Any) -> None:
    study = resolved(tmp_path, **TWO)
    best = entry([(0.90, 1000.0), (0.91, 1000.0), (0.92, 1000.0)])
    default = entry([(0.95, 9000.0), (0.95, 9000.0), (0.95, 9000.0)], default=True, number=0)
    said = "accuracy worse by 0.04 ± 0.025; cost better by 8,000."
    assert verdict_of(study, [best, default]) == f"Beside the default, on 3 fresh seeds: {said}"
    assert verdict_of(study, [default]) == "The chosen configuration is the default configuration."


def test_broken_constraints_on_fresh_seeds_are_said_so(tmp_path: Any) -> None:
    study = resolved(tmp_path, **CHEAP)
    kept, broken = [(0.9, 3.0), (0.8, 3.0)], [(0.95, 11.0), (0.95, 13.0)]
    said = verdict_of(study, [entry(kept), entry(broken, default=True)])
    assert said == "The default configuration breaks cost<=10 (mean 12)."
    said = verdict_of(study, [entry(broken), entry(kept, default=True)])
    assert said.endswith("On fresh seeds it breaks cost<=10 (mean 12).")


def test_the_saved_facts_and_the_card_hold_every_objective(tmp_path: Any) -> None:
    study = resolved(tmp_path, **TWO, **CHEAP)
    ledger = told(tmp_path, study)
    ranking = [entry([(0.9, 2.0), (0.8, 4.0)]), entry([(0.5, 1.0)] * 2, default=True, number=0)]
    test = {"accuracy": 0.88, "cost": 2.5}
    facts = describe(study, ledger, ranking, Trained(test=test), {}, DEFAULT)
    assert (facts.metric, facts.direction) == ("accuracy", "maximize")
    assert facts.objectives == [
        {"metric": "accuracy", "direction": "maximize"},
        {"metric": "cost", "direction": "minimize"},
    ]
    text = card(facts)
    assert "Searched by: maximize accuracy, minimize cost, cost<=10." in text
    assert "| cost, the same seeds | 3 ± 1.4 |" in text and "| test: cost | 2.5 |" in text
    assert "of the Pareto front's 3 trials 2 were trained" in explain(facts)


def test_several_objectives_choose_sampler_pruner_and_name(tmp_path: Any) -> None:
    study = resolved(tmp_path, **TWO)
    assert (study.spec.sampler, study.spec.pruner) == ("auto", "none")
    assert study.name == "mine-train-auto-accuracy-cost"
    again = resolved(tmp_path, **study.spec.model_dump(exclude={"model", "confirm_top"}))
    assert again.spec == study.spec  # as `hpo resume` reads it
    one = resolved(tmp_path, objectives=["f1"], constraints=["cost<=3"])
    assert (one.spec.sampler, one.spec.pruner, one.guide) == ("auto", "median", Objective("f1"))
    figure = resolved(tmp_path, objectives=["params"])
    assert (figure.spec.pruner, figure.guide) == ("none", Objective("accuracy"))
