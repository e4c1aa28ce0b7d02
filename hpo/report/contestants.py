"""Who takes part in a comparison, under which name, and what has to be known of each beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hpo.compare.plan import COMPARISON
from hpo.report.statistics import number
from hpo.storage.warm_start import started_from, started_text

if TYPE_CHECKING:
    import pandas as pd

    from hpo.storage.view import StudyView


@dataclass(frozen=True)
class Contestant:
    """A study that takes part: its strategy's name and its seed."""

    strategy: str
    seed: int
    view: StudyView


def contestants_of(views: Sequence[StudyView]) -> list[Contestant]:
    """Studies that exist, each under its own name; those that `hpo compare` made, and that make up
    several strategies with their seeds, as such.

    A study may be by several samplers, continued by one after another, so its name is what it is.
    """
    made = [view.attr(COMPARISON) for view in views]
    if all(made):
        found = [
            Contestant(str(of["strategy"]), int(of["seed"]), view)
            for of, view in zip(made, views, strict=True)
        ]
        seeds: dict[str, list[int]] = {}
        for c in found:
            seeds.setdefault(c.strategy, []).append(c.seed)
        alike = len({tuple(sorted(of)) for of in seeds.values()}) == 1
        if len(seeds) > 1 and alike and all(len(set(s)) == len(s) for s in seeds.values()):
            return found
    # One row each, whatever their seeds: they are all there is of each.
    return [Contestant(view.name, views[0].meta.seed, view) for view in views]


def origin_notices(contestants: Sequence[Contestant]) -> list[str]:
    """Studies that began with what others had found, and rows that differ in their seed."""
    found = []
    for c in contestants:
        if earlier := started_from(c.view.study.user_attrs):
            found.append(
                f"{c.view.name} was warm-started from {started_text(earlier)}: it began with what "
                "was known there."
            )
    differing = [c for c in contestants if c.view.meta.seed != c.seed]
    if differing:
        seeds = ", ".join(f"{c.view.name}: {c.view.meta.seed}" for c in contestants)
        found.append(f"The studies' seeds differ ({seeds}): a row each, without pairs by seed.")
    return found


def cut_notices(
    contestants: Sequence[Contestant],
    used: Mapping[tuple[str, int], pd.DataFrame],
    length: int,
    sign: int,
) -> list[str]:
    """What leaving out the trials after the first `length` hides, study by study."""
    found = []
    for c in contestants:
        frame = used[(c.strategy, c.seed)]
        if len(frame) <= length:
            continue
        line = f"{c.view.name}: {len(frame) - length} of {len(frame)} trials are left out"
        scores = (sign * frame["value"]).astype(float)
        whole, part = scores.max(), scores.iloc[:length].max()
        if not math.isnan(whole) and not whole <= part:
            at = int(frame["number"].iloc[int(scores.fillna(-math.inf).to_numpy().argmax())])
            first = "nothing" if math.isnan(part) else number(sign * part, 4)
            line += (
                f"; its best of all is {number(sign * whole, 4)} (trial {at}), of the first "
                f"{length} {first}"
            )
        else:
            line += "; its best is among the first"
        found.append(f"{line}.")
    return found
