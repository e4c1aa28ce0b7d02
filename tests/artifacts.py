"""Saved models of tiny trainings on real data, for tests of what is done with them."""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from hpo.model import Data, Model
from hpo.outcome.artifact import Artifact, save
from hpo.registry import find_model, load_data, load_model
from hpo.training.loop import Training, TrainSettings
from hpo.training.product import product_of

SHELF = "HPO_TEST_SHELF"
"""The environment variable with the folder that all processes of a run of the tests share."""


@functools.cache
def model_of(name: str) -> Model:
    return load_model(find_model(name))


def data_of(name: str) -> Data:
    """The model's own first data set, whole."""
    data = load_data(model_of(name), model_of(name).datasets[0], 0)
    assert data is not None
    return data


def few(data: Data, n: int) -> Data:
    """n rows of each split."""
    parts = []
    for split in (data.train, data.val, data.test or ()):
        rows = torch.randperm(len(split[0]), generator=torch.Generator().manual_seed(0))[:n]
        parts.append(tuple(column[rows] for column in split))
    return Data(data.name, *parts, data.info)


def facts_of(model: str, params: Mapping[str, Any], data: Data, test: dict[str, float]) -> Artifact:
    """What a retraining would have written."""
    objective = model_of(model).objective
    return Artifact(
        model=model,
        params=dict(params),
        data=data.name,
        info=dict(data.info),
        metric=objective.metric,
        direction=objective.direction,
        trial=0,
        n_trials=1,
        searched=0.0,
        confirmed=[{"trial": 0, "searched": 0.0, "values": [0.0]}],
        test=test,
        default_params=dict(params),
        default_test={},
        seeds={"search": 0, "retrain": 0},
        study={"name": f"{model}-test"},
    )


@functools.cache
def artifact(name: str, epochs: int = 1, n: int = 64) -> Path:
    """The folder of a saved model of the zoo, trained once per run: copy it to write in it."""
    folder = Path(os.environ[SHELF]) / f"{name}-{epochs}-{n}"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            made = Path(tempfile.mkdtemp(dir=folder.parent))
            _trained(name, epochs, n, made).rename(folder)
    return folder


def _trained(name: str, epochs: int, n: int, folder: Path) -> Path:
    model = model_of(name)
    params = model.space.default()
    training = Training(model, params, few(data_of(name), n), TrainSettings(epochs))
    metrics: dict[str, float] = {}
    while not training.finished:
        metrics = training.run_epoch()
    facts = facts_of(name, params, data_of(name), metrics)
    return save(facts, product_of(training.net), {}, folder)
