"""What is told of a failed trial: the line of the user's code, and when a run gives up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hpo.errors import SpecError, TrialError
from hpo.registry import ModelRef, find_model
from hpo.storage.ledger import Ledger
from hpo.training.session import Job
from hpo.tune.bridge import FINISHED, Bridge
from hpo.tune.failure import failure_of, without_place
from hpo.tune.limits import Limits
from hpo.tune.pool import train
from hpo.tune.report import REPORT
from tests.tune.test_pausing import Nobody, opened

MINE = """import json
from hpo import Classifier, Data, Float, Space, tunable
from beside import read

@tunable(Space(x=Float(0.0, 1.0)), "score")
def key(trial):
    return {"a": 1}["b"]

@tunable(Space(x=Float(0.0, 1.0)), "score")
def library(trial):
    json.loads("{")

@tunable(Space(x=Float(0.0, 1.0)), "score")
def other_file(trial):
    read()

@tunable(Space(x=Float(0.0, 1.0)), "score")
def wrong_name(trial):
    trial.report(loss=1.0)

@tunable(Space(x=Float(0.0, 1.0)), "score")
def mute(trial):
    class Odd(Exception):
        def __str__(self):
            raise RuntimeError
    raise Odd

@tunable(Space(x=Float(0.0, 1.0)), "score")
def nothing(trial):
    pass

class Net(Classifier):
    space = Space(lr=Float(1e-3, 1e-1, log=True))

    def data(self, seed):
        raise MemoryError

    def build(self, params, data):
        pass
