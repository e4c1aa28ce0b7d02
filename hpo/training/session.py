"""One training from its start to its result, whatever kind of model it is.

A worker sees `start`, `step` (one epoch) and `stop`; a class `Model` runs in the shared loop of
`loop.py`, a user's own function in `function.py`, where it waits in `trial.report` between steps.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import math
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from hpo.errors import SpecError, TrialError
from hpo.model import FunctionModel, Metrics, Model, Objective, Split
from hpo.objectives import FIGURES, LATENCY, LATENCY_SD, figures_in
from hpo.registry import ModelRef, load_data, load_model
from hpo.training import checkpoint
from hpo.training.files import TrialFiles

if TYPE_CHECKING:
    from hpo.training.loop import TrainSettings

SPLIT_SEED = 0
"""Splits depend on the data set alone, so that studies with other seeds stay comparable."""


@dataclass(frozen=True)
class Job:
    """What a worker needs to train once: plain data, no live objects.

    Attributes:
        params: all parameters, searched and fixed.
        purpose: `search` and `confirm` see training and validation data; `retrain` trains on
            both and is tested once.
        settings: precision, accumulate, grad_clip, patience.
        checkpoint: folder to go on from, and to leave checkpoints in; None: neither.
        checkpoint_s: seconds between two checkpoints, at least.
        checkpoint_at: epochs after which one is left in any case: the trial may be paused there.
        workers: that train it together.
        guide: what its epochs are compared by, instead of the model's own objective.
        wanted: metrics that its end has to give, those that the service takes included.
        stop_after: epochs after which a plain job leaves it as it is; None: at its end.
        number: of the trial that this is, or whose configuration is trained again; None: none.
        files: its log and its folder; None: it prints where this process does.
    """

    ref: ModelRef
    params: Mapping[str, Any]
    data: str
    seed: int
    epochs: int
    purpose: str = "search"
    settings: Mapping[str, Any] = field(default_factory=dict)
    checkpoint: str | None = None
    checkpoint_s: float = 30.0
    checkpoint_at: tuple[int, ...] = ()
    workers: int = 1
    guide: Objective | None = None
    wanted: tuple[str, ...] = ()
    stop_after: int | None = None
    number: int | None = None
    files: TrialFiles | None = None


@dataclass(frozen=True)
class Step:
    """One epoch's outcome.  `metrics` may be empty on the last step of a function."""

    metrics: Metrics
    finished: bool


class Session(Protocol):
    """A training under way."""

    history: list[Metrics]
    """Metrics of the epochs done, those before a restored checkpoint included."""
    data_digest: str | None
    """Of the training and validation rows; None: the model brings data that is not seen."""

    @property
    def best_epoch(self) -> int:
        """Epoch of the best value, from 0."""

    def step(self) -> Step:
        """Trains one epoch.  Raises TrialError when the trial cannot go on."""

    def stop(self) -> bool:
        """Ends early and frees what is held; False: what runs does not heed it."""

    def best(self) -> Metrics:
        """The metrics of the best epoch, by the model's objective, and `figures`."""

    def figures(self) -> Metrics:
        """What was wanted of the trained network itself: parameters, size, latency."""

    def test(self) -> Metrics:
        """Metrics on the test split; only after retraining."""

    def network(self) -> Any:
        """The trained `nn.Module`, or None if the model gives none."""

    def product(self) -> Any:
        """What is to be saved: the network, or what else a function returned."""

    def files(self) -> dict[str, bytes]:
        """Pictures and texts to save with the network: file name -> content."""

    def data_info(self) -> dict[str, Any]:
        """What `Model.build` was told of the data, and the splits' sizes."""


