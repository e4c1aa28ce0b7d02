"""Trials that no worker has room for are waiting, not running, and the log says for what."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hpo import Float, Space
from hpo.search import make_pruner, make_sampler
from hpo.storage.attempts import WAITING
from hpo.storage.ledger import Ledger, StudyMeta
from hpo.storage.sql import open_storage
from hpo.tune.observer import Observer
from hpo.tune.waiting import WaitingRoom


class Listener(Observer):
    def __init__(self) -> None:
        self.told: list[tuple[int, str]] = []

    def trial_waits(self, number: int, reason: str) -> None:
        self.told.append((number, reason))


def test_a_trial_without_a_place_is_waiting_and_the_log_says_for_what(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("hpo"), "propagate", True)
    space = Space(x=Float(0, 1))
    ledger = Ledger.create_or_open(
        open_storage(f"sqlite:///{tmp_path / 'a.db'}", create=True),
        "s",
        StudyMeta("m", "score", "maximize", space, "d", 3, 0),
        lambda n: make_sampler("random", space, 0),
        make_pruner("none", epochs=3),
    )
    lacking = (1, "1 GPU: 0 of 2 GPUs are free")
    listener = Listener()
    room = WaitingRoom(ledger, listener, lambda: lacking, patience_s=0)
    for number in range(2):
        ledger.ask()
        room.enter(number)
    room.look()
    room.look()
    assert listener.told == [(1, lacking[1])]  # the first one has a place, and is about to start
    assert ledger.outcomes() == {"running": 1, "waiting": 1}
    room.leave(0, placed=True)
    room.leave(1, placed=True)
    assert ledger.outcomes() == {"running": 2}
    assert ledger.trial(1).user_attrs[WAITING] is None
    # Other tests of this process restore loggers, and may leave the capture there a second time.
    lines = list(dict.fromkeys(record.getMessage() for record in caplog.records))
    assert lines[0] == "trial 1 waits for 1 GPU: 0 of 2 GPUs are free"
    assert lines[1].startswith("trial 1 runs after") and len(lines) == 2


def test_a_worker_that_is_only_starting_is_not_waited_for(tmp_path: Path) -> None:
    listener = Listener()
    room = WaitingRoom(None, listener, lambda: (1, "1 CPU"))  # type: ignore[arg-type]
    room.enter(0)
    room.look()
    assert listener.told == []


SHORTAGE = """
import ray
from ray.util import placement_group
from hpo.tune.cluster import shortage
from hpo.tune.resources import Resources

ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
resources = Resources(1.0, 0.0, 1, 4, 2.0, 0.0)
groups = [placement_group([{"CPU": 1}]) for _ in range(4)]
ray.get([group.ready() for group in groups[:2]])
print(shortage(resources))
ray.shutdown()
"""


@pytest.mark.ray
@pytest.mark.slow
def test_ray_tells_how_many_trials_lack_a_place(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SHORTAGE],
        cwd=tmp_path,
        env={**os.environ, "RAY_AUTH_MODE": "disabled"},  # or Ray writes a token into the home
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.stdout.splitlines()[-1] == "(2, '1 CPU: 0 of 2 CPUs are free')", done.stderr
