"""Networks measured on rows: modules and callables, hard rows, and what cannot be measured."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hpo import Classifier, Float, HpoError, Model, Objective, Space, SpecError
from hpo.model import Metrics, Params, Split
from hpo.outcome.evaluate import evaluate

INFO = {"n_classes": 3, "class_names": ["a", "b", "c"]}


class Told(Classifier):
    """Inputs are the logits."""

    space = Space(lr=Float(0, 1))


def split(n: int = 90, seed: int = 0) -> Split:
    generator = torch.Generator().manual_seed(seed)
    targets = torch.arange(n) % 3
    noise = torch.randn(n, 3, generator=generator)
    return noise + 2 * nn.functional.one_hot(targets, 3), targets


def test_a_callable_is_measured_as_a_module_is() -> None:
    rows = split()
    of_module = evaluate(nn.Identity(), Told(), rows, {}, INFO, n_resamples=200)
    of_callable = evaluate(lambda inputs: inputs, Told(), rows, {}, INFO, n_resamples=200)
    assert of_module.measures == of_callable.measures and of_module.own == of_callable.own
    assert of_module.shown.keys() == {"classes.md"} and not of_callable.shown
    assert of_callable.losses is not None
    expected = nn.functional.cross_entropy(rows[0].double(), rows[1], reduction="none")
    assert of_callable.losses == pytest.approx(expected.numpy())


def test_the_hardest_rows_are_those_that_are_most_surely_wrong() -> None:
    inputs, targets = split()
    inputs[7], inputs[11] = torch.tensor([0.0, 9, 0]), torch.tensor([8.0, 0, 0])  # 7 is a b
    inputs[12] = torch.tensor([0.0, 0, 30])  # 12 is an a
    found = evaluate(nn.Identity(), Told(), (inputs, targets), {}, INFO, n_resamples=0)
    assert found.hardest(2) == [12, 11]
    assert found.rows["true"][12] == "a" and found.rows["predicted"][12] == "c"
    assert found.rows["probability"][12] == pytest.approx(1.0)
    assert found.rows["loss"][12] == pytest.approx(30.0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_network_that_gives_nan_is_refused_with_the_number_of_rows(bad: float) -> None:
    inputs, targets = split()
    inputs[3, 1] = inputs[5, 0] = bad
    with pytest.raises(HpoError, match="NaN or infinity for 2 of 90 rows"):
        evaluate(nn.Identity(), Told(), (inputs, targets), {}, INFO)


def test_rows_that_cannot_be_measured_are_refused() -> None:
    inputs, targets = split()
    with pytest.raises(SpecError, match="no rows"):
        evaluate(nn.Identity(), Told(), (inputs[:0], targets[:0]), {}, INFO)
    with pytest.raises(SpecError, match="no classes to compare"):
        evaluate(nn.Identity(), Told(), (inputs,), {}, INFO)
    with pytest.raises(SpecError, match=r"numbered 0 to 3, and the network knows 3"):
        evaluate(nn.Identity(), Told(), (inputs, targets + (targets == 2)), {}, INFO)
    with pytest.raises(HpoError, match=r"gives \(270,\) for 90 rows"):
        evaluate(nn.Flatten(0), Told(), (inputs, targets), {}, INFO)
    with pytest.raises(HpoError, match="the network failed on these rows: RuntimeError"):
        evaluate(nn.Linear(7, 3), Told(), (inputs, targets), {}, INFO)


class Line(Model):
    """A regression with a metric of its own and one that is no mean over rows."""

    objective = Objective("error", "minimize")
    space = Space(lr=Float(0, 1))

    def evaluate(self, net: nn.Module, batches: Iterable[Split], params: Params) -> Metrics:
        errors = torch.cat([(net(x)[:, 0] - y).square() for x, y in batches])
        return {"error": float(errors.mean()), "worst": float(errors.max())}

    def per_row(
        self, net: nn.Module, batches: Iterable[Split], params: Params
    ) -> dict[str, Tensor]:
        errors = torch.cat([(net(x)[:, 0] - y).square() for x, y in batches])
        return {"error": errors, "worst": errors, "loss": errors}

    def show(self, *_: Any) -> dict[str, bytes]:
        raise RuntimeError("no picture today")


def test_only_metrics_that_are_means_over_rows_have_a_bootstrap() -> None:
    rows = torch.randn(600, 2), torch.randn(600)
    found = evaluate(nn.Linear(2, 1), Line(), rows, {}, {}, n_resamples=300)
    error, worst = found.measures["error"], found.measures["worst"]
    assert error.low is not None and error.low < error.value < error.high  # type: ignore[operator]
    assert worst.low is None
    assert found.classified is None and found.losses is not None
    assert found.hardest(1) == [int(np.argmax(found.losses))]
    assert found.notes == [
        "The model's own pictures could not be made (RuntimeError: no picture today)."
    ]


class Wayward(Told):
    """A classifier with a metric of its own."""

    def evaluate(self, net: nn.Module, batches: Iterable[Split], params: Params) -> Metrics:
        return {"accuracy": 0.125, "charm": 0.5}


def test_a_classifiers_own_metrics_stand_beside_those_of_all() -> None:
    found = evaluate(nn.Identity(), Wayward(), split(), {}, INFO, n_resamples=0)
    assert found.own == {"accuracy": 0.125, "charm": 0.5}
    assert found.measures["charm"].value == 0.5
    assert found.measures["accuracy"].value > 0.5  # measured, not what the model claims
