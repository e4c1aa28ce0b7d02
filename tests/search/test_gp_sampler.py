"""Our Gaussian process: exact gradients, faithful rows, and proposals that use what is known."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import optuna
import pytest
from scipy.optimize import approx_fprime

from hpo import Choice, Float, Int, Space
from hpo.search import make_sampler
from hpo.search.acquisition import log_expected_improvement
from hpo.search.encoding import Encoding
from hpo.search.gaussian_process import GaussianProcess
from hpo.search.gp_sampler import warped

CONDITIONAL = Space(
    forbidden=[{"kind": "b", "depth": 3}],
    kind=Choice("a", "b", "c"),
    only=Choice("x"),
    lr=Float(1e-4, 1e-1, log=True),
    depth=Int(1, 5),
    width=Int(8, 512, log=True),
    rate=Float(0.0, 0.9, step=0.1, when={"kind": ("a", "b")}),
    inner=Choice(True, False, when={"rate": (0.1, 0.2)}),
)


def study_of(space: Space, **options: Any) -> optuna.Study:
    sampler = make_sampler("gp", space, 0, n_trials=60, **options)
    return optuna.create_study(sampler=sampler)


def test_the_gradient_is_that_of_the_loss() -> None:
    rng = np.random.default_rng(0)
    z = rng.random((30, 5))
    y = np.sin(5 * z[:, 0]) + z[:, 1] ** 2 + 0.1 * rng.standard_normal(30)
    gp = GaussianProcess(np.array([0, 1, 2, 2, 3]))
    theta = gp.theta + rng.normal(0, 0.3, len(gp.theta))
    exact = gp._loss(theta, z, y)[1]
    measured = approx_fprime(theta, lambda t: gp._loss(t, z, y)[0], 1e-6)
    np.testing.assert_allclose(exact, measured, atol=1e-3 * np.abs(exact).max())


def test_a_fit_goes_through_its_points_and_is_unsure_elsewhere() -> None:
    z = np.linspace(0, 0.5, 12)[:, None]
    y = np.sin(8 * z[:, 0])
    gp = GaussianProcess(np.array([0]))
    gp.fit(z, y)
    mean, sd = gp.predict(np.array([[0.25], [1.0]]))
    assert mean[0] == pytest.approx(np.sin(2.0), abs=0.05)
    assert sd[1] > 5 * sd[0]


def test_expected_improvement_is_that_of_many_draws() -> None:
    draws = np.random.default_rng(0).standard_normal(1_000_000)
    for mean, sd, best in [(0.0, 1.0, 0.5), (1.0, 0.5, 0.0), (0.2, 2.0, -1.0)]:
        gain = np.maximum(best - (mean + sd * draws), 0).mean()
        found = log_expected_improvement(np.array([mean]), np.array([sd]), np.array(best))
        assert np.exp(found[0]) == pytest.approx(gain, rel=0.02)
    far = log_expected_improvement(np.array([30.0, 3e3, 3e4]), np.ones(3), np.array(0.0))
    assert np.isfinite(far).all() and (np.diff(far) < 0).all()


def test_a_point_is_what_its_row_says() -> None:
    encoding, rng = Encoding(CONDITIONAL), np.random.default_rng(0)
    for _ in range(300):
        point = CONDITIONAL.random(rng)
        x = np.nan_to_num(encoding.encode(point))
        decoded = encoding.decode(x)
        assert CONDITIONAL.key(decoded) == pytest.approx(CONDITIONAL.key(point)) or all(
            decoded[name] == pytest.approx(value) for name, value in point.items()
        )
        active = encoding.active(x[None, :])[0]
        names = {c.name for c, on in zip(encoding.columns, active, strict=True) if on}
        assert names == set(point) - {"only"}
        np.testing.assert_allclose(encoding.snap(x[None, :])[0], x, atol=1e-12)


def test_what_is_inactive_makes_no_difference() -> None:
    encoding = Encoding(CONDITIONAL)
    x = np.nan_to_num(encoding.encode({**CONDITIONAL.default(), "kind": "c"}))
    other = x.copy()
    names = [column.name for column in encoding.columns]
    other[names.index("rate")] = 0.9
    other[names.index("inner")] = 1
    np.testing.assert_array_equal(*encoding.features(np.stack([x, other])))


def test_the_start_begins_with_the_default() -> None:
    study = study_of(CONDITIONAL)
    assert CONDITIONAL.suggest(study.ask()) == CONDITIONAL.default()


def test_eight_at_once_are_eight_places() -> None:
    space = Space(a=Float(0.0, 1.0), b=Float(0.0, 1.0))
    study = study_of(space)
    for _ in range(8):  # twice as many, and it is so near the optimum that all belong there
        trial = study.ask()
        point = space.suggest(trial)
        study.tell(trial, (point["a"] - 0.3) ** 2 + (point["b"] - 0.8) ** 2)
    points = [space.suggest(study.ask()) for _ in range(8)]
    rows = np.array([[p["a"], p["b"]] for p in points])
    distances = np.linalg.norm(rows[:, None] - rows[None, :], axis=2)
    assert distances[np.triu_indices(8, 1)].min() > 1e-3


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_it_finds_what_random_search_does_not(direction: str) -> None:
    space = Space(
        a=Float(-5.0, 5.0), b=Float(1e-4, 1.0, log=True), n=Int(1, 40), c=Choice("x", "y", "z")
    )
    sign = 1 if direction == "minimize" else -1

    def loss(p: dict[str, Any]) -> float:
        off = (p["a"] - 2) ** 2 / 10 + (np.log10(p["b"]) + 2.5) ** 2 + (p["n"] - 31) ** 2 / 200
        return float(off) + 2.0 * (p["c"] != "y")

    best = {}
    for name in ("random", "gp"):
        study = optuna.create_study(
            direction=direction, sampler=make_sampler(name, space, 1, n_trials=40)
        )
        study.optimize(lambda trial: sign * loss(space.suggest(trial)), n_trials=40)
        best[name] = sign * study.best_value
    assert best["gp"] < 0.02 < best["random"]


def test_a_pruned_trial_counts_as_what_it_would_have_come_to() -> None:
    space = Space(a=Float(0.0, 1.0))
    study = study_of(space)
    for i in range(12):
        trial = study.ask()
        space.suggest(trial)
        trial.report(1.0 + 0.1 * i, 1)
        if i % 3 == 2:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            study.tell(trial, 0.5 + 0.1 * i)
    sampler: Any = study.sampler
    _, values, _ = sampler._observations(study, study.trials[-1])
    assert sorted(values) == pytest.approx([0.5 + 0.1 * i for i in range(11)])


def test_values_are_seen_whatever_their_zero_and_unit_and_finely_near_the_best() -> None:
    y = np.array([4e-5, 1.6e-4, 3e-3, 0.02, 0.17, 0.9, 40.0])
    seen = warped(y)
    np.testing.assert_allclose(warped(1e6 * y - 300), seen, atol=1e-4)
    assert (np.diff(seen) > 0).all()
    plain = (y - y.mean()) / y.std()
    assert seen[3] - seen[0] > 10 * (plain[3] - plain[0])


@pytest.mark.parametrize("value", [0.0, 1e300, -1e-300])
def test_equal_or_huge_values_stop_nothing(value: float) -> None:
    space = Space(a=Float(0.0, 1.0), b=Choice("x", "y"))
    study = study_of(space)
    for i in range(20):
        trial = study.ask()
        space.suggest(trial)
        study.tell(trial, value if i % 4 else i * 1.0)
    assert not space.validate(space.suggest(study.ask()))


def test_a_long_study_is_proposed_for_in_bounded_time() -> None:
    space = Space(**{f"x{i}": Float(0.0, 1.0) for i in range(6)})
    study = study_of(space)
    rng = np.random.default_rng(0)
    for _ in range(1500):
        point = space.random(rng)
        study.add_trial(
            optuna.trial.create_trial(
                params=point,
                distributions=space.distributions(),
                value=sum((v - 0.5) ** 2 for v in point.values()),
            )
        )
    space.suggest(study.ask())
    started = time.process_time()
    space.suggest(study.ask())
    assert time.process_time() - started < 5
