"""AutoSampler: for whoever names no sampler.  Another one proposes; which, and why, is said.

The choice rests on the runs of `benchmarks/search_quality.py`: up to 100 trials neither `tpe` nor
`cmaes`, `qmc` or `random` is certainly better than `gp` on any kind of space, and `gp` is certainly
better than `tpe` in the first 60 trials of mixed and tabular ones.  Against it speaks its price, 16
ms of a core a proposal in a study of 100 trials and more in a longer one, and that it learns from
250 trials at most.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import TYPE_CHECKING, Any

from optuna.samplers import RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from hpo.parameter import n_values
from hpo.search.space_sampler import SpaceSampler
from hpo.search.tried import study_trials
from hpo.space import Space

if TYPE_CHECKING:
    from hpo.search.samplers import Start

CHOICES = "hpo:sampler-choices"
"""Study attribute: a list of {"from_trial", "sampler", "reason"}, one for each change."""
MAX_GP_TRIALS = 1000
"""Ended trials after which `gp` is left: four times what it learns from.  No run on record is as
long, so this bounds its price and is no measured optimum."""
SHORT_S = 0.1
"""Seconds of training, by worker, for each proposal: below that `gp` keeps workers waiting."""
N_TIMED = 10
"""Trials whose durations count: those that ended first, so that the answer, once it is known, stays
the same, in later runs and for other drivers too."""

_log = logging.getLogger("hpo.search")


@dataclass(frozen=True)
class Facts:
    """What the choice depends on.

    Attributes:
        kind: of the space: conditional, continuous, finite or mixed.
        n_points: of a finite space, if they are no more than the planned trials; else None.
        n_trials: that are planned; None: unknown.
        n_ended: COMPLETE and PRUNED trials that there are.
        trial_s: median seconds of training, of the first that ended; None: not known yet.
        n_concurrent: trials that run at once.
        short_s: see `SHORT_S`; 0: trials are never too short.
    """

    kind: str
    n_points: int | None = None
    n_trials: int | None = None
    n_ended: int = 0
    trial_s: float | None = None
    n_concurrent: int = 1
    short_s: float = SHORT_S


@dataclass(frozen=True)
class Chosen:
    """A sampler's name, and why it was chosen, as the end of a sentence."""

    sampler: str
    reason: str

    def __str__(self) -> str:
        return f"{self.sampler}: {self.reason}"


def choose_sampler(facts: Facts) -> Chosen:
    """The sampler that is to make the next proposal.

    A finite space needs no grid: every sampler here tries each point once and then ends, and `gp`
    has the good ones early, should the search be stopped before.

    >>> print(choose_sampler(Facts("mixed", n_trials=40)))
    gp: few, costly trials of a mixed space
    >>> print(choose_sampler(Facts("mixed", n_ended=10, trial_s=0.02)))
    tpe: trials take 0.02 s: gp might not propose as fast
    """
    if facts.trial_s is not None and facts.trial_s < facts.short_s * facts.n_concurrent:
        several = f", {facts.n_concurrent} at once" if facts.n_concurrent > 1 else ""
        reason = f"trials take {facts.trial_s:.2g} s{several}: gp might not propose as fast"
        return Chosen("tpe", reason)
    if facts.n_ended >= MAX_GP_TRIALS:
        return Chosen("tpe", f"{facts.n_ended:,} trials have ended, more than gp learns from")
    if facts.n_points is not None:
        return Chosen("gp", f"each of {facts.n_points:,} points once, promising ones first")
    if facts.n_trials is not None and facts.n_trials > MAX_GP_TRIALS:
        return Chosen(
            "gp", f"until {MAX_GP_TRIALS:,} of {facts.n_trials:,} trials have ended, then tpe"
        )
    return Chosen("gp", f"few, costly trials of a {facts.kind} space")


def facts_at_start(space: Space, n_trials: int | None) -> Facts:
    """What is known before the first trial."""
    n_points = None
    if space.finite:
        most = n_trials or MAX_GP_TRIALS
        n = sum(1 for _ in itertools.islice(space.points(), most + 1))
        n_points = n if n <= most else None
    return Facts(_kind(space), n_points, n_trials)


def _kind(space: Space) -> str:
    if space.has_conditions:
        return "conditional"
    if space.finite:
        return "finite"
    sizes = [n_values(parameter) for parameter in space.params.values()]
    return "continuous" if all(n is None or n == 1 for n in sizes) else "mixed"


