"""Measurements take turns with trainings."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path
from typing import Any

from hpo.training.quiet import Quiet


def _train(folder: Path, begun: Any, log: Any) -> None:
    """Epochs of 20 ms with no pause between them."""
    turns = Quiet(folder=folder)
    while not begun.is_set():
        with turns.working():
            started = time.monotonic()
            time.sleep(0.02)
            log.append((started, time.monotonic()))


def test_nothing_is_trained_while_time_is_measured(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    with spawn.Manager() as manager:
        over, log = manager.Event(), manager.list()
        trainings = [spawn.Process(target=_train, args=(tmp_path, over, log)) for _ in range(2)]
        for training in trainings:
            training.start()
        try:
            while len(log) < 10:
                time.sleep(0.01)
            measured = []
            for _ in range(3):  # two trainings that never pause do not starve a measurement
                with Quiet(folder=tmp_path).alone() as is_alone:
                    measured.append((time.monotonic(), is_alone))
                    time.sleep(0.1)
                    measured.append((time.monotonic(), is_alone))
        finally:
            over.set()
            for training in trainings:
                training.join()
        epochs = list(log)
    assert all(is_alone for _, is_alone in measured)
    for (begin, _), (end, _) in zip(measured[::2], measured[1::2], strict=True):
        assert not [one for one in epochs if one[0] < end and one[1] > begin]
    assert epochs[-1][1] > measured[-1][0]  # and they go on afterwards


def test_nobody_waits_for_ever_and_who_measures_nothing_never(
    tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr("hpo.training.quiet.PATIENCE_S", 0.05)
    with Quiet(folder=tmp_path).alone() as first:
        with Quiet(folder=tmp_path).alone() as second:
            assert first and not second
        with Quiet(folder=tmp_path).working():
            pass
    with Quiet(needed=False, folder=tmp_path / "none").alone(), Quiet(needed=False).working():
        assert not (tmp_path / "none").exists()
