"""Learning curves of 1,920 configurations of a small network on digits: a table to search in.

    nice -n 19 python benchmarks/curves.py make         # trains what is missing, resumably
    python benchmarks/curves.py show                    # what is in it

Each configuration of LATTICE is trained for 27 epochs in the zoo's own loop, each from another
seed; its validation accuracy and loss are kept for each epoch, and the test accuracy of its best
epoch, which no search looks at.  Some start slowly and end well: a low learning rate, a
long warm-up, shifted images, dropout.  `benchmarks/early_stopping.py` searches in the table.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

EPOCHS = 27
LATTICE: dict[str, tuple[Any, ...]] = {
    "optimizer": ("sgd", "adamw"),
    "lr": tuple(round(10 ** (-3.5 + k / 3), 6) for k in range(10)),  # 3e-4 ... 0.3
    "schedule": ("constant", "cosine", "long_warmup", "onecycle"),
    "augment": ("none", "shift"),
    "width": (16, 48, 144),
    "dropout": (0.0, 0.3),
    "batch_size": (64, 256),
}
FILE = Path(__file__).parent / "curves" / "digits.npz"
PARTS = FILE.parent / ".parts"
CHUNK = 32
"""Configurations trained between two writes."""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Curves:
    """The table.

    Attributes:
        accuracy: on the validation split, [N, EPOCHS]; NaN from the epoch that diverged on.
        loss: cross-entropy on the validation split, [N, EPOCHS]; as above.
        test: accuracy on the test split of the best epoch's network, [N]; NaN if it diverged.
    """

    accuracy: Floats
    loss: Floats
    test: Floats


def configurations() -> list[dict[str, Any]]:
    """All N points of the lattice, in the table's order."""
    return [
        dict(zip(LATTICE, point, strict=True)) for point in itertools.product(*LATTICE.values())
    ]


def index_of(params: dict[str, Any]) -> int:
    """The row of a configuration."""
    shape = [len(values) for values in LATTICE.values()]
    at = [values.index(params[name]) for name, values in LATTICE.items()]
    return int(np.ravel_multi_index(at, shape))


def load() -> Curves:
    """The table as shipped."""
    with np.load(FILE) as file:
        accuracy, loss, test = (
            file[name].astype("float32") for name in ("accuracy", "loss", "test")
        )
    accuracy[accuracy == 65535], test[test == 65535] = np.nan, np.nan
    return Curves(accuracy / 500, loss, test / 1000)


def train(index: int) -> tuple[list[float], list[float], float]:
    """Accuracies and losses by epoch, up to the last finite one, and the test accuracy."""
    import torch
    from hpo_models.cnn import Normalize
    from hpo_models.datasets.digits import load as load_digits
    from torch import nn
    from torch.nn import functional

    from hpo.errors import TrialError
    from hpo.model import Classifier
    from hpo.training.loop import Training, TrainSettings

    class Perceptron(Classifier):
        """Two hidden layers."""

        def build(self, params: Any, data: Any) -> nn.Module:
            width = params["width"]
            return nn.Sequential(
                Normalize(data.info["mean"], data.info["std"]),
                nn.Flatten(),
                nn.Linear(14 * 14, width),
                nn.ReLU(),
                nn.Dropout(params["dropout"]),
                nn.Linear(width, width),
                nn.ReLU(),
                nn.Linear(width, 10),
            )

        def prepare(self, batch: Any, params: Any, generator: torch.Generator) -> Any:
            if params["augment"] == "none":
                return batch
            dy, dx = torch.randint(-1, 2, (2,), generator=generator).tolist()
            return torch.roll(batch[0], (dy, dx), (2, 3)), batch[1]

        def evaluate(self, net: nn.Module, batches: Any, params: Any) -> dict[str, float]:
            right = loss = n = 0.0
            for inputs, targets in batches:
                logits = net(inputs)
                right += float((logits.argmax(1) == targets).sum())
                loss += float(functional.cross_entropy(logits, targets, reduction="sum"))
                n += len(targets)
            return {"accuracy": right / n, "loss": loss / n}

    params = configurations()[index]
    if params["schedule"] == "long_warmup":
        params |= {"schedule": "cosine", "warmup": 0.6}
    if not _data:  # at half the resolution, which trains twice as fast
        digits = load_digits("", 0)
        halves = {
            part: (functional.avg_pool2d(split[0], 2), split[1])
            for part in ("train", "val", "test")
            if (split := getattr(digits, part))
        }
        _data.append(replace(digits, **halves))
    data = _data[0]
    settings = TrainSettings(epochs=EPOCHS, seed=index, channels_last=False)
    training = Training(Perceptron(), params, data.for_search(), settings)
    accuracies: list[float] = []
    losses: list[float] = []
    try:
        while not training.finished:
            metrics = training.run_epoch()
            accuracies.append(metrics["accuracy"])
            losses.append(metrics["loss"])
    except TrialError:  # diverged
        return accuracies, losses, float("nan")
    return accuracies, losses, training.evaluate(data.test)["accuracy"]


