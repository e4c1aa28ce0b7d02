"""The ledger of a study: the only writer of trials.

ask -> report ... report -> complete | prune | fail, each trial exactly once; on the way it may be
paused and promoted.  It knows neither Ray nor torch, so that other executors can drive it.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from hpo.errors import SpecError, TrialError
from hpo.space_change import changes
from hpo.storage.attempts import (
    KIND,
    ORIGIN,
    PAUSED,
    REASON,
    Attempt,
    FailKind,
    due,
    origin_of,
)
from hpo.storage.lock import engine_of, exclusive
from hpo.storage.meta import META, StudyMeta, meta_of
from hpo.storage.retry import Patience
from hpo.storage.view import StudyView

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

    from hpo.storage.lease import Lease

__all__ = ["Asked", "Ledger", "StudyMeta", "ensure_study"]


@dataclass(frozen=True)
class Asked:
    """A trial to run.

    Attributes:
        params: the active ones.
        proposed_s: seconds that it took to propose them and to write them down.
    """

    number: int
    params: dict[str, Any]
    proposed_s: float = 0.0


class Ledger(StudyView):
    """A study and its rows.  Use `create_or_open` to write, `open` to look."""

    def __init__(
        self,
        study: Study,
        storage: BaseStorage,
        meta: StudyMeta,
        *,
        lease: Lease | None = None,
        patience: Patience | None = None,
    ) -> None:
        super().__init__(study, storage, meta, patience=patience)
        self.lease = lease
        self._running: dict[int, Trial] = {}  # the paused ones too
        self._paused: set[int] = set()
        self._n_asked = 0

    @classmethod
    def create_or_open(
        cls,
        storage: BaseStorage,
        name: str,
        meta: StudyMeta,
        sampler_factory: Callable[[int], BaseSampler],
        pruner: BasePruner,
        *,
        lease: Lease | None = None,
        patience: Patience | None = None,
    ) -> Ledger:
        """Creates the study, or opens it after checking that it is the same.

        Args:
            sampler_factory: given the number of trials there are, makes the sampler.
            lease: held on this study; None for tests and tools that are alone.
        Raises:
            SpecError: it exists with another direction, model, data, epochs, or a space that
                would make its history meaningless; every difference is listed.
        """
        import optuna

        patience = patience or Patience()
        ensure_study(storage, name, meta, patience)
        study = patience(lambda: optuna.load_study(study_name=name, storage=storage))
        problems = meta.problems_from(meta_of(study), name)
        if problems:
            raise SpecError(problems)
        if changes(meta_of(study).space, meta.space)[1]:
            from hpo.storage.widen import widen

            storage = patience(lambda: widen(storage, study._study_id, meta))
        elif meta_of(study) != meta:
            patience(lambda: study.set_user_attr(META, meta.to_json()))
        n_done = len(patience(lambda: study.get_trials(deepcopy=False)))
        sampler = sampler_factory(n_done)
        study = patience(
            lambda: optuna.load_study(
                study_name=name, storage=storage, sampler=sampler, pruner=pruner
            )
        )
        return cls(study, storage, meta, lease=lease, patience=patience)

    # A trial's life

    def ask(
        self,
        params: Mapping[str, Any] | None = None,
        origin: Mapping[str, Any] | None = None,
        *,
        attempt: Attempt | None = None,
    ) -> Asked | None:
        """Opens a trial: a RUNNING row with its parameters.

        Args:
            params: that very configuration, instead of the sampler's proposal.
            origin: facts to store with it: seed, versions, ...
            attempt: try this one again, instead of the sampler's proposal.
        Returns:
            The trial, or None if the space is exhausted, or another driver has tried again
            what was to be.
        Raises:
            SpecError: `params` is no point of the space.
        """
        if params is not None and (problems := self.meta.space.validate(params)):
            raise SpecError(problems)
        started = time.perf_counter()
        with self._one_at_a_time():
            if attempt is not None:
                if any(origin_of(t).get("retry_of") == attempt.of for t in self.trials()):
                    return None  # by another driver, meanwhile
                params = attempt.params
                origin = {**(origin or {}), "attempt": attempt.number, "retry_of": attempt.of}
            elif params is not None and self._shared and self._tried(params):
                params = None
            exhausted = getattr(self.study.sampler, "exhausted", None)
            if params is None and exhausted and self.patience(lambda: exhausted(self.study)):
                return None
            trial = self._open(params, origin or {})
            active = self.patience(lambda: self.meta.space.suggest(trial))
        self._running[trial.number] = trial
        return Asked(trial.number, active, time.perf_counter() - started)

    def _open(self, params: Mapping[str, Any] | None, origin: Mapping[str, Any]) -> Trial:
        """A RUNNING row that says at once whose it is, once even if the first answer got lost."""
        from datetime import datetime

        from optuna.trial import FrozenTrial, Trial, TrialState

        self._n_asked += 1
        run = self.lease.run if self.lease else ""
        mark = {**origin, "driver": run, "ask": self._n_asked}
        distributions = self.meta.space.distributions()
        template = FrozenTrial(
            number=-1,
            trial_id=-1,
            state=TrialState.RUNNING,
            value=None,
            datetime_start=datetime.now(),
            datetime_complete=None,
            params=dict(params or {}),
            distributions={name: distributions[name] for name in params or {}},
            user_attrs={ORIGIN: _finite(mark)},
            system_attrs={},
            intermediate_values={},
        )
        study_id = self.study._study_id
        asked_before = False

        def create() -> int:
            nonlocal asked_before
            if asked_before:
                for trial in self.storage.get_all_trials(study_id, deepcopy=False):
                    known = origin_of(trial)
                    if (known.get("driver"), known.get("ask")) == (run, self._n_asked):
                        return trial._trial_id
            asked_before = True
            return self.storage.create_new_trial(study_id, template)

        trial_id = self.patience(create)
        return self.patience(lambda: Trial(self.study, trial_id))

    @contextmanager
    def _one_at_a_time(self) -> Iterator[None]:
        """Drivers that share a study propose in turn, so that none proposes what another does."""
        with ExitStack() as stack:
            if self._shared:
                name = f"proposals of study {self.study._study_id}"
                engine = engine_of(self.storage)
                self.patience(lambda: stack.enter_context(exclusive(engine, name)))
            yield

    @property
    def _shared(self) -> bool:
        return self.lease is not None and self.lease.me.shared

    def _tried(self, params: Mapping[str, Any]) -> bool:
        key = self.meta.space.key
        return any(key(trial.params) == key(params) for trial in self.trials())

    def report(self, number: int, step: int, value: Any, *, prune: bool = True) -> bool:
        """Stores an epoch's value.

        Args:
            step: epochs done, from 1.
            prune: ask the pruner.
        Returns:
            Whether the trial is to stop: the pruner says so, or it has ended already.
        Raises:
            TrialError: the value is missing, NaN, infinite or no number.
        """
        from optuna.exceptions import UpdateFinishedTrialError

        problem = self._value_problem(value)
        if problem:
            raise TrialError(f"{problem} in epoch {step}")
        trial = self._running.get(number)
        if trial is None:
            return True
        try:
            self.patience(lambda: trial.report(float(value), step))
        except UpdateFinishedTrialError:
            return True
        return prune and bool(self.patience(trial.should_prune))

    def _value_problem(self, value: Any) -> str | None:
        metric = self.meta.metric
        if value is None:
            return f"no metric {metric!r}"
        try:
            number = None if isinstance(value, str | bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            number = None
        if number is None:
            return f"{metric} is {str(value)[:60]!r}, not a number"
        return None if math.isfinite(number) else f"diverged: {metric} is {number}"

    def complete(self, number: int, value: Any, attrs: Mapping[str, Any] | None = None) -> bool:
        """Ends a trial with its value; FAIL if that is no finite number.

        Returns:
            False if the trial had ended before: nothing is counted twice.
        """
        problem = self._value_problem(value)
        if problem:
            return self.fail(number, problem, None, attrs)
        return self._end(number, "COMPLETE", float(value), attrs)

    def prune(self, number: int, attrs: Mapping[str, Any] | None = None) -> bool:
        """Ends a trial as PRUNED, with its last value."""
        return self._end(number, "PRUNED", None, attrs)

    @property
    def rungs(self) -> tuple[int, ...]:
        """Epochs after which the pruner's word means a pause, if the trial can go on later."""
        return tuple(getattr(self.study.pruner, "rungs", ()))

    def pause(self, number: int, epoch: int, attrs: Mapping[str, Any]) -> None:
        """Leaves a trial that the pruner has stopped waiting; its row stays RUNNING.

        Args:
            attrs: what it is to have should nothing more come of it.
        """
        trial = self._running[number]
        for key, item in {**attrs, PAUSED: epoch}.items():
            self.patience(partial(trial.set_user_attr, key, _finite(item)))
        self._paused.add(number)

    def promote(self) -> int | None:
        """The paused trial that is to go on now, which is under way again; None: none is."""
        if not self._paused:
            return None
        pruner: Any = self.study.pruner
        number: int | None = pruner.promotable(self.study, self.trials(), self._paused)
        if number is not None:
            self._paused.remove(number)
            self.patience(partial(self._running[number].set_user_attr, PAUSED, None))
        return number

    def hopeless(self, n_to_come: int) -> list[int]:
        """Paused trials that will not be promoted if so many more are opened."""
        if not self._paused:
            return []
        pruner: Any = self.study.pruner
        found = pruner.hopeless(self.study, self.trials(), self._paused, n_to_come)
        return [int(number) for number in found]

    def fail(
        self,
        number: int,
        reason: str,
        traceback: str | None = None,
        attrs: Mapping[str, Any] | None = None,
        *,
        kind: FailKind = "error",
    ) -> bool:
        """Ends a trial as FAIL with a one-line reason."""
        why: dict[str, Any] = {REASON: " ".join(reason.split())[:500], KIND: kind}
        if traceback:
            why["traceback"] = traceback[-8000:]
        return self._end(number, "FAIL", None, {**why, **(attrs or {})})

    def _end(
        self, number: int, state: str, value: float | None, attrs: Mapping[str, Any] | None
    ) -> bool:
        from optuna.exceptions import UpdateFinishedTrialError
        from optuna.trial import TrialState

        trial = self._running.pop(number, None)
        self._paused.discard(number)
        if trial is None or self.patience(lambda: self.trial(number)).state.is_finished():
            return False
        try:
            for key, item in (attrs or {}).items():
                self.patience(partial(trial.set_user_attr, key, _finite(item)))
        except UpdateFinishedTrialError:  # another process has ended it meanwhile
            return False
        self.patience(
            lambda: self.study.tell(trial, value, state=TrialState[state], skip_if_finished=True)
        )
        return True

    def reconcile(self, kind: FailKind = "lost", reason: str = "lost: its driver died") -> int:
        """Ends as FAIL every RUNNING row that no live driver answers for, this one's included
        unless it is under way here.  Those that were paused end as PRUNED.

        Returns:
            How many there were.
        """
        orphans = [
            trial
            for trial in self.trials()  # before asking who lives: a driver signs on, then asks
            if trial.state.name == "RUNNING" and trial.number not in self._running
        ]
        if not orphans:
            return 0
        mine = {self.lease.run} if self.lease else set()
        live = self.patience(self.lease.live) - mine if self.lease else set()
        return sum(
            self._end_row(trial, kind, reason)
            for trial in orphans
            if origin_of(trial).get("driver") not in live
        )

    def release(self, kind: FailKind, reason: str) -> int:
        """Ends as FAIL what is still under way here, and as PRUNED what is paused.

        Returns:
            How many there were.
        """
        for number in list(self._paused):
            self.prune(number)
        return sum(self.fail(number, reason, kind=kind) for number in list(self._running))

    def abandon(self) -> None:
        """Ends what is under way here as lost and signs off: the process is about to end."""
        self.patience.hurry(5)
        self.release("lost", "lost: its driver gave up")
        if self.lease is not None:
            self.lease.sign_off()

    def _end_row(self, trial: FrozenTrial, kind: FailKind, reason: str) -> bool:
        from optuna.exceptions import UpdateFinishedTrialError
        from optuna.trial import TrialState

        trial_id = trial._trial_id
        state, values, why = TrialState.FAIL, None, {REASON: reason, KIND: kind}
        if trial.user_attrs.get(PAUSED) is not None and trial.last_step is not None:
            state, values, why = TrialState.PRUNED, [trial.intermediate_values[trial.last_step]], {}
        try:
            for key, value in why.items():
                self.patience(partial(self.storage.set_trial_user_attr, trial_id, key, value))
            end = partial(self.storage.set_trial_state_values, trial_id, state, values)
            self.patience(end)
        except UpdateFinishedTrialError:  # it has ended meanwhile
            return False
        return True

    def due_again(self, max_retries: int, *, all_failed: bool = False) -> list[Attempt]:
        """Configurations that were cut off and are still to be tried, the oldest first.

        Args:
            all_failed: and those that failed by themselves.
        """
        space = self.meta.space
        found = due(self.trials(), space.key, max_retries, all_failed=all_failed)
        return [attempt for attempt in found if not space.validate(attempt.params)]

    def set_attr(self, key: str, value: Any) -> None:
        """Stores a study attribute, JSON-able."""
        self.patience(lambda: self.study.set_user_attr(key, _finite(value)))


def _finite(value: Any) -> Any:
    """NaN and infinity as text: PostgreSQL's JSON and strict readers refuse them."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def ensure_study(
    storage: BaseStorage, name: str, meta: StudyMeta, patience: Patience | None = None
) -> int:
    """Creates the study as `meta` says, unless it exists.

    Returns:
        Its id in the storage.
    Raises:
        SpecError: a study of that name is empty and was made by something else, the other way.
    """
    import optuna

    patience = patience or Patience()
    with exclusive(engine_of(storage), "new studies"):
        study = patience(
            lambda: optuna.create_study(
                storage=storage, study_name=name, direction=meta.direction, load_if_exists=True
            )
        )
        if META not in study.user_attrs and not study.get_trials(deepcopy=False):
            if study.direction.name.lower() != meta.direction:
                raise SpecError(
                    f"study {name!r}: direction was {study.direction.name.lower()!r}, "
                    f"is {meta.direction!r}: give --name another"
                )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # experimental, and only a label for the dashboard
                patience(lambda: study.set_metric_names([meta.metric]))
            patience(lambda: study.set_user_attr(META, meta.to_json()))
    return study._study_id
