"""What holds for every model of the zoo: gradients, learning, determinism, saving, parameters."""

from __future__ import annotations

import copy
import functools
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import hpo
from hpo.model import Data, Model, Params
from hpo.outcome.artifact import Artifact, save
from hpo.registry import MODELS, find_model, load_data, load_model
from hpo.space import Space
from hpo.space_change import narrow, replace_when
from hpo.training.loop import Training, TrainSettings
from hpo.training.product import product_of

NAMES = sorted(MODELS)
PARAMETERS = [(name, p) for name in NAMES for p in load_model(find_model(name)).space.names]


@functools.cache
def model_of(name: str) -> Model:
    return load_model(find_model(name))


@functools.cache
def few(name: str, n: int = 64) -> Data:
    """Real data of the model, n rows of each split."""
    data = load_data(model_of(name), model_of(name).datasets[0], 0)
    assert data is not None and data.test is not None
    parts = []
    for split in (data.train, data.val, data.test):
        rows = torch.randperm(len(split[0]), generator=torch.Generator().manual_seed(0))[:n]
        parts.append(tuple(column[rows] for column in split))
    return Data(data.name, *parts, data.info)


def trained(name: str, params: Params, epochs: int = 2, seed: int = 0, n: int = 32) -> Training:
    training = Training(model_of(name), params, few(name, n), TrainSettings(epochs, seed=seed))
    while not training.finished:
        training.run_epoch()
    return training


def state(training: Training) -> Tensor:
    tensors = training.net.state_dict().values()
    return torch.cat([tensor.detach().double().flatten() for tensor in tensors])


@pytest.mark.parametrize("name", NAMES)
def test_any_point_builds_and_every_parameter_gets_a_finite_gradient(name: str) -> None:
    model, data = model_of(name), few(name)
    for seed in range(4):
        params = model.space.default() if seed == 0 else model.space.random(random.Random(seed))
        torch.manual_seed(seed)
        net = model.build(params, data)
        model.begin_epoch(net, 0.0, params)
        batch = model.prepare(data.train, params, torch.Generator().manual_seed(0))
        assert all(len(column) == len(data.train[0]) for column in batch)
        for _, loss in model.losses(net, batch, params):
            assert loss.dim() == 0 and torch.isfinite(loss), params
            loss.backward()  # type: ignore[no-untyped-call]
        for parameter, tensor in net.named_parameters():
            if tensor.requires_grad:
                assert tensor.grad is not None, (parameter, params)
                assert torch.isfinite(tensor.grad).all(), (parameter, params)


