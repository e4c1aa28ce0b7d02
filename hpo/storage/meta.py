"""What makes two runs the same study: stored with the study, compared when it is reopened."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Literal

from hpo.errors import SpecError
from hpo.model import Objective
from hpo.objectives import Constraint, guide_of
from hpo.reading import as_stored
from hpo.space import Space
from hpo.space_change import changes

if TYPE_CHECKING:
    from optuna import Study

META = "hpo"
"""Study attribute that holds the StudyMeta."""
SPEC = "hpo:spec"
"""Study attribute: the StudySpec of the last run without its name, so that `resume` needs only
the name that the study has now."""


@dataclass(frozen=True)
class StudyMeta:
    """What makes two runs the same study; written at its creation.

    `seed` and `settings` (sampler, precision, ...) may change from run to run, the rest may not;
    neither may `settings["fixed"]`, the parameters taken out of the space.

    Attributes:
        metric, direction: the first objective's.
        more: further objectives.
        constraints: limits that a trial must satisfy to win.
        own: the model's own objective, if it is none of the study's.
        code: digest of a user's own model file and what it imports; '' for installed models.
    """

    model: str
    metric: str
    direction: Literal["maximize", "minimize"]
    space: Space
    data: str
    epochs: int
    seed: int
    settings: dict[str, Any] = field(default_factory=dict)
    more: tuple[Objective, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    own: Objective | None = None
    code: str = ""

    def has_model_of(self, other: StudyMeta) -> bool:
        """Whether both search the same model: by name, or a file of equal content elsewhere."""
        if self.model == other.model:
            return True
        same_name = PurePath(self.model).name == PurePath(other.model).name
        return bool(self.code) and self.code == other.code and same_name

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """All of them, in the order of a trial's values."""
        return (Objective(self.metric, self.direction), *self.more)

    @property
    def several(self) -> bool:
        """Whether there is more than one objective, and so a front instead of a best trial."""
        return bool(self.more)

    @property
    def guide(self) -> Objective:
        """What is known at every epoch: curves and the pruner are of this metric."""
        first = self.objectives[0]
        return guide_of(self.objectives, self.own or first)

    @property
    def measured(self) -> tuple[str, ...]:
        """Every metric that a trial's end has to give: of objectives, then of constraints."""
        names = [one.metric for one in self.objectives] + [one.metric for one in self.constraints]
        return tuple(dict.fromkeys(names))

    @property
    def goal(self) -> str:
        """`maximize accuracy, minimize params; latency_ms<=2`."""
        goals = ", ".join(f"{one.direction} {one.metric}" for one in self.objectives)
        return "; ".join([goals, *map(str, self.constraints)])

    @property
    def sign(self) -> int:
        """1 if the first objective is maximised, else -1."""
        return 1 if self.direction == "maximize" else -1

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        plain = {**asdict(replace(self, space=Space())), "space": self.space.to_json()}
        # As it always was, where there is one objective and nothing to keep to.
        optional = ("more", "constraints", "own", "code")
        return {key: value for key, value in plain.items() if value or key not in optional}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> StudyMeta:
        """The inverse of `to_json`."""
        own = data.get("own")
        parts = {
            "space": Space.from_json(data["space"]),
            "more": tuple(Objective(**one) for one in data.get("more", ())),
            "constraints": tuple(Constraint(**one) for one in data.get("constraints", ())),
            "own": Objective(**own) if own else None,
            # Of hpo 0.1.0, which wrote no options: of pictures of the hub that is told on loading.
            "data": as_stored(data["data"], not data["data"].startswith("hf:")),
        }
        return cls(**{**data, **parts})

    def problems_from(self, old: StudyMeta, name: str) -> list[str]:
        """Why this can't continue the study `name` that was begun as `old`; a line each."""
        lines = [
            f"{what} was {before!r}, is {after!r}"
            for what, before, after in (
                ("model", old.model, old.model if self.has_model_of(old) else self.model),
                *_goals(old, self),
                ("data", old.data, self.data),
                ("epochs", old.epochs, self.epochs),
                ("fixed parameters", old.settings.get("fixed"), self.settings.get("fixed")),
            )
            if before != after
        ]
        found = [f"study {name!r}: {line}: give --name another" for line in lines]
        turned = [i for i, line in enumerate(lines) if line.startswith("direction ")]
        for i in turned if old.metric == self.metric else ():
            found[i] += f", or go on with it as it was begun: --objective {old.objectives[0]}"
        found += [
            f"study {name!r}: space: {line}: give another --name, with --warm-start {name} to "
            f"begin with its best, or continue it as it was begun: hpo resume {name}"
            for line in changes(old.space, self.space)[0]
        ]
        return found


def _goals(old: StudyMeta, new: StudyMeta) -> list[tuple[str, Any, Any]]:
    """What two studies search by."""
    pairs = [("constraints", _listed(old.constraints), _listed(new.constraints))]
    if old.several or new.several:
        goals = [_listed(f"{o.metric}:{o.direction}" for o in m.objectives) for m in (old, new)]
        return [("objectives", goals[0], goals[1]), *pairs]
    return [
        ("metric", old.metric, new.metric),
        ("direction", old.direction, new.direction),
        *pairs,
    ]


def _listed(items: Iterable[Any]) -> str:
    return ", ".join(map(str, items)) or "none"


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
