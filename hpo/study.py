"""StudySpec: what to run.  From TOML and flags (flags win); frozen; every problem at once."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ByteSize,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from hpo.errors import SpecError
from hpo.model import Model, Objective
from hpo.objectives import FIGURES, Constraint, constraints_of, guide_of, objectives_of
from hpo.reading import size_of, size_text
from hpo.registry import ModelRef, find_model, load_model, unknown
from hpo.search import ONE_OBJECTIVE, PRUNERS, SAMPLERS
from hpo.search.choose import choose
from hpo.space import MAX_SIZE, Space
from hpo.space_change import narrow
from hpo.spelling import ready_studies, unknown_setting
from hpo.study_data import StudyData, study_data

MAX_NAME_LENGTH = 200
MAX_UNBUDGETED_GRID = 1000


def _checked_name(name: str) -> str:
    if problem := name_problem(name):
        raise ValueError(problem)
    return name


Name = Annotated[str, AfterValidator(_checked_name)]


class StudySpec(BaseModel):
    """Everything a user can say about a study.

    Field names are the keys of a study's TOML file and, with dashes, the flags of `hpo run`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)

    model: str
    name: Name | None = None
    data: str | None = None
    image_size: str | None = None
    skip_broken: bool = False
    sampler: str = "auto"
    pruner: str = "median"
    n_trials: int | None = Field(default=None, ge=1)
    total_trials: int | None = Field(default=None, ge=1)
    timeout: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    epochs: int | None = Field(default=None, ge=1)
    objectives: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    seed: int = Field(default=0, ge=0, lt=2**32)
    default_first: bool = True
    warm_start: tuple[str, ...] = ()
    set: dict[str, str] = Field(default_factory=dict)

    cpus_per_trial: float = Field(default=1, gt=0, allow_inf_nan=False)
    workers_per_trial: int = Field(default=1, ge=1)
    gpus_per_trial: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    max_concurrent: int | None = Field(default=None, ge=1)
    memory_per_trial: ByteSize | None = Field(default=None, ge=64 * 2**20)
    ray_address: str | None = None

    trial_timeout: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    max_retries: int = Field(default=3, ge=0)
    max_failures: int = Field(default=3, ge=0)
    checkpoint_every: float = Field(default=30, ge=0, allow_inf_nan=False)
    retry_failed: bool = False
    join: bool = False

    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    accumulate: int = Field(default=1, ge=1)
    grad_clip: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    patience: int | None = Field(default=None, ge=1)
    ema: float | None = Field(default=None, gt=0, lt=1)
    checkpoint_gradients: bool = False

    retrain: bool = True
    confirm_top: int = Field(default=3, ge=1)
    confirm_seeds: int = Field(default=3, ge=1)
    report: bool = True
    output: str = "hpo-runs"

    @field_validator("set", mode="before")
    @classmethod
    def _settings(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        return {str(key): _as_setting(item) for key, item in value.items()}

    @field_validator("objectives", "constraints", "warm_start", mode="before")
    @classmethod
    def _listed(cls, value: Any, info: ValidationInfo) -> Any:
        listed = (value,) if isinstance(value, str) else value
        if not isinstance(listed, list | tuple) or not all(isinstance(one, str) for one in listed):
            names = info.field_name == "warm_start"
            raise ValueError(
                "must name studies, or be 'all'" if names else "must be a list of texts"
            )
        return tuple(listed)

    @field_validator("image_size", mode="before")
    @classmethod
    def _image_size(cls, value: Any) -> Any:
        if value is None:
            return None
        try:
            return size_text(size_of(str(value)))
        except SpecError as error:
            raise ValueError(str(error).partition(f"{str(value)!r}: ")[2]) from None

    @field_validator("sampler", "pruner")
    @classmethod
    def _strategy(cls, value: str, info: ValidationInfo) -> str:
        kind = str(info.field_name)
        try:
            choose(kind, value, SAMPLERS if kind == "sampler" else PRUNERS, ())
        except SpecError as error:
            raise ValueError(str(error).partition(f"{value!r} ")[2]) from None
        return value


def _as_setting(item: Any) -> str:
    if isinstance(item, list):
        return ",".join(_as_setting(one) for one in item)
    return str(item)


def name_problem(name: str) -> str | None:
    """Why a study can't have this name, or None.  Names become folders and URLs."""
    length = len(name.encode(errors="replace"))
    if not 1 <= length <= MAX_NAME_LENGTH:
        return f"must have 1 to {MAX_NAME_LENGTH} bytes, not {length}"
    if not all(c.isprintable() for c in name):
        return "must hold printable characters only"
    if re.search(r"[/\\]", name) or name in (".", "..") or name.startswith("-"):
        return "must not hold '/' or '\\', be '.' or '..', or begin with '-': it names a folder"
    if name != name.strip():
        return "must not begin or end with a space"
    return None


def spec_from(file: Mapping[str, Any], flags: Mapping[str, Any]) -> StudySpec:
    """Joins a study's TOML with flags.

    Args:
        file: keys of a TOML file.
        flags: keys of the command line; None means not given.
    Raises:
        SpecError: with every problem, a line each.
    """
    given = {key: value for key, value in flags.items() if value is not None}
    merged = {**file, **given}
    if "set" in file and "set" in given and isinstance(file["set"], Mapping):
        merged["set"] = {**file["set"], **given["set"]}
    if "n_trials" in given and "total_trials" not in given:
        merged.pop("total_trials", None)
    if "total_trials" in given and "n_trials" not in given:
        merged.pop("n_trials", None)
    if merged.get("model") is None:
        raise SpecError("model: nothing given: name one with --model (see `hpo models`)")
    try:
        spec = StudySpec.model_validate(merged)
    except ValidationError as error:
        raise SpecError([problem_line(problem) for problem in error.errors()]) from None
    if spec.n_trials is not None and spec.total_trials is not None:
        raise SpecError(
            f"total_trials: {spec.total_trials} beside n_trials {spec.n_trials}: give one of them"
        )
    return spec


def problem_line(problem: Any) -> str:
    """One of pydantic's problems as field, value received, rule."""
    field = ".".join(str(part) for part in problem["loc"]) or "study"
    received = problem.get("input")
    if problem["type"] == "extra_forbidden":
        return unknown_setting(field, list(StudySpec.model_fields))
    message = problem["msg"].removeprefix("Value error, ")
    message = message.replace("Input should be", "must be")
    shown = repr(received)
    if len(shown) > 60:
        shown = shown[:57] + "..."
    return f"{field}: {shown}: {message[0].lower() + message[1:]}"


def read_study(name_or_path: str) -> dict[str, Any]:
    """Reads a study's TOML by the name of a ready-made study or by path.

    Raises:
        SpecError: no such study, unreadable file or bad TOML.
    """
    ready = ready_studies()
    path = ready.get(name_or_path) or Path(name_or_path).expanduser()
    if not path.is_file():
        raise SpecError(unknown("study", name_or_path, ready) + " (or the path of a TOML file)")
    try:
        with path.open("rb") as file:
            settings = tomllib.load(file)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise SpecError(f"study: {str(path)!r} cannot be read as TOML: {error}") from None
    model = settings.get("model")
    # A path in a study file is relative to that file, so that the study can be run from anywhere.
    if isinstance(model, str) and model.startswith(("./", "../")):
        settings["model"] = str(path.resolve().parent / model)
    return settings


@dataclass(frozen=True)
class ResolvedStudy:
    """A spec with everything found: the model, its narrowed space, the budget."""

    spec: StudySpec
    name: str
    ref: ModelRef
    model: Model
    space: Space
    fixed: Mapping[str, Any]
    data: str
    epochs: int
    n_trials: int | None
    timeout: float | None
    objectives: tuple[Objective, ...]
    constraints: tuple[Constraint, ...] = ()

    @property
    def guide(self) -> Objective:
        """What epochs are compared by."""
        return guide_of(self.objectives, self.model.objective)

    @property
    def several(self) -> bool:
        """Whether there is more than one objective."""
        return len(self.objectives) > 1

    @property
    def wanted(self) -> tuple[str, ...]:
        """Metrics that a trial's end has to give."""
        names = [*(one.metric for one in self.objectives), *(c.metric for c in self.constraints)]
        return tuple(dict.fromkeys(names))

    def settings(self) -> dict[str, Any]:
        """What a worker needs beside model, params and seed."""
        regularized = ("accumulate", "grad_clip", "patience", "ema")
        keys = ("precision", "checkpoint_gradients", *regularized)
        return {key: getattr(self.spec, key) for key in keys}

    def to_json(self) -> dict[str, Any]:
        """The study as plain data: `--dry-run`, the artifact, the ledger."""
        return {
            **self.spec.model_dump(exclude={"set"}),
            "name": self.name,
            "model": self.ref.name,
            "data": self.data,
            "epochs": self.epochs,
            "n_trials": self.n_trials,
            "timeout": self.timeout,
            "fixed": dict(self.fixed),
            "space": self.space.to_json(),
            "objectives": [f"{one.metric}:{one.direction}" for one in self.objectives],
            "constraints": [str(one) for one in self.constraints],
        }


def resolve(spec: StudySpec, ref: ModelRef | None = None) -> ResolvedStudy:
    """Finds the model and its data, narrows the space, sizes the budget; creates nothing.

    Args:
        ref: of a model that was given as an object; None: it is found by its name.
    Raises:
        SpecError: with every problem, a line each.
    """
    ref = ref or find_model(spec.model)
    model = load_model(ref)
    problems: list[str] = []
    space, data = model.space, StudyData("own")
    fixed: dict[str, Any] = {}
    try:
        space, fixed = narrow(model.space, spec.set)
    except SpecError as error:
        problems += error.problems
    # All three unnamed means "show me quickly": only then does the model's time limit hold.
    quick = spec.n_trials is None and spec.total_trials is None and spec.timeout is None
    try:
        budgeted = spec.epochs is not None and not quick
        data = study_data(model, spec.data, spec.image_size, spec.skip_broken, budgeted)
    except SpecError as error:
        problems += error.problems
    objectives: tuple[Objective, ...] = (model.objective,)
    constraints: tuple[Constraint, ...] = ()
    try:
        objectives, constraints, spec = _goals(spec, model)
    except SpecError as error:
        problems += error.problems
    n_trials = spec.n_trials
    if spec.sampler != "grid" and n_trials is None and spec.total_trials is None:
        n_trials = model.n_trials if quick else None
    if not problems and spec.sampler == "grid":
        problems += _grid_problems(space, spec)
    if spec.sampler == "grid" and spec.warm_start:
        problems.append(
            f"warm_start: {', '.join(spec.warm_start)!r} beside sampler 'grid', which tries every "
            "cell in any case: drop it, or choose another sampler"
        )
    if problems:
        raise SpecError(problems)
    epochs = spec.epochs or data.epochs(model)
    limit = data.timeout(model, epochs) if quick and spec.sampler != "grid" else None
    return ResolvedStudy(
        spec=spec,
        name=spec.name or default_name(ref, spec),
        ref=ref,
        model=model,
        space=space,
        fixed=fixed,
        data=data.reference,
        epochs=epochs,
        n_trials=n_trials,
        timeout=spec.timeout or limit,
        objectives=objectives,
        constraints=constraints,
    )


def _goals(
    spec: StudySpec, model: Model
) -> tuple[tuple[Objective, ...], tuple[Constraint, ...], StudySpec]:
    """What to search by, and the spec with a pruner that can go with it.

    Raises:
        SpecError: with every problem, a line each.
    """
    problems: list[str] = []
    objectives: tuple[Objective, ...] = (model.objective,)
    constraints: tuple[Constraint, ...] = ()
    try:
        objectives = objectives_of(spec.objectives, model.objective)
    except SpecError as error:
        problems += error.problems
    try:
        constraints = constraints_of(spec.constraints)
    except SpecError as error:
        problems += error.problems
    several = len(objectives) > 1
    if spec.sampler in ONE_OBJECTIVE and (several or constraints):
        what = "one objective alone" if several else "no constraints"
        problems.append(
            f"sampler: {spec.sampler!r} knows {what}: choose from "
            f"{', '.join(name for name in SAMPLERS if name not in ONE_OBJECTIVE)}"
        )
    if several and spec.warm_start:
        problems.append(
            f"warm_start: {', '.join(spec.warm_start)!r} beside several objectives: earlier "
            "studies are ranked by one value: leave it out, or search by one objective"
        )
    if spec.pruner != "none" and (several or objectives[0].metric in FIGURES):
        if "pruner" in spec.model_fields_set:
            why = "one objective" if several else f"epochs, and {objectives[0].metric} has none"
            problems.append(
                f"pruner: {spec.pruner!r} judges a trial by {why}: leave it out, or give none"
            )
        spec = spec.model_copy(update={"pruner": "none"})
    if problems:
        raise SpecError(problems)
    return objectives, constraints, spec


def default_name(ref: ModelRef, spec: StudySpec) -> str:
    """`cnn-auto`, `cnn-auto-accuracy-params`: the same command again continues the same study."""
    goals = (re.sub(r"[/\\]", "-", text.partition(":")[0].strip()) for text in spec.objectives)
    return "-".join([ref.label, spec.sampler, *goals])


def _grid_problems(space: Space, spec: StudySpec) -> list[str]:
    try:
        size = space.grid_size()
    except SpecError as error:
        return error.problems
    budget = spec.total_trials or spec.n_trials
    if budget is not None and size > budget:
        return [
            f"n_trials: {budget} is less than the grid's {size} points: "
            "raise it, or narrow the grid with --set"
        ]
    if budget is None and size > MAX_UNBUDGETED_GRID:
        return [
            f"n_trials: not given for a grid of {size} points, more than {MAX_UNBUDGETED_GRID}: "
            "narrow the grid with --set (lr=1e-3 fixes, optimizer=sgd,adamw lists), or give "
            f"{f'--n-trials {size}' if size <= MAX_SIZE else 'another --sampler'}"
        ]
    return []
