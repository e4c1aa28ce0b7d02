"""Trainings that other studies have carried out already, found by what determines them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from hpo.storage.meta import StudyMeta
from hpo.storage.view import StudyView

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

CACHED_FROM = "cached_from"
"""Key in a trial's `run`: "STUDY:NUMBER" whose training it repeats."""


@dataclass(frozen=True)
class Known:
    """A COMPLETE trial and the study that it was carried out in."""

    study: str
    trial: FrozenTrial

    @property
    def source(self) -> str:
        """`STUDY:NUMBER`"""
        return f"{self.study}:{self.trial.number}"


@dataclass
class KnownTrainings:
    """COMPLETE trials of studies that train alike: the same model, data, epochs, settings, seed.

    A pruned trial is none of them: how far another study would let it go is not known.
    """

    meta: StudyMeta
    found: dict[str, Known] = field(default_factory=dict)

    @classmethod
    def of(cls, storage: BaseStorage, names: Iterable[str], meta: StudyMeta) -> KnownTrainings:
        """Those of the named studies that train as `meta` does."""
        known = cls(meta)
        for name in names:
            view = StudyView.open(storage, name)
            if training_of(view.meta) != training_of(meta):
                continue
            for trial in view.trials():
                run = trial.user_attrs.get("run") or {}
                if trial.state.name == "COMPLETE" and CACHED_FROM not in run:
                    key = configuration(view.meta, trial.params)
                    known.found.setdefault(key, Known(name, trial))
        return known

    def find(self, params: Mapping[str, Any]) -> Known | None:
        """The training of this very configuration, given by its active parameters."""
        return self.found.get(configuration(self.meta, params))


def training_of(meta: StudyMeta) -> dict[str, Any]:
    """What a trial's value depends on beside its configuration."""
    chosen = ("sampler", "fixed")
    settings = {key: value for key, value in meta.settings.items() if key not in chosen}
    keys = ("metric", "direction", "data", "epochs", "seed")
    # The same code in another checkout is the same model; changed code under one path is not.
    model = (PurePath(meta.model).name, meta.code) if meta.code else meta.model
    return {**{key: getattr(meta, key) for key in keys}, "model": model, "settings": settings}


def configuration(meta: StudyMeta, params: Mapping[str, Any]) -> str:
    """Canonical text of all parameters, searched and fixed, whatever a study's own space."""
    searched = json.loads(meta.space.key(params))
    return json.dumps({**meta.settings.get("fixed", {}), **searched}, sort_keys=True)
