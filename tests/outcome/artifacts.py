"""Saved networks of tiny budgets: trained, tested and saved as `hpo retrain` does, without Ray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from hpo.outcome.artifact import Artifact, save
from hpo.registry import find_data, find_model, load_model
from hpo.training.session import Job
from hpo.tune.pool import train

OWN = """
import torch
from hpo import Classifier, Data, Float, Space


class Net(Classifier):
    space = Space(lr=Float(1e-3, 1e-1, log=True, default=3e-2))

    def data(self, seed):
        x = torch.randn(400, 4, generator=torch.Generator().manual_seed(seed))
        y = (x[:, 0] > 0).long() + (x[:, 1] > 0).long()
        parts = [(x[a:b], y[a:b]) for a, b in ((0, 200), (200, 250), (250, 400))]
        return Data("steps", *parts, {"n_classes": 3})

    def build(self, params, data):
        return torch.nn.Sequential(
            torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3)
        )


class Broken(Net):
    def build(self, params, data):
        return torch.nn.Sequential(*super().build(params, data), torch.nn.Flatten(0))
"""
COLOURS = ("red", "green", "blue", "white")
SHAPES = ("square", "dot", "bar")


def saved(
    model: str,
    folder: Path,
    data: str | None = None,
    epochs: int = 1,
    params: dict[str, Any] | None = None,
) -> Path:
    """The folder of a network that was really trained."""
    ref = find_model(model)
    found = load_model(ref)
    reference = find_data(found, data)
    chosen = {**found.space.default(), **(params or {})}
    result = train(Job(ref, chosen, reference, 0, epochs, "retrain"), "")
    assert result.error is None, result.error
    confirmed = [{"trial": 0, "default": True, "searched": 0.5, "values": [0.5], "params": chosen}]
    artifact = Artifact(
        model=ref.name,
        params=chosen,
        data=reference,
        info=result.info,
        metric=found.objective.metric,
        direction=found.objective.direction,
        trial=0,
        n_trials=1,
        searched=0.5,
        confirmed=confirmed,
        test=result.test,
        default_params=chosen,
        default_test=result.test,
        seeds={"search": 0, "retrain": 0},
        study={"name": f"{model.rpartition(':')[2]}-test"},
    )
    return save(artifact, result.product, result.files, folder)


def drawn(colour: str, shape: str, rng: np.random.Generator, side: int = 24) -> Image.Image:
    """A picture of a shape somewhere on black."""
    image = Image.new("RGB", (side, side))
    x, y = (int(v) for v in rng.integers(2, side // 2, 2))
    pen, size = ImageDraw.Draw(image), side // 3
    if shape == "square":
        pen.rectangle((x, y, x + size, y + size), fill=colour)
    elif shape == "dot":
        pen.ellipse((x, y, x + size, y + size), fill=colour)
    else:
        pen.rectangle((2, y, side - 2, y + 3), fill=colour)
    return image


def captioned(folder: Path, n: int = 72) -> str:
    """A folder of pictures with captions, each of its own look."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["image,caption"]
    for k in range(n):
        colour, shape = COLOURS[k % 4], SHAPES[k // 4 % 3]
        drawn(colour, shape, rng).save(folder / f"{k}.png")
        lines.append(f"{k}.png,a {colour} {shape}")
    (folder / "captions.csv").write_text("\n".join(lines))
    return f"captions:{folder}"


def shapes(folder: Path, n: int, seed: int, names: tuple[str, ...] = SHAPES, side: int = 24) -> str:
    """A folder of pictures by shape."""
    rng = np.random.default_rng(seed)
    for name in names:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for k in range(n):
            kind = name if name in SHAPES else "dot"
            drawn("white", kind, rng, side).convert("L").save(folder / name / f"{k}.png")
    return f"imagefolder:{folder}"