_data: list[Any] = []
"""This process's data set."""


def _train_chunk(indices: Iterable[int]) -> Path:
    rows = [(index, *train(index)) for index in indices]
    path = PARTS / f"{rows[0][0]:05d}.npz"
    accuracy = np.full((len(rows), EPOCHS), 65535, "uint16")  # of 500, test of 1,000 digits
    loss = np.full((len(rows), EPOCHS), np.nan, "float16")
    test = np.full(len(rows), 65535, "uint16")
    for k, (_, accuracies, losses, tested) in enumerate(rows):
        accuracy[k, : len(accuracies)] = np.rint(np.array(accuracies) * 500)
        loss[k, : len(losses)] = np.minimum(losses, 6e4)
        test[k] = 65535 if np.isnan(tested) else round(tested * 1000)
    draft = path.with_suffix(".draft.npz")
    np.savez(draft, index=[row[0] for row in rows], accuracy=accuracy, loss=loss, test=test)
    draft.replace(path)
    return path


def make(n_workers: int) -> None:
    """Trains what no part holds, then joins the parts."""
    n = len(configurations())
    # Chunks of the shuffled lattice, so that all take about as long.
    chunks = np.random.default_rng(0).permutation(n).reshape(-1, CHUNK).tolist()
    PARTS.mkdir(parents=True, exist_ok=True)
    due = [chunk for chunk in chunks if not (PARTS / f"{chunk[0]:05d}.npz").exists()]
    started = time.monotonic()
    context = multiprocessing.get_context("spawn")
    with context.Pool(n_workers) as pool:
        for done, _ in enumerate(pool.imap_unordered(_train_chunk, due), start=1):
            seconds = time.monotonic() - started
            left = seconds / done * (len(due) - done)
            print(f"{done}/{len(due)} chunks, {seconds:.0f} s, about {left:.0f} s left", flush=True)
    parts = [np.load(PARTS / f"{chunk[0]:05d}.npz") for chunk in chunks]
    order = np.argsort(np.concatenate([part["index"] for part in parts]))
    joined = {
        name: np.concatenate([part[name] for part in parts])[order]
        for name in ("accuracy", "loss", "test")
    }
    np.savez_compressed(FILE, **joined)
    print(f"{FILE}: {FILE.stat().st_size / 1e6:.2f} MB")


def show() -> None:
    """What is in the table."""
    curves = load()
    final = np.nan_to_num(np.fmax.reduce(curves.accuracy, axis=1))
    order = np.argsort(-final)
    top = order[: len(order) // 100]
    ranks = np.argsort(np.argsort(-np.nan_to_num(curves.accuracy), axis=0), axis=0) / len(order)
    diverged = np.isnan(curves.accuracy).any(axis=1).sum()
    print(f"{len(final)} configurations x {EPOCHS} epochs; {diverged} diverged")
    print(
        "best accuracy, quantiles 0 .1 .25 .5 .75 .9 1:",
        np.quantile(final, [0, 0.1, 0.25, 0.5, 0.75, 0.9, 1]),
    )
    for epoch in (1, 2, 3, 4, 6, 9, 13, 18):
        column = np.nan_to_num(curves.accuracy[:, epoch - 1])
        order_of = np.corrcoef(np.argsort(np.argsort(column)), np.argsort(np.argsort(final)))[0, 1]
        late = (ranks[top, epoch - 1] > 1 / 3).mean()
        print(
            f"epoch {epoch:2d}: rank correlation with the end {order_of:.2f}; "
            f"of the best hundredth {late:.0%} are not in the best third"
        )
    for index in top[:10]:
        print(f"{final[index]:.3f} test {curves.test[index]:.3f}", configurations()[index])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("command", choices=["make", "show"])
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    make(arguments.workers) if arguments.command == "make" else show()
