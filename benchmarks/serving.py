"""`hpo serve` under load, beside a bare FastAPI + torch handler.

    python benchmarks/serving.py load [--artifact FOLDER] [--seconds 8] [--rounds 3]
    python benchmarks/serving.py soak [--artifact FOLDER] [--minutes 10]

`load` sends a digit as JSON with wrk at concurrency 1, 8 and 64, in turns.  `soak` sends for that
long at concurrency 8 while the model is switched to another and back and a replica is killed, and
counts what fails.  Without --artifact the zoo's CNN is trained on digits for two epochs.
Needs wrk (apt).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
CONCURRENCY = (1, 8, 64)
_MARK = "HPO_SERVING_BENCHMARK"
HPO = [sys.executable, "-m", "hpo.cli"]


def trained(folder: Path, seed: int) -> Path:
    """An artifact of the zoo's CNN, as a run saves it."""
    name = f"cnn-{seed}"
    subprocess.run(
        [
            *(*HPO, "run", "--model", "cnn", "--n-trials", "1", "--epochs", "2", "--quiet"),
            *("--storage", str(folder / "hpo.db"), "--output", str(folder), "--no-report"),
            *("--confirm-seeds", "1", "--name", name, "--seed", str(seed)),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return folder / name / "best"


def body(folder: Path) -> Path:
    """A digit as JSON."""
    from hpo.registry import find_model, load_data, load_model

    data = load_data(load_model(find_model("cnn")), "digits", 0)
    assert data is not None
    file = folder / "digit.json"
    file.write_text(json.dumps({"image": data.val[0][0].tolist()}))
    return file


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextlib.contextmanager
def started(command: list[str], url: str) -> Iterator[subprocess.Popen[bytes]]:
    """A server in a process of its own, once it answers at the URL."""
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        for _ in range(600):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(url, timeout=2)
                break
            time.sleep(0.1)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def wrk(url: str, concurrency: int, seconds: int, file: Path) -> dict[str, float]:
    """Requests a second, milliseconds at the median and the 99th percentile, failures."""
    done = subprocess.run(
        [
            *("wrk", "-t1", f"-c{concurrency}", f"-d{seconds}s", "--latency", "--timeout", "10s"),
            *("-s", str(ROOT / "benchmarks" / "served" / "post.lua"), url),
        ],
        env={**os.environ, "BODY": str(file)},
        capture_output=True,
        text=True,
        check=True,
    )
    text = done.stdout
    units = {"us": 0.001, "ms": 1.0, "s": 1000.0}

    def at(share: str) -> float:
        found = re.search(rf"{share}%\s+([\d.]+)(us|ms|s)\b", text)
        assert found, text
        return float(found[1]) * units[found[2]]

    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    assert rate, text
    failed = sum(map(int, re.findall(r"(?:connect|read|write|timeout) (\d+)", text)))
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    failed += int(refused[1]) if refused else 0
    return {"rate": float(rate[1]), "p50": at("50"), "p99": at("99"), "failed": float(failed)}


def load(artifact: Path, folder: Path, seconds: int, rounds: int) -> None:
    """Prints a table."""
    file = body(folder)
    ours, bare = free_port(), free_port()
    serve = [*HPO, "serve", f"cnn={artifact}", "--port", str(ours), "--quiet"]
    other = [sys.executable, "-m", "benchmarks.served.bare", str(artifact), str(bare)]
    urls = {
        "hpo serve": f"http://127.0.0.1:{ours}/v1/models/cnn/predict",
        "FastAPI + torch": f"http://127.0.0.1:{bare}/predict",
    }
    print("| concurrency | server | requests a second | p50 ms | p99 ms | failed | rate, ratio |")
    print("|---|---|---|---|---|---|---|")
    ready = (f"http://127.0.0.1:{ours}/readyz", f"http://127.0.0.1:{bare}/openapi.json")
    with started(serve, ready[0]), started(other, ready[1]):
        for url in urls.values():
            wrk(url, 8, 2, file)  # warm
        for concurrency in CONCURRENCY:
            found: dict[str, list[dict[str, float]]] = {name: [] for name in urls}
            for _ in range(rounds):
                for name, url in urls.items():
                    found[name].append(wrk(url, concurrency, seconds, file))
            ratios = [
                a["rate"] / b["rate"]
                for a, b in zip(found["hpo serve"], found["FastAPI + torch"], strict=True)
            ]
            for name, runs in found.items():
                rate, p50, p99 = (
                    median(run[key] for run in runs) for key in ("rate", "p50", "p99")
                )
                failed = sum(run["failed"] for run in runs)
                spread = f"{median(ratios):.2f} [{min(ratios):.2f}, {max(ratios):.2f}]"
                ratio = spread if name == "hpo serve" else "1"
                print(
                    f"| {concurrency} | {name} | {rate:,.0f} | {p50:.2f} | {p99:.2f} | "
                    f"{failed:.0f} | {ratio} |",
                    flush=True,
                )


def soak(artifact: Path, other: Path, folder: Path, minutes: float) -> None:
    """Prints how many requests were sent and how many failed, while the model becomes another one
    and the first one again."""
    file, port = body(folder), free_port()
    serve = [*HPO, "serve", f"cnn={artifact}", "--port", str(port), "--quiet"]
    seconds, mark = int(60 * minutes), secrets.token_hex(8)
    os.environ[_MARK] = mark
    with started(serve, f"http://127.0.0.1:{port}/readyz"):
        before = replicas(mark)
        results: list[dict[str, float]] = []
        url = f"http://127.0.0.1:{port}/v1/models/cnn/predict"
        sender = threading.Thread(target=lambda: results.append(wrk(url, 8, seconds, file)))
        sender.start()
        for event in (other, "kill", artifact):
            time.sleep(seconds / 4)
            if isinstance(event, Path):
                switch = [*HPO, "switch", f"cnn={event}", "--port", str(port)]
                subprocess.run(switch, check=True)
            else:
                os.kill(before[0], signal.SIGKILL)
                print("killed a replica", flush=True)
        sender.join()
    (found,) = results
    print(f"{found['rate']:,.0f} requests a second for {seconds} s, {found['failed']:.0f} failed")


def replicas(mark: str) -> list[int]:
    """Processes of Ray Serve's replicas that have this mark in their environment."""
    found = []
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            title = Path(f"/proc/{name}/cmdline").read_bytes()
            variables = Path(f"/proc/{name}/environ").read_bytes().split(b"\0")
            if b"ServeReplica:hpo:replica" in title and f"{_MARK}={mark}".encode() in variables:
                found.append(int(name))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("command", choices=["load", "soak"])
    parser.add_argument("--artifact", type=Path)
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=10)
    given = parser.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "models")])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        artifact = (given.artifact or trained(folder, 0)).absolute()
        if given.command == "load":
            load(artifact, folder, given.seconds, given.rounds)
        else:
            soak(artifact, trained(folder, 1), folder, given.minutes)


if __name__ == "__main__":
    main()
