"""What makes two runs the same study: stored with the study, compared when it is reopened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from hpo.errors import SpecError
from hpo.space import Space
from hpo.space_change import changes

if TYPE_CHECKING:
    from optuna import Study

META = "hpo"
"""Study attribute that holds the StudyMeta."""


@dataclass(frozen=True)
class StudyMeta:
    """What makes two runs the same study; written at its creation.

    `seed` and `settings` (sampler, precision, ...) may change from run to run, the rest may not;
    neither may `settings["fixed"]`, the parameters taken out of the space.
    """

    model: str
    metric: str
    direction: Literal["maximize", "minimize"]
    space: Space
    data: str
    epochs: int
    seed: int
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def sign(self) -> int:
        """1 if the metric is maximised, else -1."""
        return 1 if self.direction == "maximize" else -1

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {**asdict(replace(self, space=Space())), "space": self.space.to_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> StudyMeta:
        """The inverse of `to_json`."""
        return cls(**{**data, "space": Space.from_json(data["space"])})

    def problems_from(self, old: StudyMeta, name: str) -> list[str]:
        """Why this can't continue the study `name` that was begun as `old`; a line each."""
        lines = [
            f"{what} was {before!r}, is {after!r}"
            for what, before, after in (
                ("model", old.model, self.model),
                ("metric", old.metric, self.metric),
                ("direction", old.direction, self.direction),
                ("data", old.data, self.data),
                ("epochs", old.epochs, self.epochs),
                ("fixed parameters", old.settings.get("fixed"), self.settings.get("fixed")),
            )
            if before != after
        ]
        lines += [f"space: {line}" for line in changes(old.space, self.space)[0]]
        return [f"study {name!r}: {line}: give --name another" for line in lines]


def meta_of(study: Study) -> StudyMeta:
    """What the study was begun as.

    Raises:
        SpecError: it is not one of this service.
    """
    stored = study.user_attrs.get(META)
    try:
        return StudyMeta.from_json(stored or {})
    except (TypeError, KeyError, AttributeError, ValueError):
        raise SpecError(
            f"study: {study.study_name!r} was not made by `hpo run`: choose another name"
        ) from None
