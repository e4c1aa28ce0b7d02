"""What earlier studies of the same model found, as a start for a new one.

The values of another study say little about this one's, their order often much.  So the first
proposals are, in turns with the sampler's own, the best few configurations of the earlier
studies; they end as soon as two of them came to less than the sampler's own.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

import numpy as np

from hpo.search.encoding import Encoding
from hpo.space import Space
from hpo.space_change import carried_over

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

FROM = "hpo:from"
"""System attribute of a trial: STUDY:NUMBER whose configuration it has."""
MOST_OFFERED = 4
MOST_IN_VAIN = 2
"""After so many of them that were worse than the sampler's own, no more are offered."""
GOOD = 0.2
"""Share of an earlier study's trials among which different ones are looked for."""


@dataclass(frozen=True)
class Earlier:
    """A COMPLETE trial of an earlier study.

    Attributes:
        params: searched and fixed ones.
        loss: its value, smaller is better.
    """

    number: int
    params: Mapping[str, Any]
    loss: float


@dataclass(frozen=True)
class Source:
    """An earlier study."""

    name: str
    data: str
    trials: tuple[Earlier, ...]


@dataclass(frozen=True)
class Candidate:
    """A configuration of an earlier study, as it is in the new space.

    Attributes:
        source, number: the study and the trial.
        loss: the study's, smaller is better.
    """

    source: str
    number: int
    params: dict[str, Any]
    loss: float

    @property
    def origin(self) -> str:
        """`STUDY:NUMBER`"""
        return f"{self.source}:{self.number}"


class Prior:
    """What earlier studies say about points of a space.

    Args:
        space: of the new study.
        sources: the most telling first.
    """

    def __init__(self, space: Space, sources: Sequence[Source]) -> None:
        self.space = space
        self.encoding = Encoding(space)
        self.n_trials = sum(len(source.trials) for source in sources)
        chosen = [self._different(found) for s in sources if (found := candidates(space, s))]
        turns = itertools.chain.from_iterable(itertools.zip_longest(*chosen))
        distinct = {space.key(c.params): c for c in reversed([c for c in turns if c is not None])}
        self.best = list(reversed(distinct.values()))

    def _different(self, found: list[Candidate]) -> list[Candidate]:
        """The best one, then of the good ones always the one that is farthest from the others."""
        ranked = sorted(found, key=lambda c: c.loss)
        good = ranked[: max(MOST_OFFERED, round(GOOD * len(ranked)))]
        if not self.encoding.columns:
            return good[:1]
        rows = np.array([np.nan_to_num(self.encoding.encode(c.params)) for c in good])
        z = self.encoding.features(rows)
        chosen = [0]
        while len(chosen) < min(MOST_OFFERED, len(good)):
            gaps = np.linalg.norm(z[:, None] - z[None, chosen], axis=2).min(axis=1)
            chosen.append(int(gaps.argmax()))
        return [good[i] for i in dict.fromkeys(chosen)]

    def next(
        self, trials: Sequence[FrozenTrial], tried: Callable[[str], bool], sign: int
    ) -> Candidate | None:
        """What to try now, or None: it is the sampler's turn.

        Args:
            trials: those of the study that have begun, without the one to propose for.
            tried: whether a point of this key is tried or under way.
            sign: 1 if smaller is better, else -1.
        """
        offered = [trial for trial in trials if FROM in trial.system_attrs]
        own = [trial for trial in trials if FROM not in trial.system_attrs]
        if not len(offered) < min(len(own), MOST_OFFERED):
            return None
        values = [_loss(t, sign) for t in own if t.state.name == "COMPLETE"]
        misleading = {
            source
            for source in {source_of(trial) for trial in offered}
            if _misleads([t for t in offered if source_of(t) == source], values, sign)
        }
        for candidate in self.best:
            if candidate.source not in misleading and not tried(self.space.key(candidate.params)):
                return candidate
        return None


def source_of(trial: FrozenTrial) -> str:
    """The study whose configuration a trial has."""
    return str(trial.system_attrs[FROM]).rpartition(":")[0]


def _misleads(offered: Sequence[FrozenTrial], own: Sequence[float], sign: int) -> bool:
    """Whether one of a study's configurations came last, or two were in the worse half.

    Args:
        own: losses of the sampler's own proposals and of the default.
    """
    # One that failed says nothing of its study: it may have been interrupted.
    losses = [
        math.inf if trial.state.name == "PRUNED" else _loss(trial, sign)
        for trial in offered
        if trial.state.name in ("COMPLETE", "PRUNED")
    ]
    if not own or not losses:
        return False
    last = len(own) > 1 and max(losses) > max(own)
    return last or sum(loss > median(own) for loss in losses) >= MOST_IN_VAIN


def _loss(trial: FrozenTrial, sign: int) -> float:
    """A COMPLETE trial's value, smaller is better; none that breaks a constraint is any good."""
    if any(by > 0 for by in trial.constraints.values()):
        return math.inf
    return sign * float(trial.value or 0.0)


def candidates(space: Space, source: Source) -> list[Candidate]:
    """The source's trials that are points of the space, each once with its mean loss."""
    found: dict[str, list[Candidate]] = {}
    for trial in source.trials:
        params = carried_over(space, trial.params)
        if params is not None and math.isfinite(trial.loss):
            candidate = Candidate(source.name, trial.number, params, trial.loss)
            found.setdefault(space.key(params), []).append(candidate)
    return [replace(same[0], loss=fmean(c.loss for c in same)) for same in found.values()]
