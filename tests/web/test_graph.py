"""Netron's page of a graph: on loopback, for this machine, with the graph in it."""

from __future__ import annotations

import shutil
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from hpo.errors import SpecError
from hpo.outcome.export import bundle_of
from hpo.web.graph import Served, picture, serve
from tests.artifacts import artifact


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    path = shutil.copytree(artifact("cnn"), tmp_path_factory.mktemp("cnn") / "best")
    server = serve(bundle_of(path) / "classifier.onnx")
    yield server
    server.stop()


def get(url: str, host: str | None = None) -> tuple[int, bytes, str]:
    request = urllib.request.Request(url, headers={"Host": host} if host else {})
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read(), answer.headers["Content-Security-Policy"]
    except urllib.error.HTTPError as error:
        return error.code, b"", ""


def test_the_page_may_speak_to_this_server_alone(served: Served) -> None:
    status, page, policy = get(served.url)
    assert status == 200 and b'content="data/classifier.onnx"' in page
    assert "default-src 'self'" in policy and "http" not in policy
    assert get(served.url + "data/classifier.onnx")[1][:2] == b"\x08\x0a"
    assert get(served.url + "data/classifier.onnx", host="evil.example:80")[0] == 403
    assert get(served.url + "nothing")[0] == 404
    assert get(served.url + "__pycache__/")[0] == 404


def test_a_taken_port_is_told(served: Served, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(SpecError, match="choose another, or 0"):
            serve(tmp_path / "graph.onnx", taken.getsockname()[1])


@pytest.mark.skipif(not shutil.which("chromium"), reason="no Chromium here")
def test_the_page_shows_the_graph(served: Served, tmp_path: Path) -> None:
    picture(served.url, tmp_path / "graph.png")
    image = Image.open(tmp_path / "graph.png").convert("L")
    assert image.height > image.width > 100  # layers one below the other
    dark = sum(image.histogram()[:128]) / (image.width * image.height)
    assert 0.005 < dark < 0.5  # boxes and lines, and neither nothing nor a black page
