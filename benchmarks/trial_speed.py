"""How fast a trial trains: `hpo`'s loop beside a bare PyTorch loop of the same network.

    python benchmarks/trial_speed.py [--models cnn,rnn,vae,cross-lingual,captioner] [--rounds 7]
    python benchmarks/trial_speed.py --ways [--models cnn] [--rounds 3]

Both train a zoo model's default configuration on its default data with one thread, from the start
of the trial to its end: network and optimizer made, all epochs, evaluation after each.  They take
turns in one process, after an epoch each to warm up, and the ratio is taken within a round.
Seconds are the process's CPU seconds, a compiler's that it starts included: one thread that waits
for nothing, on a machine that may be busy.

The bare loop is what one writes by hand, at its best: rows by tensor index, the model's own
augmentation and loss, torch's optimizer and schedule, images in the same memory layout.  It
measures a classifier's accuracy and nothing else, and keeps no best weights.  It comes with torch's
default form of the optimizer, and with its fused one, which is what `hpo` takes.

`--ways` compares ways of training in `hpo`'s loop: the layout of images, bf16, and a network that
torch.compile has compiled, which begins afresh for each trial but finds its kernels on the disk
from the second one on; an epoch more is the difference of two trials' seconds.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import torch
from torch import nn
from torch.optim import lr_scheduler

from hpo.model import Classifier, Data, Model, Split
from hpo.registry import ModelRef, find_data, find_model, load_data, load_model
from hpo.training.session import SPLIT_SEED, Job, start

MODELS = ("cnn", "rnn", "vae", "cross-lingual", "captioner")
EVALUATED_AT_ONCE = 512


@dataclass(frozen=True)
class Task:
    """What both loops train."""

    ref: ModelRef
    model: Model
    data_name: str
    data: Data
    params: dict[str, Any]

    @classmethod
    def of(cls, name: str) -> Task:
        ref = find_model(name)
        model = load_model(ref)
        data_name = find_data(model, None)
        data = load_data(model, data_name, SPLIT_SEED)
        assert data is not None
        return cls(ref, model, data_name, data.for_search(), model.space.default())


def by_hpo(task: Task, epochs: int, **settings: Any) -> float:
    """A trial as a worker runs it; its last value."""
    job = Job(task.ref, task.params, task.data_name, seed=0, epochs=epochs, settings=settings)
    session = start(job, "cpu")
    while not session.step().finished:
        pass
    return session.best()[task.model.objective.metric]


def by_hand(task: Task, epochs: int, fused: bool = False) -> float:
    """The same without this service; its best value."""
    model, params, (train, val) = task.model, task.params, (task.data.train, task.data.val)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    net = model.build(params, task.data)
    if train[0].dim() == 4:
        net = net.to(memory_format=torch.channels_last)
    size = params["batch_size"]
    n_batches = len(train[0]) // size
    assert params.get("optimizer", "adamw") == "adamw" and not params.get("ema")
    optimizer = torch.optim.AdamW(
        net.parameters(), lr=params["lr"], weight_decay=params["weight_decay"], fused=fused
    )
    schedule: lr_scheduler.LRScheduler
    if params["schedule"] == "onecycle":
        schedule = lr_scheduler.OneCycleLR(optimizer, params["lr"], epochs * n_batches)
    else:
        schedule = lr_scheduler.CosineAnnealingLR(optimizer, epochs * n_batches)
    generator = torch.Generator().manual_seed(0)
    best = float("-inf")
    for epoch in range(epochs):
        model.begin_epoch(net, epoch / epochs, params)
        net.train()
        order = torch.randperm(len(train[0]), generator=generator)[: n_batches * size]
        for rows in order.split(size):
            batch = model.prepare(tuple(column[rows] for column in train), params, generator)
            loss = model.loss(net, _layout(batch), params)
            optimizer.zero_grad()
            loss.backward()
            if "grad_clip" in params:
                nn.utils.clip_grad_norm_(net.parameters(), params["grad_clip"])
            optimizer.step()
            schedule.step()
        net.eval()
        with torch.no_grad():
            best = max(best, _value(model, net, val, params))
    return best


def _layout(batch: Split) -> Split:
    if batch[0].dim() != 4:
        return batch
    return batch[0].contiguous(memory_format=torch.channels_last), *batch[1:]


def _value(model: Model, net: nn.Module, val: Split, params: dict[str, Any]) -> float:
    def batches() -> Iterator[Split]:
        for at in range(0, len(val[0]), EVALUATED_AT_ONCE):
            yield _layout(tuple(column[at : at + EVALUATED_AT_ONCE] for column in val))

    if isinstance(model, Classifier):
        right = sum(int((net(batch[0]).argmax(1) == batch[1]).sum()) for batch in batches())
        return right / len(val[0])
    return model.evaluate(net, batches(), params)[model.objective.metric]


def _seconds(train: Callable[..., float], *arguments: Any, **settings: Any) -> float:
    began = _cpu_seconds()
    train(*arguments, **settings)
    return _cpu_seconds() - began


def _cpu_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def beside_bare(args: argparse.Namespace) -> None:
    """Prints the table of both loops' speed."""
    print(
        "| model | rows a second: bare loop | bare, fused optimizer | hpo "
        "| hpo beside the bare loop, median [all rounds] | beside the fused one |"
    )
    print("|---|---|---|---|---|---|")
    loops: tuple[Callable[[Task, int], float], ...]
    loops = (by_hand, functools.partial(by_hand, fused=True), by_hpo)
    for name in args.models:
        task = Task.of(name)
        for loop in loops:
            loop(task, 1)
        taken: list[list[float]] = [[] for _ in loops]
        for round_ in range(args.rounds):
            for k in (0, 1, 2) if round_ % 2 else (2, 1, 0):  # neither always comes first
                taken[k].append(_seconds(loops[k], task, args.epochs))
        n_rows = len(task.data.train[0]) * args.epochs
        speeds = " | ".join(f"{n_rows / statistics.median(seconds):,.0f}" for seconds in taken)
        beside = " | ".join(_ratio(bare, taken[2]) for bare in taken[:2])
        print(f"| {name} | {speeds} | {beside} |", flush=True)


