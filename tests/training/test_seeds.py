"""Generators: seeded anew for each training, and restored from a checkpoint."""

from __future__ import annotations

import random
from pathlib import Path

import numpy
import torch

from hpo.training import checkpoint, seeds


def draws() -> list[float]:
    numpy.random.normal()  # makes two, keeps one
    return [
        float(torch.rand(())),
        numpy.random.rand(),
        numpy.random.normal(),
        random.random(),
        random.gauss(0, 1),
    ]


def test_the_same_seed_gives_the_same_draws_whatever_came_before() -> None:
    seeds.seed_all(2**32 - 1)
    first = draws()
    draws()
    seeds.seed_all(2**32 - 1)
    assert draws() == first
    seeds.seed_all(1)
    assert draws() != first


def test_a_checkpoint_holds_where_every_generator_is(tmp_path: Path) -> None:
    seeds.seed_all(3)
    draws()
    checkpoint.save(tmp_path, 1, {"rng": seeds.state()})
    expected = [draws(), draws()]
    found = checkpoint.load(tmp_path)
    assert found is not None
    seeds.set_state(found["rng"])
    assert [draws(), draws()] == expected
