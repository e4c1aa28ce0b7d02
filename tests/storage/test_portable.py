"""A study as JSON Lines: what is written is read, exactly; what is damaged is named by its line."""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from hpo.errors import SpecError
from hpo.storage.portable import from_lines, to_lines
from hpo.storage.sql import open_storage
from hpo.storage.whole import WholeStudy, read_study, write_study
from tests.storage.test_whole import facts, made

finite = st.floats(allow_nan=False, allow_infinity=False)


def stored(floats: st.SearchStrategy[float]) -> st.SearchStrategy[float]:
    """As a column of floats gives them back: SQLite has no -0.0."""
    return floats.map(lambda x: x + 0.0)


keys = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | finite | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=5,
)
attributes = st.dictionaries(keys, plain, max_size=3)
moments = st.datetimes(datetime(1980, 1, 1), datetime(2100, 1, 1)).map(
    lambda moment: moment.replace(fold=0)  # another test has hours that come twice
)
choices = st.lists(
    st.none() | st.booleans() | st.integers(-9, 9) | finite | st.text(max_size=3), min_size=1
)


@st.composite
def params(draw: Any) -> tuple[dict[str, Any], dict[str, BaseDistribution]]:
    values: dict[str, Any] = {}
    distributions: dict[str, BaseDistribution] = {}
    for name in draw(st.sets(keys.filter(bool), max_size=3)):
        kind = draw(st.sampled_from(["float", "int", "choice"]))
        if kind == "float":
            low, high = sorted(draw(st.tuples(finite, finite)))
            distributions[name] = FloatDistribution(low, high)
            values[name] = draw(stored(st.floats(low, high)))
        elif kind == "int":
            low, high = sorted(draw(st.tuples(*[st.integers(1, 2**40)] * 2)))
            distributions[name] = IntDistribution(low, high, log=draw(st.booleans()))
            values[name] = draw(st.integers(low, high))
        else:
            distributions[name] = CategoricalDistribution(draw(choices))
            values[name] = draw(st.sampled_from(distributions[name].choices))
    return values, distributions


@st.composite
def studies(draw: Any) -> WholeStudy:
    directions = draw(st.lists(st.sampled_from(list(StudyDirection)), min_size=1, max_size=3))
    trials = []
    for number in range(draw(st.integers(0, 4))):
        state = draw(st.sampled_from([s for s in TrialState if s != TrialState.RUNNING]))
        values = None
        if state == TrialState.COMPLETE:
            n = len(directions)
            values = draw(st.lists(stored(st.floats(allow_nan=False)), min_size=n, max_size=n))
        begun, lasted = draw(moments), draw(st.timedeltas(timedelta(0), timedelta(days=9)))
        found, distributions = draw(params())
        trials.append(
            FrozenTrial(
                number=number,
                state=state,
                value=None,
                values=values,
                datetime_start=None if state == TrialState.WAITING else begun,
                datetime_complete=begun + lasted if state.is_finished() else None,
                params=found,
                distributions=distributions,
                user_attrs=draw(attributes),
                system_attrs=draw(attributes),
                intermediate_values=draw(
                    st.dictionaries(st.integers(0, 2**31 - 1), stored(st.floats()))
                ),
                trial_id=-1,
            )
        )
    user, system = draw(attributes), draw(attributes)
    return WholeStudy(draw(keys), tuple(directions), user, system, tuple(trials))


def written(study: WholeStudy, path: Path) -> Path:
    path.write_text("".join(to_lines(study)))
    return path


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Iterator[int]]:
    """A folder, a storage in it, and numbers for the names of studies."""
    folder = tmp_path_factory.mktemp("shelf")
    return folder, open_storage(f"sqlite:///{folder}/s.db", create=True), itertools.count()


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(study=studies())
def test_export_import_export_is_the_same(
    study: WholeStudy, shelf: tuple[Path, Any, Iterator[int]]
) -> None:
    folder, storage, numbers = shelf
    read = from_lines(written(study, folder / "s.jsonl"))
    assert facts(read) == facts(study)
    name = f"study {next(numbers)}"
    write_study(storage, read.named(name))
    again = read_study(storage, name)
    assert facts(_by_name(again), name=False) == facts(_by_name(study), name=False)
    assert facts(from_lines(written(again, folder / "again.jsonl"))) == facts(again)


def _by_name(study: WholeStudy) -> WholeStudy:
    """A database has no order of attributes and steps."""
    for trial in study.trials:
        trial.intermediate_values = dict(sorted(trial.intermediate_values.items()))
        trial.user_attrs = dict(sorted(trial.user_attrs.items()))
        trial._system_attrs = dict(sorted(trial._system_attrs.items()))
        trial.params = dict(sorted(trial.params.items()))
        trial.distributions = dict(sorted(trial.distributions.items()))
    return study