def _ratio(bare: list[float], ours: list[float]) -> str:
    ratios = sorted(a / b for a, b in zip(bare, ours, strict=True))
    return f"{statistics.median(ratios):.3f} [{ratios[0]:.3f}, {ratios[-1]:.3f}]"


def compare_ways(args: argparse.Namespace) -> None:
    """Prints what layouts, bf16 and compiling make of a trial and of an epoch of it."""
    print("| model | way | a trial's first epoch, CPU s | an epoch more |")
    print("|---|---|---|---|")
    more = args.epochs
    for name in args.models:
        task = Task.of(name)
        by_hpo(task, 1)
        for way, settings in WAYS.items():
            firsts, others = [], []
            for _ in range(args.rounds):
                with _compiling(task.model, way == "compiled"):
                    first = _seconds(by_hpo, task, 1, **settings)
                with _compiling(task.model, way == "compiled"):
                    whole = _seconds(by_hpo, task, 1 + more, **settings)
                firsts.append(first)
                others.append((whole - first) / more)
            # The first round's compiling is the one that finds nothing on the disk.
            shown = f"{statistics.median(firsts[1:] or firsts):.2f}"
            if way == "compiled":
                shown += f" (nothing on the disk: {firsts[0]:.1f})"
            print(
                f"| {name} | {way} | {shown} | {statistics.median(others[1:] or others):.3f} |",
                flush=True,
            )


WAYS: dict[str, dict[str, Any]] = {
    "channels_last (as hpo trains)": {},
    "contiguous": {"channels_last": False},
    "bf16": {"precision": "bf16"},
    "compiled": {},
}


@contextlib.contextmanager
def _compiling(model: Model, compiled: bool) -> Iterator[None]:
    kind: Any = type(model)  # a session makes an instance of its own
    build = kind.build

    def built(self: Model, params: Any, data: Data) -> nn.Module:
        net: nn.Module = build(self, params, data)
        net.compile()
        return net

    torch._dynamo.reset()
    if compiled:
        kind.build = built
    try:
        yield
    finally:
        kind.build = build


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=lambda text: text.split(","), default=list(MODELS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--ways", action="store_true", help="layouts, bf16 and the compiler")
    args = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    print(
        f"{platform.python_version()}, torch {torch.__version__}, {cores} cores, one thread, "
        f"{args.epochs} epochs, {args.rounds} rounds\n"
    )
    with tempfile.TemporaryDirectory() as kernels:
        os.environ |= {"TORCHINDUCTOR_CACHE_DIR": kernels, "TORCHINDUCTOR_COMPILE_THREADS": "1"}
        (compare_ways if args.ways else beside_bare)(args)


if __name__ == "__main__":
    main()
