"""The worker's side of a trial, without Ray: what it reports, whatever the user's code does."""

from __future__ import annotations

import gc
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from hpo.registry import find_model, load_model
from hpo.training.session import Job
from hpo.tune import leftovers, upkeep
from hpo.tune.leftovers import Leftovers
from hpo.tune.limits import Limits
from hpo.tune.report import REPORT, one_line
from hpo.tune.trainable import TrialWorker

HEAD = """
import os, signal, sys, threading, time
import torch
from hpo import Classifier, Data, Float, Space, tunable
SPACE = Space(x=Float(0.0, 1.0), lr=Float(1e-3, 1e-1, log=True))

class Net(Classifier):
    space = SPACE

    def data(self, seed):
        x = torch.randn(30, 4, generator=torch.Generator().manual_seed(seed))
        part = (x, (x[:, 0] > 0).long())
        return Data("noise", part, part, part, {})

    def build(self, params, data):
        return torch.nn.Linear(4, 2)

@tunable(SPACE, "score")
def good(trial):
    trial.report(score=trial.params["x"])

"""


def job_of(folder: Path, name: str, body: str = "", **params: Any) -> Job:
    (folder / "mine.py").write_text(HEAD + body)
    ref = find_model(f"{folder}/mine.py:{name}")
    return Job(ref, {"x": 0.5, "lr": 0.01, **params}, "own", seed=0, epochs=2)


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrialWorker:
    monkeypatch.chdir(tmp_path)
    worker: TrialWorker = object.__new__(TrialWorker)
    return worker


def config_of(job: Job) -> dict[str, Any]:
    return {"job": job, "folder": "", "limits": Limits()}


def ended(worker: TrialWorker, job: Job) -> dict[str, Any]:
    """The last report of a trial."""
    worker.setup(config_of(job))
    while not (result := worker.step())["done"]:
        pass
    report: dict[str, Any] = json.loads(result[REPORT])
    return report


EXITS = {
    "import": 'sys.exit("at import")',
    "build": """
class Exits(Net):
    def build(self, params, data):
        sys.exit(3)
""",
    "data": """
class Exits(Net):
    def data(self, seed):
        raise KeyboardInterrupt
""",
    "evaluate": """
class Exits(Net):
    def evaluate(self, net, batches, params):
        raise GeneratorExit("odd")
""",
    "function": """
@tunable(SPACE, "score")
def Exits(trial):
    trial.report(score=1)
    sys.exit(3)
""",
}


@pytest.mark.parametrize(
    "where, error",
    [
        ("build", "SystemExit: 3"),
        ("data", "KeyboardInterrupt"),
        ("evaluate", "GeneratorExit: odd"),
        ("function", "SystemExit: 3"),
    ],
)
def test_an_exit_in_a_trial_is_recorded_at_once(
    worker: TrialWorker, tmp_path: Path, where: str, error: str
) -> None:
    report = ended(worker, job_of(tmp_path, "Exits", EXITS[where]))
    place, _, said = report["error"].partition(": ")
    assert (said, report["kind"]) == (error, "error")
    assert "mine.py:" in place
    assert "mine.py" in report["traceback"]
    worker.cleanup()


def test_an_exit_at_import_is_recorded_at_once(worker: TrialWorker, tmp_path: Path) -> None:
    report = ended(worker, job_of(tmp_path, "good", EXITS["import"]))
    assert "at import" in report["error"]


def test_a_terminated_worker_ends(worker: TrialWorker, tmp_path: Path) -> None:
    """Ray's handler of SIGTERM raises an exit too: that is no failure of the trial."""
    from ray._raylet import raise_sys_exit_with_custom_error_message

    def terminate(number: int, frame: object) -> None:
        raise_sys_exit_with_custom_error_message("The process receives a SIGTERM.", exit_code=1)

    body = """
@tunable(SPACE, "score")
def killed(trial):
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(5)
"""
    before = signal.signal(signal.SIGTERM, terminate)
    try:
        worker.setup(config_of(job_of(tmp_path, "killed", body)))
        with pytest.raises(SystemExit):
            worker.step()
    finally:
        signal.signal(signal.SIGTERM, before)


def test_an_error_without_words_is_its_name() -> None:
    assert one_line(KeyboardInterrupt()) == "KeyboardInterrupt"
    assert one_line(SystemExit(3)) == "SystemExit: 3"


def reports(worker: TrialWorker, *jobs: Job) -> list[dict[str, Any]]:
    """Last reports of trials one after another in a warm worker; all of them may stay in it."""
    worker.setup(config_of(jobs[0]))
    found = []
    for index, job in enumerate(jobs):
        if index:
            assert worker.reset_config(config_of(job)), worker.worn
        while not (result := worker.step())["done"]:
            pass
        found.append(json.loads(result[REPORT]))
    worker.cleanup()
    assert worker.worn is None
    return found


