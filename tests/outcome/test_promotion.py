"""A new model takes the place of a served one only where that is shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hpo.outcome.artifact import Artifact, save
from hpo.outcome.promotion import compare
from hpo.training.product import Product


def saved(folder: Path, values: list[float]) -> Path:
    runs = [{"seed": seed, "accuracy": value} for seed, value in enumerate(values)]
    confirmed: dict[str, Any] = {"trial": 0, "default": False, "searched": 0.5, "params": {}}
    facts = Artifact(
        model="cnn",
        params={},
        data="digits",
        info={},
        metric="accuracy",
        direction="maximize",
        trial=0,
        n_trials=1,
        searched=0.5,
        confirmed=[{**confirmed, "values": values, "runs": runs}],
        test={},
        default_params={},
        default_test={},
        seeds={},
        study={"name": "s"},
    )
    return save(facts, Product(), {}, folder)


def test_equal_gaps_on_every_seed_promote_nothing(tmp_path: Path) -> None:
    served, new = saved(tmp_path, [0.5, 0.5, 0.5]), saved(tmp_path, [0.6, 0.6, 0.6])
    found = compare(new, served)
    assert not found.promoted and "±" not in found.reason and "as much on each" in found.reason
    assert "equal on each of 3" in compare(served, served).reason
    clear = compare(saved(tmp_path, [0.6, 0.61, 0.605]), served)
    assert clear.promoted and "±" in clear.reason
