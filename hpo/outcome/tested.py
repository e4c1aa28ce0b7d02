"""Retrains the best configuration of each of several studies and tests it; saves no network."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo.model import Metrics
from hpo.storage.known import configuration
from hpo.storage.view import StudyView
from hpo.study import ResolvedStudy
from hpo.training.files import TrialFiles
from hpo.training.session import Job
from hpo.tune.driver import job_of, study_folder
from hpo.tune.resources import Resources

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

TESTED = "hpo:tested"
"""Study attribute: {"trial": its number, "test": metrics, "default": the default's metrics}."""


def retrain_bests(
    studies: Sequence[tuple[ResolvedStudy, StudyView]],
    default: Mapping[str, Any],
    resources: Resources,
    on_done: Callable[[int, int], None],
) -> list[str]:
    """Tests each study's best, and the default configuration with the same training seed.

    What a study holds already is not tested again, and equal trainings are made once.

    Args:
        default: all parameters, those that are not searched included.
        on_done: called with (done, total).
    Returns:
        Why what is missing is missing, a line each.
    """
    missing: list[tuple[StudyView, FrozenTrial, str, str]] = []
    jobs: dict[str, Job] = {}
    for study, view in studies:
        best = view.best()
        if best is None or (view.attr(TESTED) or {}).get("trial") == best.number:
            continue
        base = replace(job_of(study), purpose="retrain")

        folder = study_folder(study)

        def key_of(
            text: str, number: int | None = None, base: Job = base, folder: Path = folder
        ) -> str:
            key = f"{base.seed}:{text}"
            if key not in jobs:
                label = "test-default" if number is None else f"test-{number}"
                files = TrialFiles.new(folder, label)
                jobs[key] = replace(base, params=json.loads(text), number=number, files=files)
            return key

        own = key_of(configuration(view.meta, best.params), best.number)
        missing.append((view, best, own, key_of(json.dumps(default, sort_keys=True))))
    from hpo.tune.pool import train_all  # imports Ray, which must be set up before

    found: dict[str, Metrics] = {}
    problems = []
    on_done(0, len(jobs))
    for done, (index, result) in enumerate(train_all(list(jobs.values()), resources), start=1):
        key = list(jobs)[index]
        if result.error is None:
            # JSON has no NaN.
            found[key] = {k: v for k, v in result.test.items() if math.isfinite(v)}
        else:
            problems.append(f"test of {key.partition(':')[2]}: {result.error}")
        on_done(done, len(jobs))
    for view, best, own, reference in missing:
        if own in found:
            tested = {"trial": best.number, "test": found[own], "default": found.get(reference)}
            view.study.set_user_attr(TESTED, tested)
    return problems