SETTINGS = """
import asyncio, builtins, decimal, gc, locale, logging, multiprocessing, resource, warnings
import numpy

def seen():
    return {
        "cwd": os.getcwd(), "flag": os.environ.get("MY_FLAG"), "home": os.environ.get("HOME"),
        "path": list(sys.path), "argv": list(sys.argv), "umask": os.umask(0o022),
        "recursion": sys.getrecursionlimit(), "out": sys.stdout is sys.__stdout__,
        "print": builtins.print is PRINT, "json": sys.modules["json"].__name__,
        "files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "gc": gc.isenabled(), "locale": locale.setlocale(locale.LC_ALL),
        "filters": len(warnings.filters), "root": len(logging.root.handlers),
        "level": logging.root.level, "mine": len(logging.getLogger("mine.log").handlers),
        "usr1": str(signal.getsignal(signal.SIGUSR1)), "alarm": signal.getitimer(0)[0] > 500,
        "mask": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
        "start": multiprocessing.get_start_method(allow_none=True),
        "decimal": decimal.getcontext().prec, "numpy": numpy.geterr()["divide"],
        "cores": sorted(os.sched_getaffinity(0)),
        "dtype": str(torch.get_default_dtype()), "device": str(torch.get_default_device()),
        "threads": torch.get_num_threads(), "grad": torch.is_grad_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "benchmark": torch.backends.cudnn.benchmark,
        "mkldnn": torch.backends.mkldnn.enabled, "anomaly": torch.is_anomaly_enabled(),
        "matmul": torch.get_float32_matmul_precision(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "denormal": float(torch.tensor([1e-323], dtype=torch.float64) * 1) == 0,
        "hooks": len(torch.nn.modules.module._global_forward_hooks),
        "group": torch.distributed.is_initialized(), "random": float(torch.rand(1)),
    }

PRINT = print
SEEN = []

def change(trial):
    os.chdir("/")
    os.environ["MY_FLAG"] = "1"
    del os.environ["HOME"]
    sys.path.insert(0, "/nowhere"); sys.argv.append("--more")
    os.umask(0o077)
    sys.setrecursionlimit(5000)
    sys.stdout = open(os.devnull, "w")
    builtins.print = lambda *a: None
    sys.modules["json"] = sys.modules["math"]
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    gc.disable()
    locale.setlocale(locale.LC_ALL, "C.UTF-8")
    warnings.simplefilter("error")
    logging.basicConfig(level=logging.DEBUG, force=True)
    logging.getLogger("mine.log").addHandler(logging.FileHandler(os.devnull))
    signal.signal(signal.SIGUSR1, lambda *a: None)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    multiprocessing.set_start_method("spawn", force=True)
    decimal.getcontext().prec = 5
    numpy.seterr(all="raise")
    os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
    torch.set_default_dtype(torch.float64); torch.set_default_device("meta")
    torch.set_num_threads(3)
    torch.set_grad_enabled(False)
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = True
    torch.backends.mkldnn.enabled = False
    torch.autograd.set_detect_anomaly(True)
    torch.set_float32_matmul_precision("medium")
    torch.set_autocast_enabled("cpu", True)
    torch.set_flush_denormal(True)
    torch.nn.modules.module.register_module_forward_hook(lambda *a: None)
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    asyncio.run(asyncio.sleep(0))

@tunable(SPACE, "score")
def function(trial):
    SEEN.append(seen())
    asyncio.get_event_loop()
    change(trial)
    trial.report(score=1.0)

class Changing(Net):
    def build(self, params, data):
        SEEN.append(seen())
        change(None)
        torch.set_default_device("cpu"); torch.set_grad_enabled(True)
        torch.distributed.destroy_process_group()
        sys.modules.pop("json")
        return torch.nn.Linear(4, 2, dtype=torch.float32)
"""


@pytest.mark.parametrize("name", ["function", "Changing"])
def test_what_a_trial_sets_for_its_process_is_set_back(
    worker: TrialWorker, tmp_path: Path, name: str
) -> None:
    job = job_of(tmp_path, name, SETTINGS)
    first, second, third = reports(worker, job, job, job)
    assert "error" not in first, first["traceback"]
    assert first["best"] == second["best"] == third["best"]
    one, two, three = seen(job)[-3:]
    assert one == two == three
    assert one["dtype"] == "torch.float32" and one["flag"] is None


