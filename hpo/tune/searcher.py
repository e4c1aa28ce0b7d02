"""Tune's side of the bridge: our Searcher, scheduler and stopper, which hold no state."""

from __future__ import annotations

from typing import Any

from ray.tune import Callback
from ray.tune.execution import class_cache
from ray.tune.execution.tune_controller import TuneController
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from hpo.tune.bridge import Bridge


class _Stateless:
    """Tune pickles what it is given, connection and password included: give it nothing."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class LedgerSearcher(_Stateless, Searcher):  # type: ignore[misc]
    """Tune's Searcher: hands out the ledger's trials."""

    def __init__(self, bridge: Bridge) -> None:
        super().__init__()
        self.bridge = bridge

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        return self.bridge.ask(trial_id)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        self.bridge.end(trial_id, result, error)

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the ledger is the only truth."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""


class LedgerScheduler(_Stateless, FIFOScheduler):  # type: ignore[misc]
    """Tune's scheduler: lets the study's pruner decide after each epoch."""

    def __init__(self, bridge: Bridge) -> None:
        super().__init__()
        self.bridge = bridge

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """Tune starts what is pending by itself, and nothing here is paused."""
        return None

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        stop = self.bridge.report(trial.trial_id, result)
        return str(TrialScheduler.STOP if stop else TrialScheduler.CONTINUE)


class LedgerStopper(_Stateless, Stopper):  # type: ignore[misc]
    """Tune's regular question whether to stop: after a signal, or when the lease is lost."""

    def __init__(self, bridge: Bridge) -> None:
        self.bridge = bridge

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self.bridge.tick()


class Forgetter(Callback):  # type: ignore[misc]
    """Makes Tune forget trials that have ended: it looks through all that it knows at each step."""

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        # The list itself; the last one stays, for Tune's own summary wants one.
        trials[:-1] = [trial for trial in trials[:-1] if not trial.is_finished()]


class Placements(_Stateless, Callback):  # type: ignore[misc]
    """Tells the bridge when a worker has taken a trial."""

    def __init__(self, bridge: Bridge) -> None:
        self.bridge = bridge

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.bridge.placed(trial.trial_id)


def use_no_state_files() -> None:
    """Keeps trials out of Tune's state files: the ledger has them."""
    TuneController._mark_trial_to_checkpoint = lambda self, trial: None


def use_waiting_workers() -> None:
    """Lets trials have the workers that Ray has started already, not new ones.

    Tune gives its actors environment variables of their own, and only a worker that was started
    with these will do.  Workers on this machine have all of this process's anyway.
    """
    class_cache.DEFAULT_ENV_VARS = {}
    class_cache.ENV_VARS_TO_PROPAGATE = frozenset()


_on_trial_reset = TuneController._on_trial_reset


def replace_worn_workers() -> None:
    """Gives a trial a new worker if the warm one that it was to have says it is worn; Tune by
    itself would fail the trial."""

    def on_trial_reset(self: Any, trial: Any, success: bool) -> None:
        if success:
            _on_trial_reset(self, trial, success)
            return
        self._resetting_trials.remove(trial)
        worn = self._trial_to_actor.pop(trial)
        self._actor_to_trial.pop(worn)
        trial.set_ray_actor(None)
        worn.set_on_stop(None)
        worn.set_on_error(None)
        self._remove_actor(tracked_actor=worn)
        self._schedule_trial_actor(trial)

    TuneController._on_trial_reset = on_trial_reset
