"""What a comparison runs: one study for each strategy and seed, alike in everything else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, Strict, ValidationError, field_validator

from hpo.errors import SpecError
from hpo.search import SAMPLERS
from hpo.search.choose import choose
from hpo.search.coarse_grid import coarse_grid
from hpo.study import (
    Name,
    ResolvedStudy,
    StudySpec,
    name_problem,
    problem_line,
    resolve,
    spec_from,
)

COMPARISON = "hpo:comparison"
"""Study attribute: {"name", "strategy", "seed"} of the comparison that it was run for."""
STRATEGIES = ("grid", "random", "tpe", "gp", "skopt")
NOT_FOR_MANY = ("name", "sampler", "total_trials", "timeout", "join", "retry_failed", "warm_start")
"""Settings of one study that a comparison decides itself."""


class CompareSpec(BaseModel):
    """What `hpo compare` takes beside a study's settings; keys of its TOML file too."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name | None = None
    samplers: tuple[str, ...] = STRATEGIES
    seeds: Annotated[int, Strict()] = Field(default=5, ge=1, le=1000)
    cache: bool = True
    test: bool = True

    @field_validator("samplers", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
            raise ValueError("must name samplers, with commas between")
        return tuple(value)

    @field_validator("samplers")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            try:
                choose("sampler", name, SAMPLERS, ())
            except SpecError as error:
                raise ValueError(str(error)) from None
        if len(set(value)) != len(value):
            raise ValueError("names a sampler twice: drop one")
        if len(value) < 2:
            raise ValueError("must name two samplers or more, with commas between")
        return value


@dataclass(frozen=True)
class Plan:
    """A comparison to run.

    Attributes:
        studies: by strategy and seed; all strategies of one seed before the next seed.
        default: the default configuration, all parameters.
        n_trials: budget of each study.
    """

    name: str
    studies: dict[tuple[str, int], ResolvedStudy]
    default: dict[str, Any]
    n_trials: int
    spec: CompareSpec

    @property
    def first(self) -> ResolvedStudy:
        """Any of the studies: what all share is read from it."""
        return next(iter(self.studies.values()))

    def to_json(self) -> dict[str, Any]:
        """As plain data: `--dry-run`."""
        return {
            "name": self.name,
            **self.spec.model_dump(exclude={"name"}),
            "model": self.first.ref.name,
            "data": self.first.data,
            "epochs": self.first.epochs,
            "pruner": self.first.spec.pruner,
            "n_trials": self.n_trials,
            "studies": [study.name for study in self.studies.values()],
            "grids": {
                study.name: {"size": study.space.grid_size(), "set": study.spec.set}
                for study in self.studies.values()
                if study.spec.sampler == "grid"
            },
        }


def plan(file: Mapping[str, Any], flags: Mapping[str, Any]) -> Plan:
    """Joins a TOML file with flags and resolves every study; creates nothing.

    Raises:
        SpecError: with every problem, a line each.
    """
    own = set(CompareSpec.model_fields)
    given = {**file, **{key: value for key, value in flags.items() if value is not None}}
    problems: list[str] = []
    compare, base = CompareSpec(), None
    try:
        compare = CompareSpec.model_validate({k: v for k, v in given.items() if k in own})
    except ValidationError as error:
        problems += [problem_line(problem) for problem in error.errors()]
    unused = {*own, *NOT_FOR_MANY}
    study_file = {key: value for key, value in file.items() if key not in unused}
    study_flags = {key: value for key, value in flags.items() if key not in own}
    try:
        base = spec_from(study_file, study_flags)
    except SpecError as error:
        problems += error.problems
    if problems or base is None:
        raise SpecError(problems)
    if len(base.objectives) > 1 or base.constraints:
        raise SpecError(
            f"{'constraints' if base.constraints else 'objectives'}: "
            f"{', '.join(base.constraints or base.objectives)}: strategies are compared by one "
            "objective, without constraints: leave the rest out"
        )
    if base.seed + compare.seeds > 2**32:
        raise SpecError(
            f"seed: {base.seed}: {compare.seeds} seeds from there on end beyond 2**32: begin lower"
        )
    whole = resolve(base.model_copy(update={"sampler": "random"}))
    n_trials = base.n_trials or whole.model.n_trials
    name = compare.name or f"compare-{whole.ref.label}"
    if problem := name_problem(f"{name}-{max(compare.samplers, key=len)}-{base.seed}"):
        raise SpecError(f"name: {name!r}: with sampler and seed {problem}")
    studies = {}
    for seed in range(base.seed, base.seed + compare.seeds):
        for sampler in compare.samplers:
            spec = _study_spec(base, whole, sampler, seed, n_trials, f"{name}-{sampler}-{seed}")
            studies[(sampler, seed)] = resolve(spec)
    default = {**whole.space.default(), **whole.fixed}
    return Plan(name, studies, default, n_trials, compare)


def _study_spec(
    base: StudySpec, whole: ResolvedStudy, sampler: str, seed: int, n_trials: int, name: str
) -> StudySpec:
    update: dict[str, Any] = {"sampler": sampler, "seed": seed, "name": name, "n_trials": n_trials}
    if sampler == "grid" and not _grid_fits(whole, n_trials):
        update["set"] = {**coarse_grid(whole.space, n_trials), **_fixed(base, whole)}
    return base.model_copy(update=update)


def _fixed(base: StudySpec, whole: ResolvedStudy) -> dict[str, str]:
    return {name: text for name, text in base.set.items() if name in whole.fixed}


def _grid_fits(whole: ResolvedStudy, n_trials: int) -> bool:
    try:
        return whole.space.grid_size() <= n_trials
    except SpecError:  # a continuous parameter without values
        return False
