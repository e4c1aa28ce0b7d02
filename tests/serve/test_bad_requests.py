"""Requests that are wrong, large, slow or hostile: one clear line, and the server lives."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path
from typing import Any

import pytest

from hpo.inference.pictures import png_of
from tests.artifacts import data_of
from tests.serve.conftest import Running

pytestmark = [pytest.mark.ray, pytest.mark.slow]
JSON = "application/json"
CNN, RNN = "/v1/models/cnn/predict", "/v1/models/rnn/predict"


def png() -> bytes:
    return png_of(data_of("cnn").val[0][0].numpy())


def bomb() -> bytes:
    """A PNG of 60,000 x 60,000 pixels in 1 MB."""
    import struct

    def chunk(kind: bytes, content: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + crc

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes(60_001) * 5_000, 9)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


def images(value: Any) -> str:
    return json.dumps({"image": value})


CASES: dict[str, tuple[str, Any, str, int, str]] = {
    "wrong shape": (CNN, images([[[0.0] * 27] * 28]), JSON, 422, "has the shape [1, 28, 27]"),
    "ragged": (CNN, images([[[0.0] * 28] * 27 + [[0.0]]]), JSON, 422, "is ragged"),
    "NaN": (CNN, images([[[0.0] * 28] * 28]).replace("0.0", "NaN", 1), JSON, 400, "is no JSON"),
    "overflow": (CNN, images([[[1e300] * 28] * 28]), JSON, 422, "infinity"),
    "no finite answer": (CNN, images([[[3e38] * 28] * 28]), JSON, 422, "no finite answer"),
    "truncated PNG": (CNN, png()[:200], "image/png", 422, "cannot be decoded"),
    "no image": (CNN, b"hello", "image/png", 422, "no format that is known"),
    "zip bomb": (CNN, bomb(), "image/png", 422, "50 million"),
    "empty image": (CNN, b"", "image/png", 422, "is empty"),
    "no base64": (CNN, images("@@@"), JSON, 422, "no base64"),
    "wrong type": (CNN, png(), "text/plain", 415, "must be application/json"),
    "an image for texts": (RNN, png(), "image/png", 415, "takes no image"),
    "1 MB of text": (RNN, json.dumps({"text": "漢" * 350_000}), JSON, 422, "may have 100000"),
    "half a character": (RNN, '{"text": "\\ud800"}', JSON, 400, "is no JSON"),
    "no text": (RNN, '{"text": 5}', JSON, 422, "must be a text"),
    "other fields": (RNN, '{"txet": "a"}', JSON, 422, "must have text"),
    "broken JSON": (RNN, '{"text": ', JSON, 400, "is no JSON"),
    "bytes": (RNN, b"\xff\xfe", JSON, 400, "is no JSON"),
    "deep nesting": (RNN, "[" * 100_000, JSON, 400, "is no JSON"),
    "no items": (RNN, '{"inputs": []}', JSON, 400, "must be one item"),
    "many items": (RNN, json.dumps({"inputs": [{"text": "a"}] * 1025}), JSON, 413, "may be 1024"),
    "a number": (RNN, "5", JSON, 400, "must be one item"),
    "an empty form": (CNN, b"--x--\r\n", "multipart/form-data; boundary=x", 400, "no file"),
    "a broken form": (CNN, b"nothing", "multipart/form-data; boundary=x", 400, ""),
    "a form without end": (CNN, b"nothing", "multipart/form-data", 400, ""),
}


@pytest.mark.parametrize("case", CASES)
def test_a_wrong_request_gets_one_clear_line(running: Running, case: str) -> None:
    path, body, kind, status, line = CASES[case]
    found, text = running.request("POST", path, body, kind)
    error = json.loads(text)["error"]
    assert found == status and line in error and "\n" not in error, (found, error)
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", CNN, 405),
        ("PUT", "/v1/models", 405),
        ("POST", "/v1/models/none/predict", 404),
        ("GET", "/v1/models/%2e%2e%2fetc", 404),
        ("GET", "/nothing", 404),
        ("POST", "/v1/models//predict", 404),
    ],
)
def test_other_addresses_and_methods_are_refused(
    running: Running, method: str, path: str, status: int
) -> None:
    found, text = running.request(method, path)
    assert found == status and json.loads(text)["error"]


@pytest.mark.parametrize(
    "headers", [{"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Host": "[x"}]
)
def test_a_page_elsewhere_cannot_ask_through_a_browser(
    running: Running, headers: dict[str, str]
) -> None:
    status, text = running.request("GET", "/v1/models", None, JSON, **headers)
    assert status in (400, 403) and b"cnn" not in text


def memory_of(running: Running) -> int:
    """Bytes that the replicas hold."""
    total = 0
    for pid in running.replicas():
        status = Path(f"/proc/{pid}/status").read_text()
        total += int(status.partition("VmRSS:")[2].split()[0]) * 1024
    return total


def test_heavy_bodies_of_one_client_leave_the_others_answered(running: Running) -> None:
    """Both replicas are busy for seconds with what is no input at all."""
    body = b'{"image": [' + b"[]," * 4_000_000 + b"[]]}"
    heavy: list[int] = []
    senders = [
        threading.Thread(target=lambda: heavy.append(running.request("POST", CNN, body)[0]))
        for _ in range(4)
    ]
    for sender in senders:
        sender.start()
    light = []
    while any(sender.is_alive() for sender in senders):
        light.append(running.request("POST", RNN, '{"text": "Smith"}')[0])
    assert heavy == [422] * 4 and set(light) == {200}


def test_a_compressed_body_is_refused_as_such(running: Running) -> None:
    found = running.request("POST", RNN, b"x", JSON, **{"Content-Encoding": "gzip"})
    assert found[0] == 415 and b"content-encoding" in found[1]


def test_large_bodies_leave_no_memory_behind(running: Running) -> None:
    for _ in range(3):
        running.request("POST", CNN, images([[[0.5] * 28] * 28]), JSON)
    before = memory_of(running)
    for _ in range(5):
        assert _sent(running, 100 * 2**20) == 413
        assert running.request("POST", CNN, bomb(), "image/png")[0] == 422
        assert running.request("POST", RNN, json.dumps({"text": "漢" * 350_000}), JSON)[0] == 422
    assert memory_of(running) - before < 64 * 2**20
    assert running.request("GET", "/readyz")[0] == 200


def _sent(running: Running, n_bytes: int) -> int:
    """The status for a body of so many bytes, of which the server need not take more than some."""
    with socket.create_connection(("127.0.0.1", running.port), timeout=20) as connection:
        head = f"POST {CNN} HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
        connection.sendall(f"{head}Content-Length: {n_bytes}\r\n\r\n".encode())
        try:
            for _ in range(n_bytes // 2**16):
                connection.sendall(bytes(2**16))
        except OSError:
            pass  # it has answered and closed
        return int(connection.recv(64).split()[1])


def test_chunks_beyond_the_limit_are_refused_as_they_come(running: Running) -> None:
    with socket.create_connection(("127.0.0.1", running.port), timeout=20) as connection:
        head = f"POST {CNN} HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
        connection.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        try:
            for _ in range(40):
                connection.sendall(b"100000\r\n" + bytes(0x100000) + b"\r\n")
        except OSError:
            pass
        assert connection.recv(64).split()[1] == b"413"


def test_a_slow_client_is_not_waited_for_for_ever(running: Running) -> None:
    with socket.create_connection(("127.0.0.1", running.port), timeout=30) as slow:
        begun = time.monotonic()
        slow.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\n")
        assert running.request("GET", "/readyz")[0] == 200
        assert b"408" in slow.recv(64)
        assert time.monotonic() - begun < 15


def test_an_answer_says_nothing_of_the_server(running: Running) -> None:
    with socket.create_connection(("127.0.0.1", running.port), timeout=20) as connection:
        connection.sendall(
            b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        answer = b"".join(iter(lambda: connection.recv(65_536), b"")).lower()
    head = answer.partition(b"\r\n\r\n")[0]
    assert b"server:" not in head and b"uvicorn" not in head
    assert b"x-content-type-options: nosniff" in head
    assert str(running.bundles["cnn"]).encode() not in answer


def test_the_description_is_kept_under_random_requests(running: Running, tmp_path: Path) -> None:
    command = [
        *(str(Path(sys.executable).parent / "schemathesis"), "run"),
        f"http://127.0.0.1:{running.port}/openapi.json",
        *("--checks", "not_a_server_error", "--max-examples", "30", "--seed", "0"),
        *("--phases", "examples,coverage,fuzzing", "--no-color"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=240)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert running.request("GET", "/readyz")[0] == 200
