"""The form in which what a training leaves is saved."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import joblib
import pytest
import torch
from safetensors.torch import load
from sklearn.linear_model import LogisticRegression
from torch import nn

from hpo.training.product import product_of


class Booster:
    """As those of gradient boosting: it writes itself to a path."""

    def __init__(self, text: str = "trees") -> None:
        self.text = text

    def save_model(self, path: str) -> None:
        Path(path).write_text(self.text)

    def load_model(self, path: str) -> None:
        self.text = Path(path).read_text()


class Folder(Booster):
    def save_model(self, path: str) -> None:
        (Path(path) / "parts").mkdir(parents=True)
        (Path(path) / "parts" / "a.txt").write_text(self.text)


class Broken(Booster):
    def save_model(self, path: str) -> None:
        raise RuntimeError("not fitted")

    def predict(self) -> None: ...


class Silent(Booster):
    def save_model(self, path: str) -> None: ...


class Unpicklable:
    def __init__(self) -> None:
        self.f = lambda x: x

    def predict(self) -> None: ...


def test_a_network_and_its_state_dict_are_the_same_file() -> None:
    net = nn.Linear(3, 2)
    of_net, of_state = product_of(net), product_of(net.state_dict())
    assert of_net.kind == of_state.kind == "weights"
    assert of_net.files == of_state.files
    found = load(of_state.files["weights.safetensors"])
    assert torch.equal(found["weight"], net.weight)


def test_a_booster_is_saved_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    found = product_of(Booster())
    assert (found.kind, found.files, found.why) == ("save_model", {"model.bin": b"trees"}, "")
    assert product_of(Folder()).files == {"model.bin/parts/a.txt": b"trees"}
    monkeypatch.setattr(Booster, "__module__", "xgboost.core")
    named = product_of(Booster())
    assert named.type == "xgboost.core.Booster" and list(named.files) == ["model.ubj"]


def test_an_estimator_is_pickled_and_its_type_named() -> None:
    fitted = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    found = product_of(fitted)
    assert found.kind == "joblib" and found.type.endswith("LogisticRegression")
    again = joblib.load(io.BytesIO(found.files["model.joblib"]))
    assert again.predict([[2.0]]).tolist() == [1]
    broken = product_of(Broken())  # what it can do itself fails: the next form
    assert broken.kind == "joblib" and "save_model: RuntimeError: not fitted" in broken.why


@pytest.mark.parametrize(
    ("returned", "why"),
    [
        (None, "the function returned nothing"),
        ({"accuracy": 0.9}, "an object of type dict, which has no saved form"),
        (0.5, "an object of type float"),
        (Booster, "an object of type type"),
        (Silent(), "save_model: ValueError: save_model(path) wrote nothing"),
        (Unpicklable(), "joblib: "),
    ],
)
def test_what_cannot_be_saved_is_said_so(returned: Any, why: str) -> None:
    found = product_of(returned)
    assert (found.kind, found.files) == ("nothing", {}) and why in found.why
