"""What needs no server: scaling, batches, names, promotion."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from hpo.errors import SpecError
from hpo.outcome.promotion import compare
from hpo.serve.app import App
from hpo.serve.batching import Batcher
from hpo.serve.control import ask
from hpo.serve.figures import Figures
from hpo.serve.front import Address, Front
from hpo.serve.models import Loaded, Models, check_name
from hpo.serve.scaling import DOWN_AFTER, UP_AFTER, Scaling
from hpo.serve.server import Plan, check


def test_replicas_follow_a_lasting_load_within_their_range() -> None:
    scaling, n = Scaling(1, 3), 1
    found = []
    for _ in range(4 * UP_AFTER):
        n = scaling.wanted(100, n)
        found.append(n)
    assert found[UP_AFTER - 2] == 1 and found[UP_AFTER - 1] == 2 and found[-1] == 3
    for _ in range(4 * DOWN_AFTER):
        n = scaling.wanted(0, n)
    assert n == 1


def test_a_moment_of_load_changes_nothing() -> None:
    scaling = Scaling(1, 3)
    assert [scaling.wanted(load, 1) for load in (100, 0, 100, 0, 100, 0)] == [1] * 6


class Doubling:
    """A predictor of which each answer is twice its row."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def answer(self, rows: list[int]) -> list[dict[str, Any]]:
        if 13 in rows:
            raise ValueError("unlucky")
        return [{"twice": 2 * row} for row in rows]


def test_requests_get_their_own_answers_from_shared_batches() -> None:
    sizes: list[int] = []
    batcher = Batcher(Doubling(), sizes.append)  # type: ignore[arg-type]

    async def all_at_once() -> list[Any]:
        parts = [[k, k + 1] for k in range(20, 60)]
        return await asyncio.gather(*(batcher.answer(part) for part in parts))

    answers = asyncio.run(all_at_once())
    assert answers == [[{"twice": 2 * k}, {"twice": 2 * k + 2}] for k in range(20, 60)]
    assert sum(sizes) == 80 and max(sizes) > 2


def test_a_failing_batch_fails_its_requests_and_no_other() -> None:
    batcher = Batcher(Doubling(), lambda n: None)  # type: ignore[arg-type]

    async def one_after_another() -> Any:
        with pytest.raises(ValueError, match="unlucky"):
            await batcher.answer([13])
        return await batcher.answer([1])

    assert asyncio.run(one_after_another()) == [{"twice": 2}]


@pytest.mark.parametrize("name", ["", "a/b", "-a", "ä", "x" * 65])
def test_a_name_that_cannot_stand_in_an_address_is_refused(name: str) -> None:
    with pytest.raises(SpecError, match="must be 1 to 64"):
        check_name(name)


def test_a_plan_says_what_is_wrong_with_it() -> None:
    address = Address("127.0.0.1", 0, None, 1)
    for replicas in ((0, 1), (3, 2), (1, 65)):
        with pytest.raises(SpecError, match="replicas"):
            Plan(address, replicas)
    with pytest.raises(SpecError, match="threads"):
        Plan(address, threads=0)
    with pytest.raises(SpecError, match="max_body"):
        Plan(dataclasses.replace(address, max_body=0))
    with pytest.raises(SpecError, match="name at least one"):
        check({})


def test_a_taken_port_is_told_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = Address("127.0.0.1", taken.getsockname()[1], None, 1)
        with pytest.raises(SpecError, match="cannot listen"):
            Front(address, [1], tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_name_without_an_address_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"host: 'nowhere\.invalid': no address"):
        Front(Address("nowhere.invalid", 0, None, 1), [1], tmp_path)


def test_nobody_at_a_port_is_told() -> None:
    with pytest.raises(SpecError, match="no `hpo serve` of yours"):
        ask(1, {"name": "a", "path": "b"})


def saved(folder: Path, values: list[float], **changes: Any) -> Path:
    """The facts of a saved model that was confirmed with these values."""
    folder.mkdir()
    runs = [{"seed": seed, "accuracy": value} for seed, value in enumerate(values)]
    first = {"trial": 1, "default": False, "searched": 0.9, "params": {}, "runs": runs}
    facts = {
        "model": "cnn",
        "params": {},
        "data": "digits",
        "info": {},
        "metric": "accuracy",
        "direction": "maximize",
        "trial": 1,
        "n_trials": 3,
        "searched": 0.9,
        "confirmed": [{**first, "values": values}],
        "test": {},
        "default_params": {},
        "default_test": {},
        "seeds": {},
        "study": {},
        **changes,
    }
    (folder / "model.json").write_text(json.dumps(facts))
    return folder


