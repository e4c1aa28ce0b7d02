"""A saved network evaluated, and the record of how often that was done.

ARTIFACT/evaluations.json   a line for each evaluation: when, on what, how many rows
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hpo.errors import HpoError, SpecError
from hpo.model import Model
from hpo.outcome.artifact import Artifact, load, model_of, read
from hpo.outcome.evaluate import N_RESAMPLES, Evaluation, evaluate
from hpo.outcome.rows import Rows, find_rows
from hpo.registry import MODELS
from hpo.training.session import pick_device

LOG = "evaluations.json"
_TOLERANCE = 2e-3


@dataclass(frozen=True)
class Evaluated:
    """A saved network on rows of known outcome.

    Attributes:
        times: how often it was evaluated on these rows, this time included; 0: not recorded yet.
        notes: what a reader has to know, a sentence each.
    """

    path: Path
    artifact: Artifact
    rows: Rows
    evaluation: Evaluation
    n_resamples: int
    times: int = 0

    @property
    def notes(self) -> list[str]:
        return [*self.rows.notes, *_differences(self), *self.evaluation.notes, self.honesty]

    @property
    def honesty(self) -> str:
        """What the figures may be used for."""
        if self.rows.n_seen == self.evaluation.n_rows:
            return "They are no test: for that, take the network's own test split, or new rows."
        text = (
            "The search did not see these rows; they were used once before, to test the retrained "
            "network."
            if self.rows.own
            else "These rows had no part in the search."
        )
        if self.times > 1:
            text += f" The network has now been evaluated on them {self.times} times by this."
        return (
            f"{text} Who chooses between models by this page makes them validation rows: the "
            "chosen model's figures are then partly luck."
        )


def evaluate_artifact(
    path: str | Path,
    *,
    data: str | None = None,
    part: str | None = None,
    model: str | type[Model] | Model | None = None,
    n_resamples: int = N_RESAMPLES,
) -> Evaluated:
    """Loads a saved network and its rows, and measures it.

    Args:
        path: the folder that `hpo retrain` printed.
        data, part: see `hpo.outcome.rows.find_rows`.
        model: the code of one's own model, as for `hpo.load`.
    Raises:
        SpecError: no saved network there, its own code is needed, or the data does not fit.
        HpoError: the network gives nothing that can be measured.
    """
    artifact = read(path)
    found = code_of(artifact, model, path)
    rows = find_rows(artifact, found, data, part)
    network = load(path, found, rows.trained)
    given = (rows.split, artifact.params, artifact.info)
    try:
        measured = evaluate(network.to(pick_device()), found, *given, n_resamples=n_resamples)
    except HpoError as error:
        if rows.trained is None:
            raise HpoError(
                f"{error}; perhaps it needs {artifact.data!r}, which it was trained on and which "
                "is not to be had"
            ) from None
        if not rows.unknown_classes:
            raise
        raise SpecError(
            f"data: {rows.data!r} has classes that the network does not know, and its metrics need "
            f"them: rename them to {', '.join(map(str, artifact.info.get('class_names', ())))}"
        ) from None
    return Evaluated(Path(path).expanduser().resolve(), artifact, rows, measured, n_resamples)


def code_of(artifact: Artifact, model: str | type[Model] | Model | None, path: str | Path) -> Model:
    if artifact.model in MODELS and model not in (None, artifact.model):
        raise SpecError(f"model: {model!r}: the folder holds a {artifact.model}: leave --model out")
    if artifact.model not in MODELS and model is None and not artifact.is_function:
        name = Path(artifact.model).name
        raise SpecError(
            f"model: {artifact.model!r} is code of one's own, which a saved folder never runs by "
            f"itself: add --model ./{name}"
        )
    return model_of(artifact, model, path)


def _differences(evaluated: Evaluated) -> list[str]:
    """Whether the model's metrics on its test rows are what they were after the retraining."""
    was, now = evaluated.artifact.test, evaluated.evaluation.own
    if not evaluated.rows.own or evaluated.rows.part != "test":
        return []
    parts = [
        f"{name} {now[name]:.5g} instead of {was[name]:.5g}"
        for name in was
        if name in now and not math.isclose(now[name], was[name], rel_tol=_TOLERANCE, abs_tol=1e-4)
    ]
    if not parts:
        return []
    return [
        f"Not what was recorded after the retraining: {', '.join(parts)}. Another device, "
        "precision or version of a package may do that."
    ]


def record(evaluated: Evaluated, now: datetime | None = None) -> int:
    """Notes the evaluation in the saved folder.

    Returns:
        How often the network was evaluated on these rows, this time included.
    Raises:
        OSError: the folder cannot be written.
    """
    file = evaluated.path / LOG
    entries = _entries(file)
    rows = evaluated.rows
    entry = {
        "at": (now or datetime.now(UTC)).isoformat(timespec="seconds"),
        "data": rows.data,
        "split": rows.part,
        "n_rows": evaluated.evaluation.n_rows,
    }
    entries.append(entry)
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    draft.write_text(json.dumps(entries, indent=1), encoding="utf-8")
    os.replace(draft, file)
    key = (rows.data, rows.part)
    return sum((entry.get("data"), entry.get("split")) == key for entry in entries)


def _entries(file: Path) -> list[Mapping[str, Any]]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def facts_of(evaluated: Evaluated) -> dict[str, Any]:
    """The evaluation as plain data: what `evaluation.json` holds and `-f json` prints."""
    evaluation, artifact, rows = evaluated.evaluation, evaluated.artifact, evaluated.rows
    facts: dict[str, Any] = {
        "artifact": str(evaluated.path),
        "study": artifact.study.get("name"),
        "model": artifact.model,
        "trained_on": artifact.data,
        "data": rows.data,
        "split": rows.part,
        "n_rows": evaluation.n_rows,
        "times": evaluated.times,
        "n_resamples": evaluated.n_resamples,
        "metrics": {name: asdict(measure) for name, measure in evaluation.measures.items()},
        "own_metrics": evaluation.own,
        "recorded_test": artifact.test if rows.own and rows.part == "test" else None,
        "notes": evaluated.notes,
    }
    if (found := evaluation.classified) is not None:
        facts["classes"] = found.classes
        facts["class_names"] = found.class_names
        facts["confusion"] = found.confusion.tolist()
        facts["calibration"] = {
            name: {
                "if_calibrated": asdict(found.chance[name]),
                "bins": [asdict(one) for one in bins],
            }
            for name, bins in found.bins.items()
        }
    return facts
