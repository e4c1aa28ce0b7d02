"""The ledger of a study: the only writer of trials, whole studies (`whole`) apart.

ask -> report ... report -> complete | prune | fail, each trial exactly once; on the way it may be
paused and promoted.  It knows neither Ray nor torch, so that other executors can drive it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
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
from hpo.storage.creation import ensure_study
from hpo.storage.lock import engine_of, exclusive
from hpo.storage.measured import broken_by, end_problem, is_feasible, value_problem, values_of
from hpo.storage.meta import META, StudyMeta, meta_of
from hpo.storage.retry import Patience
from hpo.storage.storable import storable
from hpo.storage.view import StudyView

if TYPE_CHECKING:
    from optuna import Study
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial
    from sqlalchemy import Engine

    from hpo.storage.lease import Lease
    from hpo.storage.rows import End

__all__ = ["Asked", "Ledger", "StudyMeta"]


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
        from hpo.storage.sight import Sight

        self.lease = lease
        self._running: dict[int, FrozenTrial] = {}  # the paused ones too
        self._paused: set[int] = set()
        self._sight = Sight(study)
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
        begun = meta_of(study)
        if begun.epochs != meta.epochs and not _has_values(patience(study.get_trials)):
            begun = replace(begun, epochs=meta.epochs)
        problems = meta.problems_from(begun, name)
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
            trials = self.patience(self._sight.look)
            if attempt is not None:
                if any(origin_of(t).get("retry_of") == attempt.of for t in trials):
                    return None  # by another driver, meanwhile
                params = attempt.params
                origin = {**(origin or {}), "attempt": attempt.number, "retry_of": attempt.of}
            elif params is not None and self._shared and self._tried(params, trials):
                params = None
            exhausted = getattr(self.study.sampler, "exhausted", None)
            if params is None and exhausted and self.patience(lambda: exhausted(self._sight)):
                return None
            trial = self.patience(lambda: self._propose(params, origin or {}))
            self._begin(trial)
        self._running[trial.number] = trial
        return Asked(trial.number, dict(trial.params), time.perf_counter() - started)

    def _propose(self, params: Mapping[str, Any] | None, origin: Mapping[str, Any]) -> FrozenTrial:
        """A whole trial that has no row yet and says whose it is."""
        from optuna.trial import Trial

        space = self.meta.space
        run = self.lease.run if self.lease else ""
        mark = {**origin, "driver": run, "ask": self._n_asked + 1}
        draft = self._sight.draft({ORIGIN: storable(mark)})
        if params is not None:
            draft.params = dict(params)
            distributions = space.distributions()
            draft.distributions = {name: distributions[name] for name in params}
        active = space.suggest(Trial(self._sight, draft._trial_id))
        draft.params = {name: active[name] for name in active}
        return draft

    def _begin(self, trial: FrozenTrial) -> None:
        """Writes the trial's row, once even if the first answer got lost."""
        from hpo.storage.rows import begin_trial

        self._n_asked += 1
        study_id = self.study._study_id
        mine = trial.user_attrs[ORIGIN]
        asked_before = False

        def begin() -> tuple[int, int]:
            nonlocal asked_before
            if asked_before:
                for known in self.storage.get_all_trials(study_id, deepcopy=False):
                    found = origin_of(known)
                    if (found.get("driver"), found.get("ask")) == (mine["driver"], mine["ask"]):
                        return known._trial_id, known.number
            asked_before = True
            return begin_trial(self._engine, study_id, trial)

        trial._trial_id, trial.number = self.patience(begin)

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

    @property
    def _engine(self) -> Engine:
        return engine_of(self.storage)

    def _tried(self, params: Mapping[str, Any], trials: Iterable[FrozenTrial]) -> bool:
        key = self.meta.space.key
        return any(key(trial.params) == key(params) for trial in trials)

    def report(self, number: int, step: int, value: Any, *, prune: bool = True) -> bool:
        """Stores an epoch's value of the study's guiding metric, which is its objective's if it
        has one.

        Args:
            step: epochs done, from 1.
            prune: ask the pruner; after the last epoch it is not asked: nothing is left to save.
        Returns:
            Whether the trial is to stop: the pruner says so, or it has ended already.
        Raises:
            TrialError: the value is missing, NaN, infinite or no number.
        """
        from optuna.exceptions import UpdateFinishedTrialError

        problem = value_problem(self.meta.guide.metric, value)
        if problem:
            raise TrialError(f"{problem} in epoch {step}")
        trial = self._running.get(number)
        if trial is None:
            return True
        write = self.storage.set_trial_intermediate_value
        try:
            if step not in trial.intermediate_values:
                self.patience(lambda: write(trial._trial_id, step, float(value)))
                trial.intermediate_values[step] = float(value)
            if not prune or step >= self.meta.epochs:
                return False
            return self.patience(lambda: self._should_prune(trial._trial_id))
        except UpdateFinishedTrialError:  # another process has ended it meanwhile
            return True

    def _should_prune(self, trial_id: int) -> bool:
        from optuna.pruners import NopPruner

        pruner = self.study.pruner
        if isinstance(pruner, NopPruner):
            return False
        trials = self._sight.look()
        trial = next(t for t in reversed(trials) if t._trial_id == trial_id)
        if self.meta.constraints:
            self._sight.show(self._measures(trials))
        return pruner.prune(self._sight, trial)

    def _measures(self, trials: list[FrozenTrial]) -> list[FrozenTrial]:
        """What the pruner compares with: what may not win is no measure for what may."""
        return [t for t in trials if is_feasible(t)] if self.meta.constraints else trials

    def complete(
        self,
        number: int,
        value: Any,
        attrs: Mapping[str, Any] | None = None,
        *,
        last: tuple[int, Any] | None = None,
    ) -> bool:
        """Ends a trial with its value, where that is all the study asks for; else as `conclude`."""
        return self.conclude(number, {self.meta.metric: value}, attrs, last=last)

    def conclude(
        self,
        number: int,
        metrics: Mapping[str, Any],
        attrs: Mapping[str, Any] | None = None,
        *,
        last: tuple[int, Any] | None = None,
    ) -> bool:
        """Ends a trial with its metrics; FAIL if one that the study asks for is no finite number.

        Args:
            last: step and value of the last report, if that is still to be stored.
        Returns:
            False if the trial had ended before: nothing is counted twice.
        """
        meta = self.meta
        problem = end_problem(meta, metrics)
        if last is not None and (of_last := value_problem(meta.guide.metric, last[1])):
            problem = f"{of_last} in epoch {last[0]}"
        if problem:
            return self.fail(number, problem, None, attrs)
        end = values_of(meta, metrics), broken_by(meta, metrics)
        return self._end(number, "COMPLETE", end[0], attrs, last, end[1])

    def prune(self, number: int, attrs: Mapping[str, Any] | None = None) -> bool:
        """Ends a trial as PRUNED, with its last value."""
        trial = self._running.get(number)
        metrics = (attrs or (trial.user_attrs if trial else {})).get("metrics") or {}
        return self._end(number, "PRUNED", None, attrs, None, broken_by(self.meta, metrics))

    @property
    def rungs(self) -> tuple[int, ...]:
        """Epochs after which the pruner's word means a pause, if the trial can go on later."""
        return tuple(getattr(self.study.pruner, "rungs", ()))

    def pause(self, number: int, epoch: int, attrs: Mapping[str, Any]) -> None:
        """Leaves a trial that the pruner has stopped waiting; its row stays RUNNING.

        Args:
            attrs: what it is to have should nothing more come of it.
        """
        for key, item in {**attrs, PAUSED: epoch}.items():
            self.set_trial_attr(number, key, storable(item))
        self._running[number].user_attrs.update(attrs)
        self._paused.add(number)

    def promote(self) -> int | None:
        """The paused trial that is to go on now, which is under way again; None: none is."""
        if not self._paused:
            return None
        pruner: Any = self.study.pruner
        number: int | None = pruner.promotable(
            self.study, self._measures(self.trials()), self._paused
        )
        if number is not None:
            self._paused.remove(number)
            self.set_trial_attr(number, PAUSED, None)
        return number

    def set_trial_attr(self, number: int, key: str, value: Any) -> None:
        """Stores an attribute of a trial that is under way here."""
        trial_id = self._running[number]._trial_id
        self.patience(partial(self.storage.set_trial_user_attr, trial_id, key, value))

    def hopeless(self, n_to_come: int) -> list[int]:
        """Paused trials that will not be promoted if so many more are opened."""
        if not self._paused:
            return []
        pruner: Any = self.study.pruner
        measures = self._measures(self.trials())
        found = pruner.hopeless(self.study, measures, self._paused, n_to_come)
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
            why["traceback"] = traceback[-5000:]  # 64 KB at most as JSON, whatever it holds
        return self._end(number, "FAIL", None, {**why, **(attrs or {})})

    def _end(
        self,
        number: int,
        state: str,
        values: list[float] | None,
        attrs: Mapping[str, Any] | None,
        last: tuple[int, Any] | None = None,
        broken: Sequence[float] = (),
    ) -> bool:
        from optuna.trial import TrialState

        from hpo.storage.rows import End

        trial = self._running.pop(number, None)
        self._paused.discard(number)
        if trial is None:
            return False
        last = None if last is None else (last[0], float(last[1]))
        end = End(TrialState[state], values, storable(attrs or {}), last, broken)
        self.study.sampler.after_trial(self._sight, trial, end.state, values)
        return self._end_row(trial._trial_id, end)

    def _end_row(self, trial_id: int, end: End) -> bool:
        """Writes a trial's end, once even if the first answer got lost."""
        from hpo.storage.rows import end_trial

        told_before = False

        def write() -> bool:
            nonlocal told_before
            again, told_before = told_before, True
            if end_trial(self._engine, trial_id, end):
                return True
            return again and end.is_of(self.storage.get_trial(trial_id))

        return self.patience(write)

    def reconcile(self, kind: FailKind = "lost", reason: str = "lost: its driver died") -> int:
        """Ends as FAIL every RUNNING row that no live driver answers for, this one's included
        unless it is under way here.  Those that were paused end as PRUNED.

        Returns:
            How many there were.
        """
        from optuna.trial import TrialState

        from hpo.storage.rows import End

        orphans = [
            trial
            for trial in self.trials()  # before asking who lives: a driver signs on, then asks
            if trial.state.name == "RUNNING" and trial.number not in self._running
        ]
        if not orphans:
            return 0
        mine = {self.lease.run} if self.lease else set()
        live = self.patience(self.lease.live) - mine if self.lease else set()
        lost = End(TrialState.FAIL, None, {REASON: reason, KIND: kind})
        paused = End(TrialState.PRUNED, None, {})
        return sum(
            self._end_row(trial._trial_id, lost if trial.user_attrs.get(PAUSED) is None else paused)
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
        self.patience(lambda: self.study.set_user_attr(key, storable(value)))


def _has_values(trials: Iterable[FrozenTrial]) -> bool:
    """Whether a trial has a value or may get one."""
    return any(trial.state.name != "FAIL" for trial in trials)
