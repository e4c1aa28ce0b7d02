"""A study from Python: to look at, or to ask and tell."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from hpo.errors import HpoError, SpecError
from hpo.model import Objective
from hpo.objectives import declared_objective
from hpo.parameter import default_value
from hpo.search import make_pruner, make_sampler
from hpo.space import Space
from hpo.storage.ledger import Ledger
from hpo.storage.meta import StudyMeta
from hpo.storage.view import StudyView
from hpo.study import name_problem

if TYPE_CHECKING:
    import optuna
    import pandas as pd
    from optuna.trial import FrozenTrial

    from hpo.storage.studies import StudySummary


@dataclass(frozen=True)
class Trial:
    """A completed trial.

    Attributes:
        params: what was searched; parameters fixed by `set` are not among them.
        value: of the first objective.
        values: by metric, of every objective.
    """

    number: int
    params: Mapping[str, Any]
    value: float
    values: Mapping[str, float]


class Asked:
    """A trial that `Study.ask` gave: report its epochs, then tell the study its metrics.

    Attributes:
        number: of the trial.
        params: the active ones.
        should_stop: whether the pruner has said after the last report that the trial cannot win.
    """

    def __init__(self, ledger: Ledger, number: int, params: Mapping[str, Any]) -> None:
        self.number = number
        self.params = dict(params)
        self.should_stop = False
        self._ledger = ledger
        self._step = 0
        self.metrics: dict[str, float] = {}

    def report(self, **metrics: float) -> None:
        """Stores an epoch's metrics; the guiding one is what the pruner looks at.

        Raises:
            TrialError: the guiding metric is missing or no finite number.
        """
        self._step += 1
        self.metrics = {name: float(value) for name, value in metrics.items()}
        value = metrics.get(self._ledger.meta.guide.metric)
        self.should_stop = self._ledger.report(self.number, self._step, value)


class Study:
    """A study in a storage: to look at, or to drive by your own loop of ask and tell.

    >>> import hpo
    >>> space = hpo.Space(x=hpo.Float(0.0, 1.0))
    >>> with hpo.Study("mine", space, "loss") as study:
    ...     for _ in range(10):
    ...         trial = study.ask()
    ...         study.tell(trial, loss=(trial.params["x"] - 0.3) ** 2)
    >>> study.counts
    {'complete': 10}

    While its context lasts this process drives the study, and no other can; trials that were not
    told are failed as interrupted at its end.  An existing study goes on.
    """

    def __init__(
        self,
        name: str,
        space: Space,
        objective: Objective | str = "accuracy",
        *,
        storage: str | None = None,
        sampler: str = "auto",
        pruner: str = "none",
        epochs: int = 1,
        n_trials: int | None = None,
        seed: int = 0,
    ) -> None:
        """
        Args:
            objective: what is told: `loss`, `accuracy`, `utility:maximize`.
            storage: URL or file [default: HPO_STORAGE, else ./hpo.db].
            sampler, pruner: by name, as for `hpo run`.
            epochs: reports of a whole trial.
            n_trials: how many are planned, if that is known: auto chooses the sampler by it.
        Raises:
            SpecError: a name or value is wrong.
        """
        if problem := name_problem(name):
            raise SpecError(f"name: {name!r}: {problem}")
        goal = declared_objective(objective)
        self._url = storage
        self._strategy = sampler, pruner, n_trials
        self._new = StudyMeta(
            model="own loop",
            metric=goal.metric,
            direction=goal.direction,
            space=space,
            data="own",
            epochs=epochs,
            seed=seed,
            settings={"sampler": sampler},
        )
        self._make_sampler(0)
        make_pruner(pruner, epochs=epochs, n_trials=n_trials)
        self._name = name
        self._open: StudyView | None = None
        self._queue: list[dict[str, Any]] = []
        self._stack = ExitStack()

    _driving = False
    """Whether its context lasts."""

    @classmethod
    def of(cls, view: StudyView) -> Study:
        """A study to look at."""
        study = cls.__new__(cls)
        study._open = view
        return study

    def _make_sampler(self, n_done: int) -> Any:
        sampler, _, n_trials = self._strategy
        meta = self._new
        return make_sampler(sampler, meta.space, meta.seed, n_trials=n_trials, n_trials_done=n_done)

    @property
    def _view(self) -> StudyView:
        if self._open is None:
            raise HpoError(
                f"study {self._name!r}: not begun: write `with hpo.Study(...) as study:`"
            )
        return self._open

    @property
    def _ledger(self) -> Ledger:
        view = self._view
        if not self._driving or not isinstance(view, Ledger) or view.lease is None:
            raise HpoError(f"study {view.name!r} is open to look at, not to ask and tell")
        if view.lease.lost:
            raise HpoError(f"study {view.name!r}: this driver stopped: {view.lease.lost}")
        return view

    # Ask and tell

    def __enter__(self) -> Self:
        if not hasattr(self, "_new"):
            raise HpoError(
                f"study {self.name!r} is open to look at: write hpo.Study(name, space, objective)"
            )
        from hpo.storage.creation import ensure_study, not_left_empty
        from hpo.storage.lease import Lease
        from hpo.storage.sql import open_storage, resolve_url

        _, pruner, n_trials = self._strategy
        storage = open_storage(resolve_url(self._url), create=True)
        meta, name = self._new, self._name
        with ExitStack() as stack:
            stack.enter_context(not_left_empty(storage, name))
            study_id = ensure_study(storage, name, meta)
            lease = stack.enter_context(Lease(storage, study_id, name))
            strategy = make_pruner(pruner, epochs=meta.epochs, n_trials=n_trials)
            ledger = Ledger.create_or_open(
                storage, name, meta, self._make_sampler, strategy, lease=lease
            )
            ledger.reconcile()
            stack.callback(ledger.release, "interrupted", "interrupted")
            self._stack = stack.pop_all()
        self._open, self._driving = ledger, True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._driving = False
        self._stack.__exit__(kind, error, trace)

    def enqueue(self, **params: Any) -> None:
        """Gives a configuration that the next `ask` takes before the sampler's; unnamed parameters
        have their defaults.

        Raises:
            SpecError: it is no point of the space.
        """
        space = self._ledger.meta.space
        whole: dict[str, Any] = {}
        for name in space.order:
            if space.is_active(name, whole):
                whole[name] = params.get(name, default_value(space[name]))
        whole |= params  # what is unknown or inactive is refused by its name
        if problems := space.validate(whole):
            raise SpecError(problems)
        self._queue.append(whole)

    def ask(self) -> Asked | None:
        """Begins a trial; None: a grid or a finite space has no point left."""
        ledger = self._ledger
        asked = ledger.ask(self._queue.pop(0) if self._queue else None)
        return None if asked is None else Asked(ledger, asked.number, asked.params)

    def tell(self, trial: Asked, *, failed: str | None = None, **metrics: float) -> None:
        """Ends a trial: with its metrics, those of its last report by default; as pruned, if it
        should stop and no metrics are given; as failed, for a reason.

        Raises:
            SpecError: the objective's metric is missing; the trial goes on.
            HpoError: it has ended before.
        """
        told_with = metrics or trial.metrics
        metric = self._ledger.meta.metric
        if failed is None and metric not in told_with:
            raise SpecError(f"tell: {metric} is missing: write study.tell(trial, {metric}=...)")
        attrs = {"metrics": told_with}
        if failed is not None:
            told = self._ledger.fail(trial.number, failed, None, attrs)
        elif trial.should_stop and not metrics:
            told = self._ledger.prune(trial.number, attrs)
        else:
            told = self._ledger.conclude(trial.number, told_with, attrs)
        if not told:
            raise HpoError(f"trial {trial.number} of study {self.name!r} has ended before")

    # What it has

    @property
    def name(self) -> str:
        """The study's name in its storage."""
        return self._view.name

    @property
    def best(self) -> Trial | None:
        """The best trial by the search; the front's first one of several objectives."""
        if self._view.meta.several:
            return next(iter(self.front), None)
        best = self._view.best()
        return None if best is None else self._trial(best)

    @property
    def front(self) -> list[Trial]:
        """The Pareto front, the trial nearest to the best of each objective first."""
        if not self._view.meta.several:
            return [self.best] if self.best is not None else []
        return [self._trial(trial) for trial in self._view.front()]

    @property
    def counts(self) -> dict[str, int]:
        """Trials by outcome: complete, pruned, failed, ..."""
        return self._view.outcomes()

    @property
    def trials(self) -> pd.DataFrame:
        """Every trial, a row each, in the columns of `optuna.Study.trials_dataframe`."""
        return self.optuna.trials_dataframe()

    @cached_property
    def optuna(self) -> optuna.Study:
        """The study for Optuna's own functions, such as its plots; it refuses to write."""
        import optuna

        from hpo.storage.reading import ReadOnlyStorage

        storage: Any = ReadOnlyStorage(self._view.storage)
        return optuna.load_study(study_name=self.name, storage=storage)

    def _trial(self, trial: FrozenTrial) -> Trial:
        metrics = (objective.metric for objective in self._view.meta.objectives)
        values = dict(zip(metrics, trial.values, strict=True))
        return Trial(trial.number, dict(trial.params), trial.values[0], values)

    def __repr__(self) -> str:
        counts = ", ".join(f"{n} {state}" for state, n in self.counts.items()) or "no trials"
        return f"<{type(self).__name__} {self.name!r}: {counts}; {self._view.meta.goal}>"


def open_study(name: str, storage: str | None = None) -> Study:
    """Opens a study to look at it.

    Args:
        storage: URL or file of its storage [default: HPO_STORAGE, else ./hpo.db].
    Raises:
        SpecError: there is no such study.
        StorageError: there is no such storage.
    """
    from hpo.storage.sql import open_storage, resolve_url

    return Study.of(StudyView.open(open_storage(resolve_url(storage), create=False), name))


def studies(storage: str | None = None) -> list[StudySummary]:
    """Lists the studies of a storage: name, model, objective, trials, best value.

    Raises:
        StorageError: there is no such storage.
    """
    from hpo.storage.sql import open_storage, resolve_url
    from hpo.storage.studies import list_studies

    return list_studies(open_storage(resolve_url(storage), create=False))
