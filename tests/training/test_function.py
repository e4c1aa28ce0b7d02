"""A user's function as a session: in the main thread, reporting, stopped, exiting."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from hpo.errors import TrialError
from hpo.registry import find_model
from hpo.training import function
from hpo.training.session import Job, Session, start

HEAD = """
import asyncio, contextlib, multiprocessing, os, signal, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from hpo import Float, Space, tunable
HERE = os.path.dirname(__file__)

def note(text):
    with open(os.path.join(HERE, "notes"), "a") as file:
        file.write(f"{text}\\n")

@tunable(Space(x=Float(0.0, 1.0)), "score")
def train(trial):
"""


def session_of(folder: Path, body: str, **what: object) -> Session:
    """A session of a function with this body."""
    lines = "".join(f"    {line}\n" for line in body.strip("\n").splitlines())
    (folder / "mine.py").write_text(HEAD + lines)
    ref = find_model(f"{folder}/mine.py:train")
    return start(Job(ref, {"x": 0.5}, "own", seed=0, epochs=3), "cpu")


def scores(session: Session) -> list[float]:
    while not session.step().finished:
        pass
    return [metrics["score"] for metrics in session.history]


def notes(folder: Path) -> list[str]:
    file = folder / "notes"
    return file.read_text().splitlines() if file.exists() else []


def test_a_function_runs_in_the_main_thread(tmp_path: Path) -> None:
    body = """
assert threading.current_thread() is threading.main_thread()
before = signal.signal(signal.SIGALRM, lambda *a: note("alarm"))
trial.report(score=1.0)
signal.setitimer(signal.ITIMER_REAL, 0.01)
time.sleep(0.05)
signal.signal(signal.SIGALRM, before)
trial.report(score=2.0)
"""
    assert scores(session_of(tmp_path, body)) == [1.0, 2.0]
    assert notes(tmp_path) == ["alarm"]


def test_a_function_reports_out_of_an_event_loop(tmp_path: Path) -> None:
    body = """
async def epochs():
    for epoch in range(3):
        await asyncio.sleep(0.001)
        trial.report(score=epoch)
    await asyncio.to_thread(trial.report, score=3.0)
asyncio.run(epochs())
"""
    assert scores(session_of(tmp_path, body)) == [0.0, 1.0, 2.0, 3.0]


def test_threads_of_a_function_report_while_it_waits_for_them(tmp_path: Path) -> None:
    body = """
def fold(number):
    for epoch in range(3):
        trial.report(score=10 * number + epoch)
with ThreadPoolExecutor(2) as pool:
    list(pool.map(fold, (1, 2)))
trial.report(score=0.0)
"""
    found = scores(session_of(tmp_path, body))
    assert found[-1] == 0.0
    assert sorted(found[:-1]) == [10.0, 11.0, 12.0, 20.0, 21.0, 22.0]
    assert [n for n in found if n // 10 == 1] == [10.0, 11.0, 12.0]


def test_a_stop_is_raised_where_the_function_reports(tmp_path: Path) -> None:
    body = """
try:
    for epoch in range(100):
        with contextlib.suppress(Exception):
            trial.report(score=epoch)
finally:
    note("cleared away")
note("never")
"""
    session = session_of(tmp_path, body)
    session.step()
    session.step()
    assert session.stop()
    assert notes(tmp_path) == ["cleared away"]


def test_a_stop_reaches_a_thread_of_the_function(tmp_path: Path) -> None:
    body = """
def work():
    for epoch in range(100):
        trial.report(score=epoch)
with ThreadPoolExecutor(1) as pool:
    pool.submit(work).result()
"""
    session = session_of(tmp_path, body)
    session.step()
    session.step()
    assert session.stop()


def test_a_function_that_swallows_the_stop_is_given_up(tmp_path: Path) -> None:
    body = """
for epoch in range(10):
    try:
        trial.report(score=epoch)
    except:
        note(f"swallowed at {epoch}")
"""
    session = session_of(tmp_path, body)
    session.step()
    assert not session.stop()
    assert notes(tmp_path) == ["swallowed at 0"]


def test_a_function_that_goes_on_after_the_stop_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(function, "_LAST_S", 0.2)
    body = """
try:
    trial.report(score=1)
finally:
    time.sleep(60)
"""
    session = session_of(tmp_path, body)
    session.step()
    started = time.monotonic()
    assert not session.stop()
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("code", ["3", "'bad width'"])
def test_an_exit_of_a_function_is_its_failure(tmp_path: Path, code: str) -> None:
    session = session_of(tmp_path, f"trial.report(score=1)\nsys.exit({code})")
    session.step()
    with pytest.raises(SystemExit, match=code.strip("'")):
        session.step()


@pytest.mark.parametrize("code", ["", "0", "None"])
def test_a_function_that_exits_well_after_reports_has_finished(tmp_path: Path, code: str) -> None:
    assert scores(session_of(tmp_path, f"trial.report(score=1)\nsys.exit({code})")) == [1.0]
    with pytest.raises(SystemExit):
        session_of(tmp_path, f"sys.exit({code})").step()


def test_an_interrupt_that_a_function_raises_comes_out(tmp_path: Path) -> None:
    session = session_of(tmp_path, "trial.report(score=1)\nraise KeyboardInterrupt")
    session.step()
    with pytest.raises(KeyboardInterrupt):
        session.step()


def test_a_forked_child_neither_reports_nor_comes_back(tmp_path: Path) -> None:
    body = """
def child():
    try:
        trial.report(score=1)
    except Exception as error:
        note(error)
process = multiprocessing.get_context("fork").Process(target=child)
process.start()
process.join()
pid = os.fork()
if pid == 0:
    return
assert os.waitpid(pid, 0)[1] == 0
trial.report(score=2)
"""
    assert scores(session_of(tmp_path, body)) == [2.0]
    assert notes(tmp_path) == ["report() was called in a child process: call it in the function's"]


def test_a_function_that_reports_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrialError, match="returned without reporting 'score'"):
        session_of(tmp_path, "pass").step()