@pytest.mark.parametrize("name", NAMES)
def test_it_learns_a_small_batch(name: str) -> None:
    model = model_of(name)
    params = {**model.space.default(), "batch_size": 16, "schedule": "constant", "warmup": 0.0}
    settings = TrainSettings(epochs=30)
    training = Training(model, params, few(name, 32), settings)
    losses = [training.run_epoch() for _ in range(30)]
    assert model.objective.metric in losses[-1]
    if len(training.players) == 1:  # of players against each other none has to win
        first, last = losses[0]["train_loss"], min(row["train_loss"] for row in losses[-5:])
        assert last < first - 0.3 * abs(first), (first, last)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_network_and_another_does_not(name: str) -> None:
    params = model_of(name).space.default()
    a, b, c = (state(trained(name, params, seed=seed)) for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_model_comes_back_as_it_was(name: str, tmp_path: Path) -> None:
    model, data = model_of(name), few(name, 32)
    for seed in (0, 5):
        params = model.space.default() if seed == 0 else model.space.random(random.Random(seed))
        training = trained(name, params, epochs=1)
        facts = Artifact(
            model=name,
            params=params,
            data=data.name,
            info=dict(data.info),
            metric=model.objective.metric,
            direction=model.objective.direction,
            trial=0,
            n_trials=1,
            searched=0.0,
            confirmed=[{"trial": 0, "searched": 0.0, "values": [0.0]}],
            test={},
            default_params={},
            default_test={},
            seeds={},
            study={"name": "s"},
        )
        shown = training.show(data.test or ())
        path = save(facts, product_of(training.net), shown, tmp_path / name)
        assert set(shown) <= {file.name for file in path.iterdir()}
        assert all(file.read_bytes()[:4] == b"\x89PNG" for file in path.glob("*.png"))
        loaded = hpo.load(path)
        assert not loaded.training
        saved = training.net.state_dict()
        assert saved.keys() == loaded.state_dict().keys()
        for key, tensor in loaded.state_dict().items():
            assert torch.equal(tensor, saved[key]), key


@pytest.mark.parametrize("name", [n for n in NAMES if model_of(n).additive])
def test_two_half_batches_have_the_gradient_of_a_whole_one(name: str) -> None:
    model, data = model_of(name), few(name, 32)
    params = model.space.default()
    torch.manual_seed(0)
    net = model.build(params, data).eval()  # what depends on the other rows of a batch is off
    model.begin_epoch(net, 0.0, params)

    def gradients(*batches: Any) -> Iterator[Tensor]:
        copied = copy.deepcopy(net)
        for batch in batches:
            torch.manual_seed(0)
            for _, loss in model.losses(copied, batch, params):
                (loss / len(batches)).backward()
        return (p.grad for p in copied.parameters() if p.grad is not None)

    halves = [tuple(c[k * 16 : k * 16 + 16] for c in data.train) for k in range(2)]
    whole, both = gradients(data.train), gradients(*halves)
    for a, b in zip(whole, both, strict=True):
        assert torch.allclose(a, b, atol=1e-4, rtol=1e-3)


def changed(name: str, parameter: str, attempt: int) -> tuple[Params, Params]:
    """Two points that differ in one parameter, and in what only it switches on."""
    space, rng = model_of(name).space, random.Random(f"{parameter} {attempt}")
    for _ in range(1000):
        first, other = space.random(rng), space.random(rng)
        if parameter not in first or parameter not in other:
            continue
        second: dict[str, Any] = {}
        for key in space._sorted():
            if space.is_active(key, second):
                source = other if key == parameter else first
                second[key] = source.get(key, other.get(key, space.default().get(key)))
        if first[parameter] != second[parameter] and not space.validate(second):
            return first, second
    raise AssertionError(f"no pair for {parameter}")


@pytest.mark.parametrize(("name", "parameter"), PARAMETERS)
def test_no_parameter_is_without_effect(name: str, parameter: str) -> None:
    epochs = 10 if parameter == "beam" else 2  # a decoder has to know words to choose among them
    # More rows than a batch has, so that another size is another training.
    n = 600 if parameter == "batch_size" and name.startswith("ssl") else 160
    n = 72 if name.startswith("finetune") else n  # its rows take long
    for attempt in range(3):  # two clips that no gradient reaches are the same training
        one, other = changed(name, parameter, attempt)
        if history(name, one, epochs, n) != history(name, other, epochs, n):
            return
    raise AssertionError(f"{parameter} changes nothing")


def history(name: str, params: Params, epochs: int, n: int) -> list[dict[str, float]]:
    """The metrics of some epochs on n rows."""
    training = Training(model_of(name), params, few(name, n), TrainSettings(epochs))
    return [training.run_epoch() for _ in range(epochs)]


@pytest.mark.gpu
@pytest.mark.parametrize("name", NAMES)
def test_it_trains_on_a_gpu(name: str) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    model = model_of(name)
    settings = TrainSettings(2, device="cuda", precision="bf16")
    training = Training(model, model.space.default(), few(name), settings)
    training.run_epoch()
    assert model.objective.metric in training.run_epoch()


@pytest.mark.parametrize("name", NAMES)
def test_ranges_widen_up_to_hard_limits_and_no_further(name: str) -> None:
    space = model_of(name).space
    for parameter, p in space.params.items():
        if isinstance(p, hpo.Choice):
            continue
        assert p.within is not None, parameter
        least, most = p.within
        assert narrow(Space.of({parameter: replace_when(p, None)}), {parameter: f"{most}"})[1]
        with pytest.raises(hpo.SpecError, match="must be within"):
            narrow(space, {parameter: f"{most + 1}"})
        with pytest.raises(hpo.SpecError, match="must be within"):
            narrow(space, {parameter: f"{least - 1}"})
