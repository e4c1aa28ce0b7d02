"""What a study has tried, and what of it failed; each finished trial is read only once."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from hpo.search.failures import teaches
from hpo.space import Space


def study_trials(study: Study) -> list[FrozenTrial]:
    """Every trial of the study, uncopied.

    Not `study.get_trials`: under a Hyperband pruner that one sees its own bracket only, and a
    point tried in another bracket is tried all the same.
    """
    return study._storage.get_all_trials(study._study_id, deepcopy=False)


@dataclass(frozen=True)
class Past:
    """A study's trials at one moment.

    Attributes:
        trials: all, by number.
        finished, pending: keys of the points that have been tried, and of those that are.
        failed: the failures that teach, by number; the last one of each configuration, none of one
            that another trial finished.
        some_ended: whether any trial did not fail.
    """

    trials: list[FrozenTrial]
    finished: set[str]
    pending: set[str]
    failed: list[FrozenTrial]
    some_ended: bool

    def __contains__(self, key: str) -> bool:
        return key in self.finished or key in self.pending


class Tried:
    """The points that studies have tried, as `Space.key`s.

    A trial that failed counts if it failed under this sampler: proposing it again at once would
    fail again, while a new run (after a repair, perhaps) gives it another chance.
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        self._of: dict[str, _Known] = {}

    def look(self, study: Study, but: int | None = None) -> Past:
        """The study as it is now.

        Args:
            but: a trial whose point is left out.
        """
        trials = study_trials(study)
        known = self._of.get(study.study_name)
        if known is None:
            forgiven = {trial.number for trial in trials if trial.state == TrialState.FAIL}
            known = self._of[study.study_name] = _Known(forgiven)
        pending = known.update(trials, self._space, but)
        failed = sorted(known.failed.values(), key=lambda trial: trial.number)
        return Past(trials, known.finished, pending, failed, bool(known.ended))


@dataclass
class _Known:
    """What is known of one study's finished trials.

    Attributes:
        forgiven: numbers of those that had failed before.
        failed: failures that teach, by key.
        ended: keys of trials that did not fail.
    """

    forgiven: set[int]
    finished: set[str] = field(default_factory=set)
    failed: dict[str, FrozenTrial] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    n_seen: int = 0
    unfinished: list[int] = field(default_factory=list)

    def update(self, trials: list[FrozenTrial], space: Space, but: int | None) -> set[str]:
        """Takes in what has finished; returns the keys of what is pending."""
        pending = set()
        before, self.unfinished = self.unfinished, []
        for i in itertools.chain(before, range(self.n_seen, len(trials))):
            if i >= len(trials):  # an older look than the last one
                continue
            trial = trials[i]
            if trial.state.is_finished():
                self._finish(trial, space)
                continue
            self.unfinished.append(i)
            if trial.state != TrialState.WAITING and trial.number != but:
                pending.add(space.key(trial.params))
        self.n_seen = len(trials)
        return pending

    def _finish(self, trial: FrozenTrial, space: Space) -> None:
        key = space.key(trial.params)
        if trial.number not in self.forgiven:
            self.finished.add(key)
        if teaches(trial):
            if key not in self.ended and not space.validate(trial.params):
                self.failed[key] = trial
        elif trial.state != TrialState.FAIL:
            self.ended.add(key)
            self.failed.pop(key, None)
