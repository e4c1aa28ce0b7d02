"""`hpo export`, `hpo predict` and `hpo view` as they are typed."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hpo.cli import main
from hpo.outcome.artifact import save
from hpo.outcome.export import bundle_of
from hpo.registry import find_model, load_model
from hpo.training.product import product_of
from tests.artifacts import artifact, data_of, facts_of

MINE = """
import torch
from hpo import Classifier, Data, Float, Space


class Net(Classifier):
    space = Space(lr=Float(1e-3, 1e-1))

    def data(self, seed):
        rows = (torch.eye(4).repeat(8, 1), torch.arange(32) % 4)
        return Data("own", rows, rows, rows, {"n_classes": 4, "class_names": ["a", "b", "c", "d"]})

    def build(self, params, data):
        net = torch.nn.Linear(4, 4)
        torch.nn.init.eye_(net.weight)
        return net
"""


def hpo(*arguments: object, folder: Path, given: bytes = b"") -> tuple[int, str, str]:
    """Exit code, standard output and errors of a command, run in this process from a folder."""
    out, errors = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("COLUMNS", "150")
        patch.setattr(sys, "argv", ["hpo", *map(str, arguments)])
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given), encoding="utf-8"))
        before = os.umask(0o077)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
            try:
                main()
                code = 0
            except SystemExit as exit:
                code = int(exit.code or 0)
        os.umask(before)
    return code, out.getvalue(), errors.getvalue()


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a saved CNN, pictures of real digits, and some that are none."""
    folder = tmp_path_factory.mktemp("digits")
    shutil.copytree(artifact("cnn", epochs=3, n=600), folder / "best")
    photos = folder / "photos" / "more"
    photos.mkdir(parents=True)
    images, labels = (column[:6] for column in data_of("cnn").val[:2])
    for k, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
        pixels = (image[0].numpy() * 255).astype(np.uint8)
        Image.fromarray(pixels).resize((56, 56)).save(photos / f"{k}-{label}.png")
    np.savez(folder / "digits.npz", x=images.numpy(), y=labels.numpy())
    return folder


def test_a_saved_model_is_exported_and_both_backends_answer_alike(digits: Path) -> None:
    code, out, _ = hpo("export", "best", folder=digits)
    assert code == 0 and "classifier: differs from torch by" in out and "32 rows of its data" in out
    answers: list[list[dict[str, Any]]] = []
    for flags in ([], ["--backend", "torch"]):
        inputs = ("digits.npz", "photos", "photos/*/0-*.png")
        code, out, errors = hpo("predict", "best", *inputs, "-f", "json", *flags, folder=digits)
        assert code == 0 and not errors
        answers.append(json.loads(out))
    assert len(answers[0]) == 13
    for one, other in zip(*answers, strict=True):
        assert one["input"] == other["input"] and one["label"] == other["label"]
        assert one["probability"] == pytest.approx(other["probability"], abs=1e-4)
    right = sum(Path(row["input"]).stem[2:] == row["label"] for row in answers[0][6:12])
    assert right >= 4  # of 6 real digits, by a network of 600 rows


def test_every_format_is_printed(digits: Path) -> None:
    named = "photos/more/*.png"
    _, out, _ = hpo("predict", "best", named, "-f", "csv", folder=digits)
    rows = list(csv.DictReader(io.StringIO(out)))
    assert len(rows) == 6 and {"input", "label", "probability", "probability 9"} <= set(rows[0])
    _, out, _ = hpo("predict", "best", named, "-f", "jsonl", folder=digits)
    assert [json.loads(line)["label"] for line in out.splitlines()] == [r["label"] for r in rows]
    _, out, _ = hpo("predict", "best", named, folder=digits)
    assert "probability" in out and "0-" in out