def test_a_new_best_is_promoted_only_if_it_is_better_beyond_noise(tmp_path: Path) -> None:
    served = saved(tmp_path / "served", [0.90, 0.91, 0.92])
    better = saved(tmp_path / "better", [0.95, 0.96, 0.975])
    noisy = saved(tmp_path / "noisy", [0.99, 0.91, 0.90])
    assert compare(better, served).promoted
    decision = compare(noisy, served)
    assert not decision.promoted and "not better beyond noise" in decision.reason
    assert not compare(served, better).promoted
    lower = {"direction": "minimize"}
    worse = saved(tmp_path / "lower", [0.5, 0.51, 0.52], **lower)
    assert compare(worse, saved(tmp_path / "higher", [0.9, 0.91, 0.925], **lower)).promoted
    assert not compare(better, saved(tmp_path / "other", [0.1, 0.1, 0.1], data="mnist")).promoted
    assert not compare(better, saved(tmp_path / "one", [0.1])).promoted


def test_a_model_that_does_not_say_its_runs_is_not_promoted(tmp_path: Path) -> None:
    served = saved(tmp_path / "served", [0.90, 0.91, 0.92])
    silent = saved(tmp_path / "silent", [0.95, 0.96, 0.975], confirmed=[{"trial": 1}])
    decision = compare(silent, served)
    assert not decision.promoted and "does not say" in decision.reason


def test_what_a_killed_replica_had_under_way_is_forgotten_and_its_counts_are_kept(
    tmp_path: Path,
) -> None:
    """Each process writes files of its own, and any of them tells of all."""
    script = """
import os, signal, sys, time
from hpo.serve.figures import Figures
figures = Figures()
figures.request("m", 200, time.perf_counter())
figures.in_flight.labels("m").inc()
if sys.argv[1:]:
    os.kill(os.getpid(), signal.SIGKILL)
print(figures.text().decode())
"""
    told = [
        subprocess.run(
            [sys.executable, "-c", script, *end],
            env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
        )
        for end in (["killed"], [])
    ]
    assert told[0].returncode == -signal.SIGKILL
    assert 'hpo_requests_in_flight{model="m"} 1.0' in told[1].stdout, told[1].stderr
    assert 'hpo_requests_total{model="m",status="200"} 2.0' in told[1].stdout


class Failing:
    """A predictor that fails on what it is asked, with the question in its error."""

    def read(self, item: Any, index: int) -> Any:
        return item

    def answer(self, rows: list[Any]) -> list[Any]:
        raise ValueError(f"cannot stand {rows}")

    def relate(self, items: list[Any], answers: list[Any]) -> list[Any]:
        return answers


def test_a_failure_is_logged_by_its_place_without_a_part_of_the_request(
    caplog: pytest.LogCaptureFixture,
) -> None:
    models = Models(lambda name, n: None, 1)
    batcher = Batcher(Failing(), lambda n: None)  # type: ignore[arg-type]
    models.by_name = {"m": Loaded("m", "", 1, batcher, False)}
    answer = TestClient(App(models, Figures()), "http://localhost").post(
        "/v1/predict", json={"text": "my secret"}
    )
    assert answer.status_code == 500 and "log" in answer.json()["error"]
    assert "ValueError" in caplog.text and "test_parts.py" in caplog.text
    assert "secret" not in caplog.text


class Slow(Failing):
    """A predictor that takes longer for a row than a request may take."""

    def answer(self, rows: list[Any]) -> list[Any]:
        time.sleep(0.3)
        return rows


def test_a_request_that_takes_too_long_is_told_to_send_less(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hpo.serve.app._ANSWER_S", 0.1)
    models = Models(lambda name, n: None, 1)
    batcher = Batcher(Slow(), lambda n: None)  # type: ignore[arg-type]
    models.by_name = {"m": Loaded("m", "", 1, batcher, False)}
    answer = TestClient(App(models, Figures()), "http://localhost").post("/v1/predict", json={})
    assert answer.status_code == 413 and "send fewer" in answer.json()["error"]