def pick_device() -> str:
    """The device this process may use: a trial's GPU if it was given one, else the CPU."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "cpu"


@functools.cache
def machine(device: str) -> str:
    """What computes here: numbers may differ in their last bits on another one."""
    import torch

    if device == "cuda":
        return torch.cuda.get_device_name()
    return f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, {_processor()}"


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return " ".join(line.partition(":")[2].split())
    return platform.processor() or "unknown"


def load(job: Job) -> Model:
    """Loads model code and data into this process, where they stay; a model for one training.

    Raises:
        SpecError: they cannot be loaded here.
    """
    from hpo.training.seeds import seed_all

    model = load_model(job.ref)
    if not isinstance(model, FunctionModel):
        # Data that draws from a global generator is the same in every worker.
        seed_all(SPLIT_SEED)
        load_data(model, job.data, SPLIT_SEED)
    return model


def start(job: Job, device: str | None = None, model: Model | None = None) -> Session:
    """Begins a training in this process; data and model code are loaded once per process.

    Args:
        model: from `load`; None: it is loaded here.

    Raises:
        SpecError: the model or its data cannot be loaded here.
        TrialError: the network cannot be built with these parameters.
    """
    model = model or load_model(job.ref)
    if job.guide is not None and job.guide != model.objective:
        model = copy.copy(model)
        model.objective = job.guide  # type: ignore[misc]
    device = device or pick_device()
    if isinstance(model, FunctionModel):
        from hpo.training.function import FunctionSession

        return FunctionSession(model, job, device)
    return ModelSession(model, job, device)


class ModelSession:
    """A class `Model` in the shared training loop."""

    def __init__(self, model: Model, job: Job, device: str) -> None:
        from hpo.training.figures import sizes_of
        from hpo.training.loop import Training, TrainSettings
        from hpo.training.seeds import seed_all

        # Data that draws from a global generator is the same in every worker.
        seed_all(SPLIT_SEED)
        data = load_data(model, job.data, SPLIT_SEED)
        if data is None:
            raise SpecError(
                f"data: {job.ref.name!r} names no datasets and its data() gives none: use --data"
            )
        self.data_digest: str | None = data.digest
        self.test_split = data.test if job.purpose == "retrain" else None
        data = data.for_retraining() if job.purpose == "retrain" else data.for_search()
        settings = TrainSettings(epochs=job.epochs, seed=job.seed, device=device, **job.settings)
        self.data = data
        self.n_test = _n_rows(self.test_split)
        self.training = Training(model, dict(job.params), data, settings)
        self.history: list[Metrics] = []
        self._wanted = job.wanted
        sizes = sizes_of(self.training.net) if figures_in(job.wanted) else {}
        self._sizes = {name: value for name, value in sizes.items() if name in job.wanted}
        self._searches = job.purpose != "retrain"
        self._figures: Metrics | None = None
        self._repeats: Metrics = {}
        self._folder = Path(job.checkpoint) if job.checkpoint else None
        self._pause_s = job.checkpoint_s
        self._always_at = job.checkpoint_at
        self._identity = repr((sorted(job.params.items()), job.seed, job.epochs, job.data))
        self._saved = time.monotonic()
        if self._folder is not None and (state := checkpoint.load(self._folder)) is not None:
            self._restore(model, dict(job.params), settings, state)

    def _restore(
        self, model: Model, params: dict[str, Any], settings: TrainSettings, state: dict[str, Any]
    ) -> None:
        from hpo.training.loop import Training

        if state.get("identity") != self._identity:
            return
        try:
            self.training.load_state(state["training"])
        except Exception:  # of another version of the model: half restored is worse than afresh
            self.training = Training(model, params, self.data, settings)
        else:
            self.history = list(state["history"])

    def step(self) -> Step:
        metrics = {**self._sizes, **self.training.run_epoch()}
        self._check(metrics)
        self.history.append(metrics)
        waited = time.monotonic() - self._saved >= self._pause_s
        due = waited or len(self.history) in self._always_at
        if self._folder is not None and due and self._leads and not self.training.finished:
            state = {
                "identity": self._identity,
                "history": self.history,
                "training": self.training.state(),
            }
            checkpoint.save(self._folder, len(self.history), state)
            self._saved = time.monotonic()
        return Step(metrics, self.training.finished)

    def _check(self, metrics: Metrics) -> None:
        """Raises TrialError if a wanted metric is none that the model reports at every epoch."""
        missing = [n for n in self._wanted if n not in metrics and n not in FIGURES]
        if missing and self._searches:
            raise TrialError(f"no metric {missing[0]!r} among: {', '.join(metrics)}")

    @property
    def _leads(self) -> bool:
        return self.training.ranks.rank == 0

    def stop(self) -> bool:
        return True

    @property
    def best_epoch(self) -> int:
        return self.training.best_epoch

    def best(self) -> Metrics:
        return {**self.figures(), **self._repeats, **self.history[self.training.best_epoch]}

    def figures(self) -> Metrics:
        if self._figures is None:
            self._figures = dict(self._sizes)
            if LATENCY in self._wanted:
                measured = self.training.latency()
                self._figures[LATENCY] = measured.ms
                if math.isfinite(measured.sd):
                    self._repeats = {LATENCY_SD: measured.sd}
        return self._figures

    def test(self) -> Metrics:
        return self.training.evaluate(self.test_split) if self.test_split is not None else {}

    def network(self) -> Any:
        return self.training.net

    def product(self) -> Any:
        return self.network()

    def files(self) -> dict[str, bytes]:
        return self.training.show(self.test_split) if self.test_split is not None else {}

    def data_info(self) -> dict[str, Any]:
        return {**self.data.info, "n_train": _n_rows(self.data.train), "n_test": self.n_test}


def _n_rows(split: Split | None) -> int:
    return len(split[0]) if split else 0