def test_bad_files_are_one_line_each_and_the_others_are_answered(digits: Path) -> None:
    bad = digits / "bad"
    bad.mkdir()
    good = next((digits / "photos" / "more").iterdir())
    (bad / "cut.png").write_bytes(good.read_bytes()[:50])
    (bad / "empty.jpg").touch()
    shutil.copy(good, bad / "good.png")
    shutil.copy(good, bad / "image.txt")  # no ending of an image: not looked at
    code, out, errors = hpo("predict", "best", "bad", "nothing.png", "-f", "jsonl", folder=digits)
    assert code == 1
    assert [json.loads(line)["input"] for line in out.splitlines()] == ["bad/good.png"]
    assert len(errors.splitlines()) == 3
    assert all(line.startswith("Error: ") for line in errors.splitlines())
    code, out, _ = hpo("predict", "best", "-", folder=digits, given=b"bad/cut.png\nno.png\n")
    assert code == 2 and not out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("predict", "best"), "input: missing"),
        (("predict", "best", "--text", "a"), "takes no texts"),
        (("predict", "best", "--n", "3"), "makes no images"),
        (("predict", "photos", "a.png"), "holds no"),
        (("predict", "best/export/onnx", "a.png", "--backend", "torch"), "give its artifact"),
        (("export", "photos"), "holds no saved model"),
        (("export", "best", "--to", "photos"), "is no exported model"),
        (("export", "best", "--opset", "3"), "opset: 3"),
        (("export", "best", "--format", "h5"), "format: 'h5' is unknown"),
        (("view", "best", "--graph", "no", "--no-open"), "graph: 'no' is unknown"),
        (("view", "best", "--png", "photos"), "png: 'photos'"),
    ],
)
def test_wrong_input_is_one_line(digits: Path, arguments: tuple[str, ...], message: str) -> None:
    if "view" in arguments or "best/export/onnx" in arguments:
        bundle_of(digits / "best")
    code, out, errors = hpo(*arguments, folder=digits)
    assert code == 2 and not out
    assert message in errors and len(errors.splitlines()) == 1


def test_texts_come_from_arguments_files_and_standard_input(tmp_path: Path) -> None:
    shutil.copytree(artifact("rnn"), tmp_path / "best")
    (tmp_path / "names.csv").write_text('label,text\nx,Rossi\ny,"Smith, John"\n')
    (tmp_path / "latin1.txt").write_bytes("Müller\n".encode("latin-1"))
    inputs = ("O'Brien", "names.csv", "latin1.txt", "-", "--text", "names.csv", "--text", "")
    given = "Yamamoto\n\nMüller\n".encode() + b"\xff\n"
    code, out, errors = hpo(
        "predict", "best", *inputs, "-q", "-f", "jsonl", folder=tmp_path, given=given
    )
    names = [json.loads(line)["input"] for line in out.splitlines()]
    expected = ["names.csv", "(empty text)", "O'Brien", "Rossi", "Smith, John"]
    assert names == [*expected, "Yamamoto", "Müller"]
    assert code == 1 and [line.count("UTF-8") for line in errors.splitlines()] == [1, 1]


def test_what_is_refused_is_named_shortly(tmp_path: Path) -> None:
    shutil.copytree(artifact("rnn"), tmp_path / "best")
    (tmp_path / "long.txt").write_text("x" * 200_000)
    code, _, errors = hpo("predict", "best", "long.txt", "-q", folder=tmp_path)
    assert code == 2 and "Error: xxx" in errors and len(errors) < 400


def test_generated_images_are_files_that_the_seed_repeats(tmp_path: Path) -> None:
    shutil.copytree(artifact("gan"), tmp_path / "best")
    code, _, errors = hpo("predict", "best", "--n", "2", "-q", folder=tmp_path)
    assert code == 2 and errors.startswith("Error: to: missing")
    for folder in ("one", "two"):
        code, _, _ = hpo("predict", "best", "--n", 2, "--seed", 3, "--to", folder, folder=tmp_path)
        assert code == 0
    files = [sorted((tmp_path / folder).iterdir()) for folder in ("one", "two")]
    assert [file.name for file in files[0]] == ["seed-3.png", "seed-4.png"]
    contents = [[file.read_bytes() for file in row] for row in files]
    assert contents[0] == contents[1] and contents[0][0] != contents[0][1]
    assert Image.open(files[0][0]).size == (28, 28)


def test_one_s_own_model_is_exported_and_answers(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    model = load_model(find_model(f"{tmp_path}/mine.py:Net"))
    data = model.data(0)
    assert data is not None
    facts = replace(facts_of("cnn", {"lr": 0.1}, data, {}), model="mine.py:Net", data="own")
    save(facts, product_of(model.build({}, data)), {}, tmp_path)
    (tmp_path / "rows.csv").write_text("w,x,y,z\n0,0,9,0\n9,0,0,0\n1,2,3\n")
    code, out, errors = hpo(
        "predict", "best", "rows.csv", "--model", "./mine.py:Net", "-f", "jsonl", folder=tmp_path
    )
    assert [json.loads(line)["label"] for line in out.splitlines()] == ["c", "a"]
    assert code == 1 and "rows.csv:3: inputs: has the shape [3]" in errors
    code, _, errors = hpo("export", "best", folder=tmp_path)
    assert code == 2 and "pass your own" in errors
