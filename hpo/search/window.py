"""Which trials of a long study TPE is given, so that a proposal costs no more after 10,000 trials
than after 500."""

from __future__ import annotations

import itertools
import math
from bisect import insort
from collections import deque
from typing import Any

from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from hpo.search.seen import SeenStudy

N_BEST = 50
N_RECENT = 450


class Window:
    """The best trials, the most recent ones and all that run.

    TPE contrasts a good group, at most 25 trials (Optuna's `default_gamma`), with all others, whom
    it weights the less the older they are.  The good group is the same here as without a window;
    of the others the oldest are left out, unless they are nearly good.  A study of up to
    `n_best + n_recent` trials is seen whole.

    Args:
        n_best: 25 at least.
        n_recent: 241 at least, from which on the good group has its 25.  With fewer it shrinks, the
            other best trials count as bad ones, and TPE flees what is good.
    """

    def __init__(self, n_best: int = N_BEST, n_recent: int = N_RECENT) -> None:
        self.n_best = n_best
        self.n_recent = n_recent
        self._of: dict[str, _Known] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_of": {}}  # it is worked out again from the study

    def of(self, study: Study, trials: list[FrozenTrial]) -> Study:
        """The study as TPE is to see it.

        Args:
            trials: all of the study, by number.
        """
        if len(study.directions) > 1:
            return study  # what is best is a front, which grows
        known = self._of.get(study.study_name)
        if known is None:
            known = self._of[study.study_name] = _Known(study, self.n_best, self.n_recent)
        known.update(trials)
        if known.n_finished <= self.n_best + self.n_recent:
            return study
        known.view.show(known.chosen(trials))
        return known.view


class _Known:
    """What is known of a study's trials; each is looked at once after it has finished."""

    def __init__(self, study: Study, n_best: int, n_recent: int) -> None:
        self.view = SeenStudy(study)
        self.sign = 1 if study.direction == StudyDirection.MINIMIZE else -1
        self.n_best = n_best
        self.best: list[tuple[tuple[float, float, float], int, FrozenTrial]] = []
        self.recent: deque[FrozenTrial] = deque(maxlen=n_recent)
        self.unfinished: list[int] = []
        self.n_finished = 0
        self.n_seen = 0

    def update(self, trials: list[FrozenTrial]) -> None:
        before, self.unfinished = self.unfinished, []
        for i in itertools.chain(before, range(self.n_seen, len(trials))):
            trial = trials[i]
            if not trial.state.is_finished():
                self.unfinished.append(i)
            elif trial.state != TrialState.FAIL:
                self.n_finished += 1
                self.recent.append(trial)
                insort(self.best, (self._rank(trial), trial.number, trial))
                del self.best[self.n_best :]
        self.n_seen = len(trials)

    def _rank(self, trial: FrozenTrial) -> tuple[float, float, float]:
        """As TPE orders them: COMPLETE by value, then PRUNED by how far they got, then those that
        break a constraint by how much."""
        if (broken := sum(by for by in trial.constraints.values() if by > 0)) > 0:
            return 2.0, broken, 0.0
        if trial.state == TrialState.COMPLETE:
            return 0.0, self.sign * (trial.value or 0.0), 0.0
        if trial.last_step is None:
            return 1.0, 1.0, 0.0
        value = trial.intermediate_values[trial.last_step]
        return 1.0, -float(trial.last_step), math.inf if math.isnan(value) else self.sign * value

    def chosen(self, trials: list[FrozenTrial]) -> list[FrozenTrial]:
        best = [trial for _, _, trial in self.best]
        pending = [trials[i] for i in self.unfinished]
        chosen = {trial.number: trial for trial in (*best, *self.recent, *pending)}
        return [chosen[number] for number in sorted(chosen)]
