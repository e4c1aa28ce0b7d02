"""Whether a newly saved model is to take the place of the one in use."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from hpo.outcome.artifact import Artifact, read
from hpo.outcome.confirm import Confirmed, difference

_FEW = 2
"""Seeds in common with which hardly any difference is beyond noise."""


@dataclass(frozen=True)
class Promotion:
    """A decision, and why, as one sentence."""

    promoted: bool
    reason: str


def compare(new: str | Path, served: str | Path) -> Promotion:
    """A new model is taken if its confirmed mean is better beyond noise: paired over the seeds
    that both were confirmed on, 95 %.

    Raises:
        SpecError: no saved model at one of the paths.
    """
    a, b = read(new), read(served)
    if (a.model, a.data, a.metric, a.direction) != (b.model, b.data, b.metric, b.direction):
        return Promotion(False, f"{new} is of another model, data or metric than what is served")
    for path, artifact in ((new, a), (served, b)):
        if not artifact.confirmed or not artifact.confirmed[0].get("runs"):
            return Promotion(False, f"{path} does not say what it was confirmed with")
    gap, half = difference(_confirmed(a), _confirmed(b))
    sign = 1 if a.direction == "maximize" else -1
    if math.isinf(half):
        return Promotion(False, f"{new} was confirmed on fewer than two of the served one's seeds")
    n = len(_confirmed(a).runs.keys() & _confirmed(b).runs.keys())
    ahead = f"{a.metric} {sign * gap:+.4g} ± {half:.2g} over {n} fresh seeds that both have"
    if half <= 1e-9 * abs(gap):
        said = "equal" if gap == 0 else f"{a.metric} {sign * gap:+.4g}, by as much"
        return Promotion(
            False,
            f"{new} is not shown to be better: {said} on each of {n} fresh seeds, so nothing is "
            "known of noise; `hpo switch` serves it all the same",
        )
    if sign * gap > half:
        return Promotion(True, f"{new} is better beyond noise: {ahead}")
    few = "" if n > _FEW else ": few of them; `hpo switch` serves it all the same"
    return Promotion(False, f"{new} is not better beyond noise: {ahead}{few}")


def _confirmed(artifact: Artifact) -> Confirmed:
    first = artifact.confirmed[0]
    runs = {
        int(run["seed"]): {name: value for name, value in run.items() if name != "seed"}
        for run in first["runs"]
    }
    return Confirmed(
        first["trial"], first["params"], first["searched"], runs, artifact.metric, first["default"]
    )
