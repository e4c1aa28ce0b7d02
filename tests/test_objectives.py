"""Objectives and constraints as a user writes them."""

from __future__ import annotations

from typing import Any

import pytest

from hpo import Float, Space, SpecError, tunable
from hpo.objectives import Objective, constraints_of, figures_in, guide_of, objectives_of

OWN = Objective("fid", "minimize")


def test_the_models_own_objective_is_the_default() -> None:
    assert objectives_of([], OWN) == (OWN,)
    assert objectives_of(["fid"], OWN) == (OWN,)


@pytest.mark.parametrize(
    ("text", "direction"),
    [
        ("params", "minimize"),
        ("size_mb", "minimize"),
        ("latency_ms", "minimize"),
        ("train_loss", "minimize"),
        ("median_rank", "minimize"),
        ("probe_accuracy", "maximize"),
        ("recall_at_10", "maximize"),
        ("anything:maximize", "maximize"),
        ("accuracy:minimize", "minimize"),
    ],
)
def test_the_direction_is_known_or_said(text: str, direction: str) -> None:
    (found,) = objectives_of([text], Objective("score"))
    assert (found.metric, found.direction) == (text.partition(":")[0], direction)


LOSSES = (
    "loss val_loss valid/logLoss valLoss test-loss error top5_error error_rate perplexity ppl mse "
    "rmse RMSE mae nll val_nll fid latency latency_ms cross_entropy val_crossentropy wer "
    "brier_score mean_absolute_error epoch_seconds log_loss"
)
GAINS = "accuracy valacc val_acc1 acc@5 f1_macro roc_auc mAP recall@10 ndcg score log_likelihood"


@pytest.mark.parametrize("name", LOSSES.split())
def test_a_loss_is_minimised_by_its_name(name: str) -> None:
    assert Objective(name).direction == "minimize"
    assert objectives_of([name], Objective("score"))[0].direction == "minimize"


@pytest.mark.parametrize("name", GAINS.split())
def test_a_gain_is_maximised_by_its_name(name: str) -> None:
    assert Objective(name).direction == "maximize"


@pytest.mark.parametrize(
    "name", ["speed", "neg_mean_squared_error", "1-accuracy", "-loss", "accuracy_loss", "workers"]
)
def test_a_name_that_does_not_say_it_is_refused_everywhere(name: str) -> None:
    for declare in (
        Objective,
        lambda text: objectives_of([text], OWN),
        lambda text: tunable(Space(x=Float(0, 1)), text),
    ):
        with pytest.raises(SpecError, match=f"write {name}:minimize or {name}:maximize"):
            declare(name)


def test_the_decorator_takes_what_the_command_line_takes() -> None:
    @tunable(Space(x=Float(0, 1)), "val_loss:minimize")
    def train(trial: object) -> None: ...

    declared = train.hpo_model.objective  # type: ignore[attr-defined]
    assert (declared.metric, declared.direction) == ("val_loss", "minimize")
    assert (str(declared), declared.goal) == ("val_loss:minimize", "minimize val_loss")
    assert objectives_of([str(declared)], OWN) == (declared,)


@pytest.mark.parametrize("wrong", [3, None, "a<b", "loss:down", ["loss"], ""])
def test_an_objective_that_is_none_is_refused(wrong: Any) -> None:
    with pytest.raises(SpecError, match=r"(NAME|loss):minimize"):
        tunable(Space(x=Float(0, 1)), wrong)


def test_every_bad_objective_is_named_with_a_remedy() -> None:
    with pytest.raises(SpecError) as error:
        objectives_of(["speed", "speed:up", "f1", "f1", "", "loss_of_accuracy"], OWN)
    said = error.value.problems
    assert "'speed': which way is better is not known: write speed:minimize" in said[0]
    assert "'up' is no direction" in said[1]
    assert "write NAME" in said[2]
    assert "loss_of_accuracy:maximize" in said[3]
    assert "'f1' is named twice" in said[4]


@pytest.mark.parametrize(
    ("text", "kept", "broken"),
    [
        ("params<=200000", 200000, 200001),
        ("params < 2e5", 199999, 200000),
        ("accuracy>=0.9", 0.9, 0.89),
        ("accuracy>0.9", 0.91, 0.9),
        ("params<=200_000", 0, 300000),
        ("drift<0", -1e-9, 0.0),
    ],
)
def test_a_constraint_is_kept_at_zero_or_less(text: str, kept: float, broken: float) -> None:
    (one,) = constraints_of([text])
    assert one.violation(kept) <= 0 < one.violation(broken)


@pytest.mark.parametrize("text", ["params", "params=3", "params<=many", "<=3", "a<=nan", "a<b<3"])
def test_a_bad_constraint_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match="write NAME<=NUMBER"):
        constraints_of([text])


def test_epochs_are_compared_by_what_they_have() -> None:
    objectives = objectives_of(["params", "f1"], OWN)
    assert guide_of(objectives, OWN).metric == "f1"
    assert guide_of(objectives[:1], OWN) == OWN
    assert figures_in(["f1", "latency_ms", "params"]) == ("params", "latency_ms")