def training_s(trials: Iterable[FrozenTrial]) -> float | None:
    """Median seconds of the `N_TIMED` trials that ended first; None before so many have ended."""
    ended = [t for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    timed = [t for t in ended if t.datetime_complete is not None and t.datetime_start is not None]
    if len(timed) < N_TIMED:
        return None
    timed.sort(key=lambda t: (t.datetime_complete, t.number))
    return median(map(_trained_s, timed[:N_TIMED]))


def _trained_s(trial: FrozenTrial) -> float:
    # The worker's own clock if there is one: a first trial waits for its worker to start.
    run = trial.user_attrs.get("run") or {}
    if isinstance(spent := run.get("duration_s"), int | float):
        return float(spent)
    assert trial.duration is not None
    return trial.duration.total_seconds()


class AutoSampler(SpaceSampler):
    """Lets another sampler propose, chosen anew before each proposal by what the study holds.

    Args:
        start: what the others start from.
        factories: these, by the names that `choose_sampler` gives.
        short_s: as in `Facts`.
    """

    def __init__(
        self,
        start: Start,
        factories: Mapping[str, Callable[[Start], SpaceSampler]],
        *,
        short_s: float = SHORT_S,
    ) -> None:
        super().__init__(start.space, RandomSampler(seed=start.run_seed), seed=start.run_seed)
        self.n_concurrent = start.n_concurrent
        self._from = start
        self._factories = factories
        self._at_start = replace(facts_at_start(start.space, start.n_trials), short_s=short_s)
        self._made: dict[str, SpaceSampler] = {}
        self._trained_s: dict[str, float | None] = {}  # by study, once known
        self._said: dict[str, str] = {}  # the last choice, by study

    def __str__(self) -> str:
        return type(self).__name__

    def reseed_rng(self) -> None:
        super().reseed_rng()
        for sampler in self._made.values():
            sampler.reseed_rng()

    def chosen(self, study: Study) -> Chosen:
        """Who would make the study's next proposal, and why."""
        trials = study_trials(study)
        ended = (TrialState.COMPLETE, TrialState.PRUNED)
        spent = self._trained_s.get(study.study_name)
        if spent is None:
            spent = self._trained_s[study.study_name] = training_s(trials)
        facts = replace(
            self._at_start,
            n_ended=sum(trial.state in ended for trial in trials),
            trial_s=spent,
            n_concurrent=self.n_concurrent,
        )
        return choose_sampler(facts)

    def propose(self, study: Study, trial: FrozenTrial) -> dict[str, Any]:
        chosen = self.chosen(study)
        if self._said.get(study.study_name) != chosen.sampler:
            self._say(study, trial, chosen)
        return self._sampler(chosen.sampler).propose(study, trial)

    def _sampler(self, name: str) -> SpaceSampler:
        if name not in self._made:
            self._made[name] = self._factories[name](self._from)
            # One memory: who comes later is not to forgive what has failed meanwhile.
            self._made[name]._tried = self._tried
            if self._prior is not None:
                self._made[name].start_from(self._prior)
        return self._made[name]

    def _say(self, study: Study, trial: FrozenTrial, chosen: Chosen) -> None:
        """Writes a change into the study, where reports find it, and logs it."""
        # By the storage: under Hyperband the study is a bracket, which has no attributes.
        storage, study_id = study._storage, study._study_id
        before = storage.get_study_user_attrs(study_id).get(CHOICES, [])
        if not before or before[-1]["sampler"] != chosen.sampler:
            choice = {"from_trial": trial.number, **asdict(chosen)}
            storage.set_study_user_attr(study_id, CHOICES, [*before, choice])
        if study.study_name in self._said:
            _log.warning("auto: from trial %d on %s", trial.number, chosen)
        self._said[study.study_name] = chosen.sampler


def choices_text(choices: Iterable[Mapping[str, Any]]) -> str:
    """The study attribute `CHOICES` as one line.

    >>> choices_text([{"from_trial": 0, "sampler": "gp", "reason": "few, costly trials"}])
    'gp: few, costly trials'
    """
    lines: list[str] = []
    for choice in choices:
        start = f"from trial {choice['from_trial']} on " if lines else ""
        lines.append(f"{start}{choice['sampler']}: {choice['reason']}")
    return "; ".join(lines)
