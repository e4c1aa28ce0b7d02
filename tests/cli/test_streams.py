"""Standard output is the answer's alone, and no stream is a reason to fail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

NOISY = """
import atexit, os, sys, threading, time
print("at import")
os.write(1, b"by the system call\\n")
os.system("echo by a child process")
sys.__stdout__.write("by the first stream\\n")
atexit.register(print, "at exit")
def late():
    while True:
        print("by a thread")
        time.sleep(0.01)
threading.Thread(target=late, daemon=True).start()
from hpo import Float, Space, tunable
@tunable(Space(x=Float(0.0, 1.0)), "score")
def train(trial):
    print("in a trial")
    trial.report(score=1.0)
"""
NAMED = """
from hpo import Choice, Space, tunable
@tunable(Space(taste=Choice("süß", "\\u5473")), "score")
def train(trial):
    trial.report(score=1.0)
"""


def hpo(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hpo.cli", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
    )


def hpo_to(folder: Path, target: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """With standard output, or both streams, redirected by a shell."""
    command = f'({{ "$@"; echo $? > code; }}) {target}; exit $(cat code)'
    return subprocess.run(
        ["sh", "-c", command, "sh", sys.executable, "-m", "hpo.cli", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    "command", [("models", "show", "./m.py:train"), ("run", "--model", "./m.py:train", "--dry-run")]
)
def test_a_document_stands_alone_whatever_the_model_prints(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    (tmp_path / "m.py").write_text(NOISY)
    done = hpo(tmp_path, *command, "-f", "json")
    assert done.returncode == 0, done.stderr
    json.loads(done.stdout)
    for said in (
        "at import",
        "by the system call",
        "by a child process",
        "by the first",
        "at exit",
    ):
        assert said in done.stderr


def test_a_users_script_sees_none_of_the_commands_arguments(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text(
        "import sys\nassert len(sys.argv) == 1 and sys.argv[0].endswith('m.py'), sys.argv\n" + NAMED
    )
    done = hpo(tmp_path, "models", "show", "./m.py:train")
    assert done.returncode == 0, done.stderr


def test_text_that_the_encoding_lacks_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text(NAMED, encoding="utf-8")
    shown = ("models", "show", "./m.py:train")
    table = hpo(tmp_path, *shown, "-f", "table", PYTHONIOENCODING="ascii")
    assert table.returncode == 0 and "s\\xfc\\xdf" in table.stdout, table.stderr
    document = hpo(tmp_path, *shown, PYTHONIOENCODING="ascii")
    choices = json.loads(document.stdout)["space"]["params"]["taste"]["choices"]
    assert choices == ["süß", "\u5473"]
    refused = hpo(tmp_path, "models", "show", "./größe.py:train", PYTHONIOENCODING="ascii")
    assert refused.returncode == 2 and "gr\\xf6\\xdfe.py" in refused.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    done = hpo_to(tmp_path, "> /dev/full", "samplers", "-f", "json")
    assert done.returncode == 1
    assert done.stderr == (
        "Error: standard output: No space left on device: the answer was not written\n"
    )


@pytest.mark.parametrize("target", ["| true", ">&-", "2>&- >&-", "2> /dev/full"])
def test_a_stream_that_is_closed_is_no_failure(tmp_path: Path, target: str) -> None:
    (tmp_path / "m.py").write_text(NOISY.replace("os.write(1", "0 and os.write(1"))
    done = hpo_to(tmp_path, target, "models", "show", "./m.py:train")
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr


EXITS = {
    "sys.exit(0)": "m.py:3: SystemExit: 0: the file ends the program",
    "raise SystemExit('done')": "m.py:3: SystemExit: done: the file ends the program",
    "class Odd(BaseException): pass\nraise Odd('so')": "m.py:4: Odd: so",
    "{}['a']": "m.py:3: KeyError: 'a'",
    "import nowhere": "m.py:3: ModuleNotFoundError: No module named 'nowhere': install",
    "def f(:": "m.py:3: SyntaxError: ",
    "json.loads('{')": "m.py:3: JSONDecodeError: ",
}


@pytest.mark.parametrize("line", EXITS)
def test_whatever_ends_an_import_is_one_line_with_its_place(tmp_path: Path, line: str) -> None:
    (tmp_path / "m.py").write_text(f"import json, sys\n\n{line}\n{NAMED}", encoding="utf-8")
    done = hpo(tmp_path, "run", "--model", "./m.py:train")
    assert done.returncode == 2
    assert done.stdout == "" and len(done.stderr.splitlines()) == 1
    assert EXITS[line] in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir() if p.suffix != ".pyc") in (
        ["__pycache__", "m.py"],
        ["m.py"],
    )
