"""A server as its clients and its owner see it: answers, switches, deaths, the end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import pytest
import torch

from hpo.inference.pictures import png_of
from hpo.inference.predictor import Predictor
from hpo.search import make_pruner, make_sampler
from hpo.space import Space
from hpo.storage.ledger import Ledger
from hpo.storage.meta import StudyMeta
from hpo.storage.sql import open_storage
from tests.artifacts import artifact, data_of
from tests.serve.conftest import HPO, Running, start, stop

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def pngs(n: int = 3) -> list[bytes]:
    return [png_of(image.numpy()) for image in data_of("cnn").val[0][:n]]


def answers_of(running: Running, name: str, body: Any, kind: str = "application/json") -> Any:
    content = json.dumps(body) if kind == "application/json" else body
    status, text = running.request("POST", f"/v1/models/{name}/predict", content, kind)
    assert status == 200, text
    return json.loads(text)["answers"]


def test_a_client_gets_what_predict_gives(running: Running) -> None:
    predictor = Predictor.open(running.bundles["cnn"])
    image = pngs(1)[0]
    (expected,) = predictor.predict([{"image": image}])
    (answer,) = answers_of(running, "cnn", image, "image/png")
    assert answer["label"] == expected["label"]
    assert answer["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-6)
    pixels = data_of("cnn").val[0][:2]
    given = [{"image": image.tolist()} for image in pixels]
    several = answers_of(running, "cnn", {"inputs": given})
    again = predictor.predict(given)
    assert [a["probability"] for a in several] == pytest.approx([a["probability"] for a in again])


def test_two_models_answer_behind_one_address(running: Running) -> None:
    (expected,) = Predictor.open(running.bundles["rnn"]).predict([{"text": "Yamamoto"}])
    (answer,) = answers_of(running, "rnn", {"text": "Yamamoto"})
    assert answer["probability"] == pytest.approx(expected["probability"], abs=1e-6)
    status, text = running.request("GET", "/v1/models")
    assert {m["name"] for m in json.loads(text)["models"]} == {"cnn", "rnn"}
    status, text = running.request("POST", "/v1/predict", "{}")
    assert status == 404 and b"choose from cnn, rnn" in text


def test_a_form_of_images_has_an_answer_a_file(running: Running) -> None:
    parts = [
        b'--x\r\nContent-Disposition: form-data; name="a"; filename="a.png"\r\n'
        b"Content-Type: image/png\r\n\r\n" + image + b"\r\n"
        for image in pngs(2)
    ]
    body = b"".join(parts) + b"--x--\r\n"
    answers = answers_of(running, "cnn", body, "multipart/form-data; boundary=x")
    assert len(answers) == 2


def test_it_says_how_it_is_and_what_it_did(running: Running) -> None:
    assert running.request("GET", "/healthz")[0] == running.request("GET", "/readyz")[0] == 200
    answers_of(running, "rnn", {"text": "Smith"})
    status, text = running.request("GET", "/metrics")
    assert status == 200 and b'hpo_requests_total{model="rnn",status="200"}' in text
    status, text = running.request("GET", "/openapi.json")
    paths = json.loads(text)["paths"]
    assert "/v1/models/cnn/predict" in paths and "/v1/models/rnn/predict" in paths
    status, page = running.request("GET", "/docs")
    assert status == 200 and b"https://" not in page and b"/v1/models/cnn/predict" in page


class Load:
    """Clients that send one request after another and note what fails."""

    def __init__(self, running: Running, n: int = 4) -> None:
        self.running, self.failed, self.versions, self.n_ok = running, list[str](), set[int](), 0
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._send) for _ in range(n)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _send(self) -> None:
        connection = HTTPConnection("127.0.0.1", self.running.port, timeout=30)
        body = pngs(1)[0]
        while not self._over.is_set():
            try:
                path = "/v1/models/cnn/predict"
                connection.request("POST", path, body, {"Content-Type": "image/png"})
                answer = connection.getresponse()
                text = answer.read()
                if answer.status != 200:
                    self.failed.append(f"{answer.status} {text[:100]!r}")
                else:
                    self.versions.add(json.loads(text)["version"])
                    self.n_ok += 1
            except (OSError, HTTPException) as error:
                self.failed.append(f"{type(error).__name__}: {error}")
                connection.close()


def switched(running: Running, model: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*HPO, "switch", model, "--port", str(running.port)],
        env=running.environment,
        capture_output=True,
        text=True,
    )


def test_a_switch_and_a_killed_replica_fail_no_request(running: Running, tmp_path: Path) -> None:
    other = shutil.copytree(running.bundles["cnn"], tmp_path / "other")
    before = running.replicas()
    assert len(before) == 2
    with Load(running) as load:
        time.sleep(1)
        done = switched(running, f"cnn={other}")
        assert (done.returncode, done.stdout) == (0, "cnn: version 2\n"), done.stderr
        time.sleep(1)
        os.kill(before[0], signal.SIGKILL)
        end = time.monotonic() + 60
        while len(set(running.replicas()) - {before[0]}) < 2 and time.monotonic() < end:
            time.sleep(0.2)
        time.sleep(2)
    assert len(set(running.replicas()) - {before[0]}) == 2, "no replica took its place"
    assert not load.failed, load.failed[:5]
    assert load.versions == {1, 2} and load.n_ok > 100


def test_a_damaged_model_is_refused_and_the_old_one_stays(running: Running, tmp_path: Path) -> None:
    damaged = Path(shutil.copytree(running.bundles["rnn"], tmp_path / "damaged"))
    (damaged / "classifier.onnx").write_bytes(b"nothing")
    done = switched(running, f"rnn={damaged}")
    assert done.returncode == 2 and "is not the file that was written" in done.stderr
    assert answers_of(running, "rnn", {"text": "Smith"})
    done = subprocess.run([*HPO, "switch", "x=y", "--port", "1"], capture_output=True, text=True)
    assert done.returncode == 2 and "no `hpo serve` of yours" in done.stderr


def test_what_is_served_outlives_its_folder(running: Running, tmp_path: Path) -> None:
    other = shutil.copytree(running.bundles["rnn"], tmp_path / "other")
    assert switched(running, f"kept={other}").returncode == 0
    shutil.rmtree(other)
    gone = running.replicas()[0]
    os.kill(gone, signal.SIGKILL)
    end = time.monotonic() + 60
    while len(set(running.replicas()) - {gone}) < 2 and time.monotonic() < end:
        time.sleep(0.2)
    assert len(set(running.replicas()) - {gone}) == 2
    for _ in range(20):
        assert answers_of(running, "kept", {"text": "Smith"})


def test_a_second_server_of_the_port_is_refused(running: Running) -> None:
    flags = ("--host", "127.0.0.2", "--port", str(running.port))
    done = subprocess.run(
        [*HPO, "serve", str(running.bundles["cnn"]), *flags],
        env=running.environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and "a `hpo serve` of yours has it" in done.stderr
    assert switched(running, f"cnn={running.bundles['cnn']}").returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_end_answers_what_is_under_way(
    number: int, bundles: dict[str, Path], tmp_path: Path
) -> None:
    token = "t" * 20
    flags = ("--replicas", "1", "--max-body", "100000000")
    found = start(tmp_path, {"cnn": bundles["cnn"]}, *flags, HPO_SERVE_TOKEN=token)
    try:
        status, text = found.request("POST", "/v1/predict", pngs(1)[0], "image/png")
        assert status == 401 and b"a token is needed" in text
        bearer = {"Authorization": f"Bearer {token}"}
        images = torch.rand(1024, 1, 28, 28).tolist()
        body = json.dumps({"inputs": [{"image": image} for image in images]})
        got: list[tuple[int, bytes]] = []
        sender = threading.Thread(
            target=lambda: got.append(found.request("POST", "/v1/predict", body, **bearer))
        )
        sender.start()
        time.sleep(0.15)
        assert stop(found, number) == 128 + number
        sender.join()
        assert got[0][0] == 200, got[0][1][:200]
        assert len(json.loads(got[0][1])["answers"]) == 1024
        assert not found.replicas()
    finally:
        stop(found, signal.SIGKILL)


def test_more_than_the_rate_is_refused(bundles: dict[str, Path], tmp_path: Path) -> None:
    found = start(tmp_path, {"rnn": bundles["rnn"]}, "--replicas", "1", "--rate", "5")
    try:
        statuses = [found.request("GET", "/healthz")[0] for _ in range(30)]
        assert statuses.count(200) <= 10 and 429 in statuses
    finally:
        stop(found)


def test_a_killed_server_leaves_no_folder_and_no_token(
    bundles: dict[str, Path], tmp_path: Path
) -> None:
    found = start(
        tmp_path,
        {"rnn": bundles["rnn"]},
        "--replicas",
        "1",
        HPO_SERVE_TOKEN="t" * 20,
        TMPDIR="/tmp",
    )
    before = {file.parent.parent for file in Path("/tmp").glob("hpo-ray-*/serve/token")}
    assert before
    stop(found, signal.SIGKILL)
    end = time.monotonic() + 30
    while before & set(Path("/tmp").glob("hpo-ray-*")) == before and time.monotonic() < end:
        time.sleep(0.2)
    assert before - set(Path("/tmp").glob("hpo-ray-*"))
    assert not found.replicas()


def test_a_lasting_load_brings_another_replica(bundles: dict[str, Path], tmp_path: Path) -> None:
    found = start(tmp_path, {"cnn": bundles["cnn"]}, "--replicas", "1..2")
    try:
        assert len(found.replicas()) == 1
        with Load(found, n=24) as load:
            end = time.monotonic() + 60
            while len(found.replicas()) < 2 and time.monotonic() < end:
                time.sleep(0.2)
            time.sleep(1)
        assert len(found.replicas()) == 2
        assert not load.failed, load.failed[:5]
    finally:
        stop(found)


def test_a_study_s_new_best_is_served_if_it_is_better_beyond_noise(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/hpo.db"
    study = Ledger.create_or_open(
        open_storage(url, create=True),
        "s",
        StudyMeta("cnn", "accuracy", "maximize", Space(), "digits", 1, 0),
        lambda n: make_sampler("random", Space(), 0),
        make_pruner("none", epochs=1),
    )
    first = confirmed(tmp_path / "a", [0.90, 0.91, 0.92])
    flags = ("--replicas", "1", "--watch", "s", "--storage", url)
    found = start(tmp_path, {"cnn": first}, *flags, host="::1", torch_there=True)
    assert found.process.stdout is not None
    try:
        lines = iter(found.process.stdout.readline, "")
        for name, values, damaged, said in (
            ("b", [0.80, 0.99, 0.91], False, "is not better beyond noise"),
            ("c", [0.95, 0.96, 0.975], True, "Error: "),
            ("d", [0.95, 0.96, 0.975], False, "cnn: version 2"),
        ):
            latest = confirmed(tmp_path / name, values)
            if damaged:
                (latest / "weights.safetensors").write_bytes(b"nothing")
            study.set_attr("hpo:retrained", {"path": str(latest)})
            assert any(said in line for line in lines)
        status, text = found.request("POST", "/v1/predict", pngs(1)[0], "image/png")
        assert status == 200 and json.loads(text)["version"] == 2
    finally:
        assert stop(found) == 128 + signal.SIGTERM


def test_a_watch_says_what_it_cannot_watch(bundles: dict[str, Path], tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/hpo.db"
    for models, line in (
        ([f"a={bundles['cnn']}", f"b={bundles['cnn']}"], "serves one model"),
        ([f"a={bundles['cnn']}"], "is exported"),
    ):
        done = subprocess.run(
            [*HPO, "serve", *models, "--watch", "s", "--storage", url, "--port", "0"],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 2 and line in done.stderr


def confirmed(folder: Path, values: list[float]) -> Path:
    """A saved CNN whose facts tell of such a confirmation."""
    copied = Path(shutil.copytree(artifact("cnn"), folder))
    facts = json.loads((copied / "model.json").read_text())
    runs = [{"seed": seed, facts["metric"]: value} for seed, value in enumerate(values)]
    first = {"trial": 1, "default": False, "searched": 0.9, "params": {}, "runs": runs}
    facts["confirmed"] = [{**first, "values": values}]
    (copied / "model.json").write_text(json.dumps(facts))
    return copied