def test_it_comes_through_every_database(storage_url: str, tmp_path: Path) -> None:
    storage = open_storage(storage_url, create=True)
    study = made(storage, "s").ended()
    read = from_lines(written(study, tmp_path / "s.jsonl")).named("t")
    write_study(storage, read)
    assert facts(read_study(storage, "t"), name=False) == facts(study, name=False)


def test_an_hour_that_comes_twice_is_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        moment = datetime(2026, 10, 25, 2, 30)
        trials = [create_trial(value=float(fold)) for fold in (0, 1)]
        for fold, trial in enumerate(trials):
            trial.number = fold
            trial.datetime_start = trial.datetime_complete = moment.replace(fold=fold)
        study = WholeStudy("s", (StudyDirection.MINIMIZE,), {}, {}, tuple(trials))
        storage = open_storage(f"sqlite:///{tmp_path}/s.db", create=True)
        write_study(storage, from_lines(written(study, tmp_path / "s.jsonl")))
        assert facts(read_study(storage, "s")) == facts(study)
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.fixture
def lines(tmp_path: Path) -> list[str]:
    return list(to_lines(made(open_storage(f"sqlite:///{tmp_path}/a.db", create=True), "s")))


def problem(lines: list[str] | bytes, tmp_path: Path) -> str:
    file = tmp_path / "broken.jsonl"
    file.write_bytes(lines if isinstance(lines, bytes) else "".join(lines).encode())
    with pytest.raises(SpecError) as error:
        from_lines(file)
    (line,) = error.value.problems
    assert "broken.jsonl" in line and "\n" not in line
    return line


def edited(line: str, **changes: Any) -> str:
    facts = {**json.loads(line), **changes}
    facts.pop("crc32")
    return json.dumps(facts) + "\n"


def test_a_damaged_line_is_named(lines: list[str], tmp_path: Path) -> None:
    at = next(i for i, line in enumerate(lines) if "0.25" in line)
    lines[at] = lines[at].replace("0.25", "0.26", 1)
    assert f"line {at + 1}: does not match its crc32" in problem(lines, tmp_path)
    lines[at] = lines[at][: len(lines[at]) // 2] + "\n"
    assert f"line {at + 1}: is no JSON" in problem(lines, tmp_path)
    lines[at] = "[1]\n"
    assert f"line {at + 1}: is no JSON" in problem(lines, tmp_path)


def test_a_file_that_is_cut_off_is_refused_wherever_it_ends(
    lines: list[str], tmp_path: Path
) -> None:
    n = len(lines) - 1
    assert f"line {n}: the file ends after {n - 1} of {n} trials" in problem(lines[:-1], tmp_path)
    whole = "".join(lines).encode()
    for end in range(0, len(whole) - 1, 97):
        assert "line " in problem(whole[:end], tmp_path)
    assert f"holds {n + 1} of {n}" in problem([*lines, edited(lines[-1], number=n)], tmp_path)


def test_foreign_and_newer_files_are_told_apart(lines: list[str], tmp_path: Path) -> None:
    for foreign in (b"", b"a,b\n1,2\n", b'{"a": 1}\n', b"\x80\x02", b"[]"):
        assert "line 1: is no study of `hpo export-study`" in problem(foreign, tmp_path)
    newer = [edited(lines[0], version=2), *lines[1:]]
    assert "line 1: format version 2 is newer than 1: upgrade" in problem(newer, tmp_path)


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"number": 7}, "trial 7 where 0 should be"),
        ({"state": "done"}, "state: 'done'"),
        ({"values": [1.0]}, "1 for 2 directions"),
        ({"values": [math.nan, 1.0]}, "NaN"),
        ({"values": None}, "values should be set"),
        ({"complete": None}, "datetime_complete"),
        ({"start": "2026-01-01T00:00:00"}, "start: '2026-01-01T00:00:00'"),
        ({"params": {}}, "Inconsistent parameters"),
        ({"distributions": {"x": {"name": "Odd"}, "n": {}}}, "is no trial"),
        ({"intermediate": {"first": 1.0}}, "intermediate.first"),
        ({"more": 1}, "more"),
    ],
)
def test_what_is_no_trial_is_refused_with_its_line(
    changes: dict[str, Any], said: str, lines: list[str], tmp_path: Path
) -> None:
    lines[1] = edited(lines[1], **changes)
    found = problem(lines, tmp_path)
    assert "line 2: " in found and said in found


def test_a_file_that_was_laid_out_anew_or_edited_by_hand_is_taken(
    lines: list[str], tmp_path: Path
) -> None:
    facts = json.loads(lines[1])
    file = tmp_path / "s.jsonl"
    lines[1] = json.dumps(dict(sorted(facts.items())), separators=(",", ":")) + "\r\n"
    lines[2] = edited(lines[2], user_attrs={"note": "mine"})
    file.write_text("".join(lines))
    assert from_lines(file).trials[1].user_attrs == {"note": "mine"}
