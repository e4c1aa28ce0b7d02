"""Signals are heard from the first instant to the last, and those inherited as ignored are not."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

MODEL = """
import {imports}
from hpo import Float, Space, tunable
print("here", flush=True)
{body}
@tunable(Space(x=Float(0.0, 1.0)), "score")
def train(trial):
    trial.report(score=1.0)
"""
SLEEP = "time.sleep(60)"
SWALLOW = """
while True:
    try:
        time.sleep(60)
    except BaseException:
        pass
"""
C_CODE = "hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)"
"""Minutes of C code, in which the main thread hears nothing."""
THREAD = "threading.Thread(target=lambda: time.sleep(60)).start()"


@contextmanager
def started(
    folder: Path, body: str, *before: str, command: tuple[str, ...] = ("models", "show")
) -> Iterator[subprocess.Popen[str]]:
    """`hpo models show` of a model that has said that it is being imported."""
    (folder / "slow.py").write_text(
        MODEL.format(imports="time, hashlib, os, subprocess, sys, threading", body=body)
    )
    process = subprocess.Popen(
        [*before, sys.executable, "-m", "hpo.cli", *command, "./slow.py:train"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if line.strip() == "here":
                break
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_is_heard_while_the_model_is_imported(
    tmp_path: Path, number: signal.Signals
) -> None:
    with started(tmp_path, SLEEP) as process:
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (128 + number, "")
    assert "Interrupted.\n" in err and "Traceback" not in err


@pytest.mark.parametrize("body", [SWALLOW, C_CODE], ids=["swallowed", "C code"])
def test_sigterm_ends_an_import_that_does_not_hear_it(tmp_path: Path, body: str) -> None:
    with started(tmp_path, body) as process:
        process.send_signal(signal.SIGTERM)
        begun = time.monotonic()
        assert process.wait(timeout=20) == 128 + signal.SIGTERM
        assert time.monotonic() - begun < 12


def test_the_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    with started(tmp_path, SWALLOW) as process:
        process.send_signal(signal.SIGINT)
        time.sleep(0.6)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=3) == 128 + signal.SIGINT


def test_a_process_that_does_not_end_by_itself_still_hears(tmp_path: Path) -> None:
    with started(tmp_path, THREAD) as process:  # Python waits for the thread
        assert process.stdout is not None
        document = process.stdout.read(1)
        time.sleep(1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 128 + signal.SIGTERM
    assert document == "{"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_inherited_as_ignored_stay_ignored(tmp_path: Path, number: signal.Signals) -> None:
    ignore = f"trap '' {number.name.removeprefix('SIG')}; exec \"$@\""
    with started(tmp_path, "time.sleep(2)", "sh", "-c", ignore, "sh") as process:
        process.send_signal(number)
        out, _ = process.communicate(timeout=30)
    assert (process.returncode, out[:1]) == (0, "{")


def test_a_signal_to_a_forked_child_is_not_its_parents(tmp_path: Path) -> None:
    fork = """
child = os.fork()
if not child:
    time.sleep(60)
    os._exit(0)
time.sleep(0.5)
os.kill(child, 15)
assert os.waitpid(child, 0)[1] == 15
time.sleep(0.5)
"""
    with started(tmp_path, fork) as process:
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out[:1], err) == (0, "{", "")


def test_children_of_user_code_have_default_signals(tmp_path: Path) -> None:
    child = """
child = subprocess.Popen(["sleep", "60"])
child.terminate()
assert child.wait(10) == -15
"""
    with started(tmp_path, child) as process:
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out[:1], err) == (0, "{", "")


RAY = """
import os, signal, threading, time
from hpo.tune.stop import Stop

begin = time.monotonic()
with Stop(limit_s=100) as stop:  # a busy machine starts Ray slowly
    try:
        from hpo.tune.environment import ray_here
        send = lambda: os.kill(os.getpid(), signal.SIGTERM)
        with stop.held():
            with ray_here(1, ["json"]):
                {when}
        print("not heard")
    except KeyboardInterrupt:
        pass
print(stop.signal)
"""


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("delay_s", [0.5, 2.0])
def test_sigterm_is_heard_while_ray_starts(delay_s: float, tmp_path: Path) -> None:
    script = RAY.format(when="pass").replace(
        "        with stop.held():",
        f"        threading.Timer({delay_s}, send).start()\n        with stop.held():",
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, cwd=tmp_path
    )
    assert (done.returncode, done.stdout) == (0, "15\n"), done.stderr
