"""What trials print: into logs with a beginning, an end and a bound, whatever happens."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from hpo.tune import pump
from hpo.tune.logs import LogReader
from hpo.tune.pump import HEAD_BYTES, TAIL_BYTES, Log

BEGIN = """
import os, subprocess, sys
from hpo.tune import output
output.begin({log!r})
"""


def worker(log: Path, code: str, rc: int = 0, **environment: str) -> str:
    """Runs code as a trial; what came out beside its log."""
    with tempfile.TemporaryFile("w+") as beside:
        done = subprocess.run(
            [sys.executable, "-c", BEGIN.format(log=str(log)) + code],
            stdout=beside,
            stderr=beside,
            env={**os.environ, **environment},
            timeout=60,
        )
        beside.seek(0)
        text = beside.read()
    assert done.returncode == rc, text
    return text


def text_of(log: Path, end: str) -> str:
    """A log, once its pump has written this: it is not waited for when its worker ends."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if log.is_file() and log.read_text(errors="replace").endswith(end):
            break
        time.sleep(0.05)
    return log.read_text(errors="replace")


def test_all_that_a_trial_prints_is_in_its_log(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "0.log"
    beside = worker(
        log,
        r"""
print("python")
print("error", file=sys.stderr)
os.write(1, b"c code \xff\n")
subprocess.run(["echo", "a child"])
print("\udcff is no text")
print("no end", end="")
sys.stdout.flush()
assert output.tail().endswith("no end"), output.tail()
output.end()
print("nobody's")
""",
        PYTHONIOENCODING="ascii",
    )
    assert beside == ""
    expected = "python\nerror\nc code \ufffd\na child\n\\udcff is no text\nno end"
    assert text_of(log, "no end") == expected
    assert log.stat().st_mode & 0o077 == 0


def test_a_worker_that_dies_has_said_what_it_said(tmp_path: Path) -> None:
    log = tmp_path / "0.log"
    worker(log, "print('last words'); os._exit(7)", rc=7)
    assert text_of(log, "words\n") == "last words\n"
    log = tmp_path / "1.log"
    worker(log, "import faulthandler, ctypes; faulthandler.enable(); ctypes.string_at(0)", rc=-11)
    assert "Segmentation fault" in text_of(log, 'string>", line 5 in <module>\n')


def test_each_trial_has_a_log_of_its_own(tmp_path: Path) -> None:
    first, second, third = (tmp_path / f"{n}.log" for n in range(3))
    worker(
        first,
        f"""
child = subprocess.Popen("sleep 1; echo late", shell=True)
print("first"); output.begin({str(second)!r}); output.begin({str(third)!r}); print("third")
""",
    )
    assert text_of(third, "third\n") == "third\n"
    assert text_of(first, "late\n") == "first\nlate\n"  # of a child that outlives its trial
    assert not second.exists()  # it printed nothing


def test_a_trial_that_prints_without_end_has_a_small_log(tmp_path: Path) -> None:
    log = tmp_path / "0.log"
    worker(log, "for n in range(60_000): print(n, 'x' * 200)\nprint('the end')")
    text = text_of(log, "the end\n")
    assert log.stat().st_size < HEAD_BYTES + TAIL_BYTES + 100
    assert text.startswith("0 xxx") and "bytes left out]\n" in text and "\n59999 xxx" in text


def test_a_disk_that_is_full_fails_no_trial(tmp_path: Path) -> None:
    full = tmp_path / "file"
    full.touch()
    worker(full / "logs" / "0.log", "print('x' * 10**6); print('y'); assert 'y' in output.tail()")
    log = Log(str(full / "0.log"))
    log.feed(b"one\n")
    log.flush()  # it cannot
    full.unlink()  # there is room again
    log.feed(b"two\n")
    log.flush()
    assert (full / "0.log").read_text() == "one\ntwo\n"


def test_a_pump_that_is_killed_costs_no_trial(tmp_path: Path) -> None:
    log = tmp_path / "0.log"
    worker(
        log,
        """
import signal, time
print("before"); assert output.tail(); time.sleep(1.1)
for n in range(2000):
    if n == 50:
        output._worker.process.kill()
    print(n, "x" * 200)
    sys.stderr.write("y"); sys.stderr.flush()
subprocess.run("seq 30000", shell=True, check=True)
print("after"); assert output.tail().endswith("after\\n"), output.tail()
""",
    )
    text = text_of(log, "after\n")
    assert text.startswith("before\n") and "1999 xxx" in text and "30000" in text


def test_without_a_pump_a_trial_prints_nowhere(tmp_path: Path) -> None:
    code = """
from hpo.tune import pump
pump.__file__ = "/nowhere"
output._worker.process.kill()
for n in range(2000):
    print(n, "x" * 200)
subprocess.run("seq 30000", shell=True, check=True)
assert output.tail() == ""
output.end(); output.begin({log!r}); print("y"); output.end()
"""
    assert worker(tmp_path / "0.log", code.replace("{log!r}", repr(str(tmp_path / "1.log")))) == ""


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([b"\r 1%", b"\r 2%", b"\r 3%\n", b"done\n"], " 3%\ndone\n"),
        ([b"\r 1%\r 2%"], " 2%"),
        ([b"dos\r\nunix\n"], "dos\r\nunix\n"),
        ([b"dos\r", b"\nunix\n"], "dos\r\nunix\n"),
        ([b"a\nb\rc\nd"], "a\nc\nd"),
        ([b"x" * 70_000, b"y\n"], "x" * 70_000 + "y\n"),
    ],
)
def test_of_a_progress_bar_its_last_state_is_kept(
    tmp_path: Path, parts: list[bytes], expected: str
) -> None:
    log = Log(str(tmp_path / "0.log"))
    for part in parts:
        log.feed(part)
        log.flush()
    assert (tmp_path / "0.log").read_bytes().decode() == expected


def test_a_log_that_goes_on_keeps_what_was_there(tmp_path: Path) -> None:
    for part in (b"before the pause\n", b"after it\n"):
        log = Log(str(tmp_path / "0.log"))
        log.feed(part)
        log.flush()
    assert (tmp_path / "0.log").read_text() == "before the pause\nafter it\n"


def test_all_logs_together_have_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pump, "FOLDER_BYTES", 10_000)
    import socket

    control, _other = socket.socketpair()
    pumping = pump.Pump(control)
    for number in range(6):
        receiving, sending = os.pipe()
        pumping._begin(str(tmp_path / f"{number}.log"), receiving)
        os.write(sending, b"x" * 3000 + b"\n")
        os.close(sending)
        while pumping._read(receiving):
            pass
        if number < 5:
            os.utime(tmp_path / f"{number}.log", (number, number))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["3.log", "4.log", "5.log"]
    control.close()


def test_a_log_is_followed_across_what_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    log, reader = Log(str(path)), LogReader(path)
    line = b"y" * 999 + b"\n"

    def add(data: bytes) -> str:
        log.feed(data)
        log.flush()
        return reader.read(whole_lines=True)

    assert reader.read(whole_lines=True) == ""  # there is none yet
    assert add(b"first\nhalf") == "first\n"
    assert add(b" a line\n") == "half a line\n"
    assert len(add(line * 200)) == 200_000
    seen = add(line * 1500)
    notice = f"\n[hpo: {log._n_left_out} bytes left out]\n"
    assert notice in seen and len(seen) == 1_500_000 - log._n_left_out + len(notice)
    assert add(b"last\n") == "last\n"
    assert "bytes left out" in add(line * 2000 + b"very last\n")
    assert reader.read(whole_lines=False) == ""
