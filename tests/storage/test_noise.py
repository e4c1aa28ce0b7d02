"""How well an objective repeats, by what has been measured more than once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hpo.storage.noise import CONFIRMED, noise_text
from tests.outcome.test_goals import SPACE, resolved
from tests.storage.test_ledger import meta


def studied(tmp_path: Any, latencies: list[float], accuracies: list[float], sd: float) -> Any:
    from hpo.search import make_pruner, make_sampler
    from hpo.storage.ledger import Ledger
    from hpo.storage.sql import open_storage

    tmp_path.mkdir(exist_ok=True)
    study = resolved(tmp_path, objectives=["accuracy", "latency_ms"])
    ledger = Ledger.create_or_open(
        open_storage(f"sqlite:///{tmp_path}/hpo.db", create=True),
        "s",
        meta(space=SPACE, more=study.objectives[1:]),
        lambda n: make_sampler("random", SPACE, 0, n_trials_done=n),
        make_pruner("none", epochs=4),
    )
    for k, (accuracy, latency) in enumerate(zip(accuracies, latencies, strict=True)):
        metrics = {"accuracy": accuracy, "latency_ms": latency, "latency_ms_sd": sd}
        ledger.ask({"x": k / 100, "kind": "b"})
        ledger.conclude(k, metrics, {"metrics": metrics})
    return ledger


def test_the_fronts_first_is_not_chosen_by_a_clocks_noise(tmp_path: Any) -> None:
    ledger = studied(tmp_path, [0.118, 0.124, 0.129], [0.876, 0.961, 0.963], sd=0.005)
    assert [trial.number for trial in ledger.front()][:2] == [2, 1]
    assert ledger.noise() == {"latency_ms": pytest.approx(0.005)}
    steady = studied(tmp_path / "b", [0.118, 1.24, 1.29], [0.876, 0.961, 0.963], sd=0.0)
    assert steady.noise() == {"latency_ms": pytest.approx(0.03 * 1.24)}


def test_trainings_on_fresh_seeds_tell_the_noise_of_every_objective(tmp_path: Any) -> None:
    ledger = studied(tmp_path, [0.118, 0.124], [0.876, 0.961], sd=0.0)
    rng = np.random.default_rng(0)
    confirmed = {
        f"{number}:{seed}": {
            "accuracy": float(rng.normal(0.8 + number / 10, 0.01)),
            "latency_ms": float(rng.normal(0.12, 0.02)),
        }
        for number in (0, 1)
        for seed in range(40)
    }
    ledger.set_attr(CONFIRMED, confirmed)
    noise = ledger.noise()
    assert noise["accuracy"] == pytest.approx(0.01, rel=0.2)
    assert noise["latency_ms"] == pytest.approx(0.02, rel=0.2)
    assert "accuracy 0.0" in noise_text(noise) and noise_text({}) == ""
