"""A study as text: JSON Lines, one for the study, then one a trial in the order of their numbers.

Line 1     format, version, name, directions, n_trials, user_attrs, system_attrs
The others number, state, values, start, complete, params, distributions, intermediate,
           user_attrs, system_attrs

Moments are UTC; distributions are Optuna's own JSON; NaN and infinity are text in values.  Each
line carries the CRC-32 of its canonical JSON (keys sorted, no spaces, without `crc32` itself), so
that a damaged line is found by its number, while a file laid out anew stays good.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from optuna.distributions import distribution_to_json, json_to_distribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from hpo.errors import SpecError
from hpo.storage.bulk import local
from hpo.storage.whole import WholeStudy
from hpo.study import problem_line

FORMAT = "hpo-study"
VERSION = 1
Key = Annotated[str, Field(max_length=512)]
Attributes = dict[Key, Any]
Step = Annotated[int, Field(ge=-(2**31), lt=2**31)]
_Line = TypeVar("_Line", bound=BaseModel)


class _Header(BaseModel):
    model_config = ConfigDict(extra="forbid")

    format: Literal["hpo-study"]
    version: Literal[1]
    name: Key
    directions: list[Literal["minimize", "maximize", "not_set"]] = Field(min_length=1)
    n_trials: int = Field(ge=0)
    user_attrs: Attributes
    system_attrs: Attributes


class _Trial(BaseModel):
    model_config = ConfigDict(extra="forbid")

    number: int
    state: Literal["running", "complete", "pruned", "fail", "waiting"]
    values: list[float] | None
    start: AwareDatetime | None
    complete: AwareDatetime | None
    params: dict[Key, Any]
    distributions: dict[Key, dict[str, Any]]
    intermediate: dict[Step, float]
    user_attrs: Attributes
    system_attrs: Attributes


def to_lines(study: WholeStudy) -> Iterator[str]:
    """The study's lines, each with its end."""
    yield _line(
        {
            "format": FORMAT,
            "version": VERSION,
            "name": study.name,
            "directions": [direction.name.lower() for direction in study.directions],
            "n_trials": len(study.trials),
            "user_attrs": dict(study.user_attrs),
            "system_attrs": dict(study.system_attrs),
        }
    )
    for trial in study.trials:
        yield _line(_plain(trial))


def _plain(trial: FrozenTrial) -> dict[str, Any]:
    return {
        "number": trial.number,
        "state": trial.state.name.lower(),
        "values": None if trial.values is None else [_number(v) for v in trial.values],
        "start": _moment(trial.datetime_start),
        "complete": _moment(trial.datetime_complete),
        "params": dict(trial.params),
        "distributions": {
            name: json.loads(distribution_to_json(d)) for name, d in trial.distributions.items()
        },
        "intermediate": {str(s): _number(v) for s, v in trial.intermediate_values.items()},
        "user_attrs": trial.user_attrs,
        "system_attrs": trial.system_attrs,
    }


def _number(value: float) -> float | str:
    """JSON has no NaN and no infinity."""
    return value if abs(value) < float("inf") else str(value)


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat()


def _line(facts: dict[str, Any]) -> str:
    return json.dumps({**facts, "crc32": _crc(facts)}) + "\n"


def _crc(facts: Mapping[str, Any]) -> str:
    canonical = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return f"{zlib.crc32(canonical.encode()):08x}"


def from_lines(path: Path) -> WholeStudy:
    """Reads what `to_lines` wrote.

    Raises:
        SpecError: no such file, or the first line that is not as it should be, by its number.
    """
    try:
        raw = path.read_bytes().splitlines()
    except OSError as error:
        raise SpecError(f"file: {str(path)!r} cannot be read: {error.strerror}") from None
    lines = _Lines(path)
    header = lines.header(raw[0] if raw else b"")
    directions = tuple(StudyDirection[name.upper()] for name in header.directions)
    trials = [lines.trial(n, line, len(directions)) for n, line in enumerate(raw[1:], start=2)]
    if len(trials) != header.n_trials:
        what = "ends after" if len(trials) < header.n_trials else "holds"
        raise lines.wrong(
            len(raw), f"the file {what} {len(trials)} of {header.n_trials} trials: copy it again"
        )
    attrs, system_attrs = header.user_attrs, header.system_attrs
    return WholeStudy(header.name, directions, attrs, system_attrs, tuple(trials))


class _Lines:
    """Reads lines; what is wrong is said with the file and the line's number."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def wrong(self, number: int, problem: str) -> SpecError:
        return SpecError(f"file: {str(self.path)!r}, line {number}: {problem}")

    def header(self, raw: bytes) -> _Header:
        facts = self._facts(1, raw, "is no study of `hpo export-study`: choose another file")
        if facts.get("format") != FORMAT:
            raise self.wrong(1, "is no study of `hpo export-study`: choose another file")
        version = facts.get("version")
        if isinstance(version, int) and version > VERSION:
            raise self.wrong(
                1, f"format version {version} is newer than {VERSION}: upgrade hpo-torch"
            )
        return self._checked(1, facts, _Header)

    def trial(self, number: int, raw: bytes, n_directions: int) -> FrozenTrial:
        facts = self._facts(
            number, raw, "is no JSON: the file is damaged or cut off: copy it again"
        )
        line = self._checked(number, facts, _Trial)
        if line.number != number - 2:
            raise self.wrong(
                number, f"trial {line.number} where {number - 2} should be: restore it"
            )
        if line.values is not None and len(line.values) != n_directions:
            raise self.wrong(
                number, f"values: {len(line.values)} for {n_directions} directions: restore them"
            )
        try:
            trial = _frozen(line)
            trial._validate()
        except Exception as error:  # Optuna's, of any kind, about what the file holds
            text = " ".join(str(error).split())[:200]
            raise self.wrong(number, f"is no trial: {text}: restore it") from None
        return trial

    def _facts(self, number: int, raw: bytes, problem: str) -> dict[str, Any]:
        try:
            facts = json.loads(raw.decode())
        except (ValueError, RecursionError):
            raise self.wrong(number, problem) from None
        if not isinstance(facts, dict):
            raise self.wrong(number, problem)
        return facts

    def _checked(self, number: int, facts: dict[str, Any], form: type[_Line]) -> _Line:
        crc = facts.pop("crc32", None)
        if crc is not None and crc != _crc(facts):
            raise self.wrong(
                number,
                "does not match its crc32: the file was damaged, copy it again; or edited, "
                "then drop this line's crc32",
            )
        try:
            return form.model_validate(facts)
        except ValidationError as error:
            raise self.wrong(number, f"{problem_line(error.errors()[0])}: restore it") from None


def _frozen(line: _Trial) -> FrozenTrial:
    distributions = {
        name: json_to_distribution(json.dumps(facts)) for name, facts in line.distributions.items()
    }
    start, complete = (
        None if moment is None else local(moment.astimezone(UTC))
        for moment in (line.start, line.complete)
    )
    return FrozenTrial(
        number=line.number,
        state=TrialState[line.state.upper()],
        value=None,
        values=line.values,
        datetime_start=start,
        datetime_complete=complete,
        params=line.params,
        distributions=distributions,
        user_attrs=line.user_attrs,
        system_attrs=line.system_attrs,
        intermediate_values=line.intermediate,
        trial_id=-1,
    )
