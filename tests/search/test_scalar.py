"""Several objectives and constraints shown to a Gaussian process as one value."""

from __future__ import annotations

from typing import Any

import numpy as np
import optuna

from hpo import Float, Space
from hpo.pareto import front_of
from hpo.search import make_sampler
from hpo.search.gp_sampler import GPSampler
from hpo.search.scalar import ScalarGPSampler, chebyshev, scalar_study

SPACE = Space(x=Float(0.0, 1.0), y=Float(0.0, 1.0))


def told(directions: list[str], rows: list[tuple[list[float], float]]) -> optuna.Study:
    """A study of trials with these values, which break a constraint by so much."""
    study = optuna.create_study(directions=directions)
    for values, broken in rows:
        trial = study.ask()
        SPACE.suggest(trial)
        trial.set_constraint("c", broken)
        study.tell(trial, values)
    return study


def test_a_point_that_dominates_is_nearer_under_all_weights() -> None:
    rng = np.random.default_rng(0)
    losses = rng.random((40, 3))
    for weights in rng.dirichlet(np.ones(3), 20):
        found = chebyshev(losses, weights)
        for i in range(40):
            worse = (losses >= losses[i]).all(axis=1) & (losses > losses[i]).any(axis=1)
            assert (found[worse] > found[i]).all()
        assert front_of(losses, [-1] * 3)[found.argmin()]


def test_amounts_count_by_their_decades() -> None:
    losses = np.array([[0.0, 1e6], [0.5, 1e3], [1.0, 1.0]])
    found = chebyshev(losses, np.array([0.5, 0.5]))
    assert found[1] < min(found[0], found[2]) and np.isclose(found[1], 0.25 + 0.05 * 0.5)
    evenly = np.array([[0.0, 1.0], [0.5, 0.5], [1.0, 1e-6]])  # near zero, and no such amount
    assert np.isclose(chebyshev(evenly, np.array([0.5, 0.5]))[1], 0.25 + 0.05 * 0.5)


def test_infeasible_trials_are_worse_than_all_others_by_how_much_they_break() -> None:
    rows = [([0.1], -1.0), ([0.9], -1.0), ([5.0], 3.0), ([9.0], 1.0)]
    study = told(["maximize"], rows)
    shown = scalar_study(study, study.trials, np.random.default_rng(0))
    good, best, far, near = [t.values[0] for t in shown.trials]
    assert best < good < near < far
    assert shown.direction.name == "MINIMIZE"
    assert [t.values for t in study.trials] == [[0.1], [0.9], [5.0], [9.0]]  # as they were


def test_without_a_feasible_trial_the_least_broken_is_best() -> None:
    study = told(["maximize", "minimize"], [([1.0, 2.0], 2.0), ([0.0, 3.0], 0.5)])
    shown = scalar_study(study, study.trials, np.random.default_rng(0))
    assert shown.trials[1].values[0] < shown.trials[0].values[0]


def drawn(sampler: Any, n: int = 14) -> list[dict[str, Any]]:
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for _ in range(n):
        trial = study.ask()
        params = SPACE.suggest(trial)
        study.tell(trial, -((params["x"] - 0.3) ** 2) + params["y"])
    return [trial.params for trial in study.trials]


def test_one_objective_without_constraints_is_as_without() -> None:
    make = {"seed": 3, "n_startup_trials": 5}
    assert drawn(ScalarGPSampler(SPACE, **make)) == drawn(GPSampler(SPACE, **make))


def test_gp_spreads_along_the_front_and_beats_chance() -> None:
    def covered(name: str) -> float:
        sampler = make_sampler(name, SPACE, 1, n_trials=30)
        study = optuna.create_study(directions=["minimize", "minimize"], sampler=sampler)
        for _ in range(30):
            trial = study.ask()
            p = SPACE.suggest(trial)
            study.tell(trial, [p["x"] + p["y"], 1 - p["x"] + p["y"]])
        points = np.array([trial.values for trial in study.best_trials])
        grid = np.linspace(0, 1, 21)  # of the true front: how far the nearest point is from it
        return float(np.mean([np.abs(points - [g, 1 - g]).sum(axis=1).min() for g in grid]))

    assert covered("gp") < 0.1 < covered("random")