"""
BESIDE = "def read():\n    open('/no/such/file')\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "mine.py").write_text(MINE)
    (tmp_path / "code" / "beside.py").write_text(BESIDE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def failure(ref: ModelRef, data: str = "own", **params: Any) -> str:
    job = Job(ref, {"x": 0.5, "lr": 0.01, **params}, data, seed=0, epochs=1)
    error = train(job, str(Path.cwd())).error
    assert error is not None
    return error


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("key", "code/mine.py:7: KeyError: 'b'"),
        ("library", "code/mine.py:11: JSONDecodeError: Expecting property name"),
        ("other_file", "code/beside.py:2: FileNotFoundError: [Errno 2] No such file"),
        ("wrong_name", "code/mine.py:19: report(loss) lacks the objective 'score'"),
        ("mute", "code/mine.py:26: Odd: its message cannot be shown"),
        ("nothing", "returned without reporting 'score'"),
        ("Net", "code/mine.py:36: out of memory"),
    ],
)
def test_a_failure_names_the_innermost_line_of_the_users_code(
    folder: Path, name: str, expected: str
) -> None:
    assert failure(find_model(f"./code/mine.py:{name}")).startswith(expected)


def test_a_file_that_cannot_be_imported_names_its_line(folder: Path) -> None:
    (folder / "code" / "mine.py").write_text("import json\n1 / 0\n")
    assert failure(find_model("./code/mine.py:f")).startswith("code/mine.py:2: model: import")
    (folder / "code" / "mine.py").write_text("import json\nx = = 1\n")
    assert failure(find_model("./code/mine.py:f")).startswith("code/mine.py:2: model: import")


def test_a_node_without_the_users_disk_names_the_users_own_file(folder: Path) -> None:
    ref = find_model("./code/mine.py:key")
    (folder / "code").rename(folder / "elsewhere")
    assert failure(ref) == "code/mine.py:7: KeyError: 'b'"


def test_a_model_of_the_zoo_names_its_own_line() -> None:
    found = failure(find_model("cnn"), "digits", batch_size=32)
    assert found.startswith("hpo_models/cnn.py:"), found


def test_the_line_is_no_part_of_the_cause() -> None:
    assert without_place("a folder/b.py:3: KeyError: 'x.py:1: '") == "KeyError: 'x.py:1: '"
    assert without_place("diverged: score is nan") == "diverged: score is nan"


def test_what_diverged_fails_of_its_parameters() -> None:
    ref = ModelRef("cnn", "", "hpo_models.cnn", "CNN")
    assert failure_of(TrialError("diverged: loss is nan in epoch 1"), ref).alike is None
    assert failure_of(SpecError("data: gone"), ref).alike == "data: gone"


class Run:
    """A bridge and who executes its trials: one after another, as a worker would tell."""

    def __init__(self, folder: Path, limit: int = 3, n_trials: int = 10) -> None:
        self.ledger: Ledger = opened(f"sqlite:///{folder}/trials.db", pruner="none")
        self.bridge = Bridge(
            self.ledger,
            Job(None, {}, "d", 0, 9),  # type: ignore[arg-type]
            limits=Limits(None, None),
            n_trials=n_trials,
            max_concurrent=4,
            deadline=None,
            first=None,
            origin={},
            folder=str(folder),
            observer=Nobody(),
            max_retries=1,
            output=folder,
            max_failures=limit,
        )
        self.n = 0

    def start(self) -> str | None:
        """The next trial, or None if there is none now."""
        self.n += 1
        config = self.bridge.ask(f"t{self.n}")
        return f"t{self.n}" if isinstance(config, dict) else None

    def end(self, trial: str, error: str | None = None, place: str = "m.py:3") -> None:
        report: dict[str, Any] = {
            "epoch": 1,
            "metrics": {"score": 1.0},
            "finished": True,
            "duration_s": 1.0,
            "worker": "w",
            "device": "cpu",
            "best": {"score": 1.0},
            "best_epoch": 0,
        }
        if error is not None:
            alike = f"{place}: {error.partition(':')[0]}"
            report |= {
                "error": f"{place}: {error}",
                "kind": "error",
                "traceback": "",
                "metrics": {},
            }
            report |= {"alike": alike, "output": "printed"}
        self.bridge.end(trial, {REPORT: json.dumps(report)}, False)

    def fail(self, n: int, error: str = "KeyError: 'b'", place: str = "m.py:3") -> int:
        """How many of n trials could be started, each of which fails."""
        for i in range(n):
            if (trial := self.start()) is None:
                return i
            self.end(trial, error, place)
        return n

    @property
    def problem(self) -> str | None:
        return self.bridge.failures.problem("my study")


def test_a_run_whose_first_trials_fail_alike_stops(tmp_path: Path) -> None:
    run = Run(tmp_path)
    assert run.fail(10, "ValueError: x=0.1") == 3
    assert run.bridge.ask("next") == FINISHED
    assert run.problem is not None and len(run.problem.splitlines()) == 1
    for part in ("m.py:3: ValueError: x=0.1", "hpo trial 'my study' 2", "hpo logs 'my study' 2"):
        assert part in run.problem
    assert run.ledger.counts() == {"FAIL": 3}
    assert run.ledger.trial(2).user_attrs["output"] == "printed"
    assert Run(tmp_path).fail(10) == 3  # the count begins anew


def test_failures_of_several_causes_stop_nothing(tmp_path: Path) -> None:
    run = Run(tmp_path)
    assert run.fail(2) + run.fail(2, place="m.py:9") + run.fail(2, "TypeError: no") == 6
    assert run.problem is None


def test_a_run_goes_on_once_something_has_completed(tmp_path: Path) -> None:
    run = Run(tmp_path)
    first = run.start()
    assert first is not None
    run.end(first)
    assert run.fail(9) == 9
    assert run.problem is None


def test_what_runs_beside_the_failures_is_waited_for(tmp_path: Path) -> None:
    run = Run(tmp_path)
    slow = run.start()
    assert slow is not None
    assert run.fail(10) == 3
    assert run.bridge.ask("now") is None  # not yet over
    run.end(slow)
    assert run.start() is not None  # it works: the failures were their parameters'
    assert run.problem is None


def test_no_limit_stops_nothing(tmp_path: Path) -> None:
    run = Run(tmp_path, limit=0)
    assert run.fail(10) == 10
    assert run.problem is None


def test_configurations_that_always_end_their_worker_stop_the_run(tmp_path: Path) -> None:
    run = Run(tmp_path, limit=2)
    n = 0
    while (trial := run.start()) is not None:
        n += 1
        run.bridge.end(trial, None, True)
    assert n == 4  # two configurations, with a second attempt each
    assert run.problem is not None and "worker process died" in run.problem