def seen(job: Job) -> list[dict[str, Any]]:
    model: Any = load_model(job.ref)
    code = model.function if hasattr(model, "function") else type(model).build
    found: list[dict[str, Any]] = code.__globals__["SEEN"]
    return found


def test_what_a_model_sets_at_import_stays(worker: TrialWorker, tmp_path: Path) -> None:
    body = """
os.environ["AT_IMPORT"] = "1"

@tunable(SPACE, "score")
def asks(trial):
    trial.report(score=float(os.environ.get("AT_IMPORT", 0)))
"""
    job = job_of(tmp_path, "asks", body)
    try:
        found = reports(worker, job, job)
    finally:
        os.environ.pop("AT_IMPORT", None)
    assert [report["best"] for report in found] == [{"score": 1.0}] * 2


def test_a_users_parser_sees_no_arguments(worker: TrialWorker, tmp_path: Path) -> None:
    body = """
import argparse
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.25)
ARGS = parser.parse_args()

@tunable(SPACE, "score")
def parses(trial):
    trial.report(score=parser.parse_args().lr)
"""
    (report,) = reports(worker, job_of(tmp_path, "parses", body))
    assert report["best"] == {"score": 0.25}


LEFT = {
    "thread": "threading.Thread(target=time.sleep, args=(5,), daemon=True).start()",
    "process": "subprocess.Popen(['sleep', '30'])",
    "orphan": "subprocess.run('sleep 31 & true', shell=True)",
    "its own session": "subprocess.Popen(['sleep', '32'], start_new_session=True)",
    "open file": "KEPT.append(open(os.path.join(os.path.dirname(__file__), 'log'), 'w'))",
    "many files": "KEPT.extend(open(__file__) for _ in range(100))",
    "memory": "KEPT.append(torch.ones(20_000_000))",
}


@pytest.mark.parametrize("what", LEFT)
def test_a_worker_in_which_something_is_left_is_replaced(
    worker: TrialWorker, tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gc.collect()  # what earlier tests left may not be given back in the midst of this one
    leftovers._give_back()
    monkeypatch.setattr(Leftovers, "_memory_at_first", None)
    monkeypatch.setattr("hpo.tune.upkeep._LEAST", 2**25)
    monkeypatch.setattr("hpo.tune.upkeep._SHARE_OF_ALL", 2**40)
    body = f"""
import subprocess
KEPT = []

@tunable(SPACE, "score")
def leaves(trial):
    {LEFT[what]}
    trial.report(score=0.0)
"""
    good = config_of(job_of(tmp_path, "good", body))
    worker.setup(good)
    while not worker.step()["done"]:
        pass
    assert worker.reset_config(config_of(job_of(tmp_path, "leaves", body)))
    while not worker.step()["done"]:
        pass
    assert not worker.reset_config(good)
    assert worker.worn is not None and worker.worn.startswith("it keeps")
    assert not [pid for pid in leftovers._descendants() if b"sleep\0003" in _command(pid)]


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_a_worker_that_ran_out_of_memory_is_replaced(worker: TrialWorker, tmp_path: Path) -> None:
    body = """
@tunable(SPACE, "score")
def greedy(trial):
    raise MemoryError
"""
    report = ended(worker, job_of(tmp_path, "greedy", body))
    assert report["kind"] == "oom"
    assert not worker.reset_config(config_of(job_of(tmp_path, "good", body)))


def test_garbage_is_no_leftover(worker: TrialWorker, tmp_path: Path) -> None:
    body = """
@tunable(SPACE, "score")
def cycle(trial):
    kept = [open(os.path.join(os.path.dirname(__file__), "log"), "w"), torch.ones(20_000_000)]
    kept.append(kept)
    with __import__("multiprocessing").get_context("fork").Pool(2) as pool:
        total = sum(pool.map(abs, range(5)))
    trial.report(score=total)
"""
    job = job_of(tmp_path, "cycle", body)
    assert [report["best"] for report in reports(worker, job, job, job)] == [{"score": 10.0}] * 3


def test_forked_children_end_by_sigterm(worker: TrialWorker, tmp_path: Path) -> None:
    body = """
@tunable(SPACE, "score")
def forks(trial):
    pid = os.fork()
    if pid == 0:
        time.sleep(30)
    os.kill(pid, signal.SIGTERM)
    trial.report(score=os.waitpid(pid, 0)[1])
"""
    before = signal.signal(signal.SIGTERM, lambda number, frame: signal.pause())
    upkeep._settle.cache_clear()
    try:
        (report,) = reports(worker, job_of(tmp_path, "forks", body))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert report["best"] == {"score": signal.SIGTERM}
