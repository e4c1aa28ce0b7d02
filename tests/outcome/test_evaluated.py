"""A saved network on its test rows, on other data, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hpo_models.datasets import digits
from safetensors.torch import load_file, save_file

from hpo import HpoError, SpecError
from hpo.outcome.artifact import read
from hpo.outcome.evaluated import LOG, evaluate_artifact, facts_of, record
from hpo.outcome.rows import find_rows
from hpo.registry import find_model, load_model
from tests.outcome.artifacts import saved, shapes


def same(found: dict[str, float], recorded: dict[str, float]) -> bool:
    return found.keys() == recorded.keys() and all(
        found[name] == pytest.approx(recorded[name], rel=1e-4, abs=1e-6) for name in found
    )


@pytest.mark.parametrize("name", ["cnn", "captioner", "vae"])
def test_its_own_test_rows_give_what_the_retraining_recorded(
    name: str, request: pytest.FixtureRequest
) -> None:
    path: Path = request.getfixturevalue(name)
    found = evaluate_artifact(path, n_resamples=100)
    assert same(found.evaluation.own, read(path).test)
    assert found.rows.part == "test" and found.rows.own and found.rows.n_seen == 0
    assert len(found.notes) == 1 and "used once before" in found.notes[0]
    assert found.evaluation.n_rows == read(path).info["n_test"]


def test_the_test_rows_are_none_of_those_it_was_trained_on(cnn: Path) -> None:
    artifact, model = read(cnn), load_model(find_model("cnn"))
    test, val = (find_rows(artifact, model, None, part) for part in (None, "val"))
    assert test.trained is not None
    known = {row.numpy().tobytes() for row in test.trained.train[0]}
    assert not any(row.numpy().tobytes() in known for row in test.split[0])
    assert all(row.numpy().tobytes() in known for row in val.split[0])
    assert "has learned from these" in val.notes[0]
    assert evaluate_artifact(cnn, part="val", n_resamples=0).honesty.startswith("They are no test")


def test_other_data_is_fitted_by_names_and_shape(cnn: Path, tmp_path: Path) -> None:
    data = shapes(tmp_path / "pictures", 4, 0, ("9", "3"), side=40)
    found = evaluate_artifact(cnn, data=data, n_resamples=0)
    assert found.rows.part == "all" and found.evaluation.n_rows == 8
    assert sorted(set(found.evaluation.rows["true"])) == ["3", "9"]
    assert found.rows.split[0].shape == (8, 1, 28, 28)
    assert any("read at 28x28 pixels" in note and "stretched" in note for note in found.notes)
    assert sorted(found.rows.names or ()) == [f"{k}/{n}.png" for k in "39" for n in range(4)]
    assert "had no part in the search" in found.honesty


def test_rows_that_were_trained_on_are_counted(cnn: Path, tmp_path: Path) -> None:
    data = digits.load("", 0)
    assert data.test is not None
    x = torch.cat([data.train[0][:40], data.test[0][:60]])[:, 0].numpy()
    np.savez(tmp_path / "mixed.npz", x=x, y=np.arange(100) % 2)
    found = evaluate_artifact(cnn, data=f"npz:{tmp_path}/mixed.npz", n_resamples=0)
    assert any(note.startswith("40 of these 100 rows are among those") for note in found.notes)


@pytest.mark.parametrize(
    ("names", "scale", "expected"),
    [
        (("3", "cat"), 1, "classes 'cat' are unknown to the network, which knows 0, 1"),
        (("3",), 1, "holds 1 class folders"),
        ((), 1000, "scale them alike"),
    ],
)
def test_data_that_does_not_fit_is_refused_in_one_line(
    cnn: Path, tmp_path: Path, names: tuple[str, ...], scale: int, expected: str
) -> None:
    data = shapes(tmp_path / "pictures", 4, 0, names)
    if scale > 1:
        x = scale * digits.load("", 0).val[0][:, 0].numpy()
        np.savez(tmp_path / "raw.npz", x=x, y=np.arange(len(x)) % 10)
        data = f"npz:{tmp_path}/raw.npz"
    with pytest.raises(SpecError, match=expected) as caught:
        evaluate_artifact(cnn, data=data)
    assert "\n" not in str(caught.value)


@pytest.fixture
def copy(cnn: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(cnn, tmp_path / "copy"))


def test_a_damaged_folder_is_refused_in_one_line(copy: Path, vae: Path) -> None:
    weights, facts = copy / "weights.safetensors", copy / "model.json"
    whole, text = weights.read_bytes(), facts.read_text()

    def refused(expected: str) -> None:
        with pytest.raises(HpoError, match=expected) as caught:
            evaluate_artifact(copy)
        assert "\n" not in str(caught.value)

    weights.write_bytes(whole[:1000])
    refused("does not fit 'cnn'")
    shutil.copy(vae / "weights.safetensors", weights)
    refused("does not fit 'cnn'")
    weights.write_bytes(whole)
    state = load_file(weights)
    for tensor in state.values():
        if tensor.is_floating_point():
            tensor[:] = float("nan")
    save_file(state, weights)
    refused("NaN or infinity for 1000 of 1000 rows")
    weights.unlink()
    refused("holds no weights")
    weights.write_bytes(whole)
    facts.write_text(json.dumps({**json.loads(text), "params": {}}))
    refused("does not fit 'cnn'")
    facts.write_text(text[:50])
    refused("holds no saved model")


def test_data_that_has_changed_is_not_taken_for_its_own(copy: Path) -> None:
    facts = json.loads((copy / "model.json").read_text())
    facts["info"]["n_test"] = 999
    (copy / "model.json").write_text(json.dumps(facts))
    with pytest.raises(SpecError, match=r"is not what it was .*n_test was 999 and is 1000"):
        evaluate_artifact(copy)


def test_other_results_than_those_recorded_are_said_so(copy: Path) -> None:
    facts = json.loads((copy / "model.json").read_text())
    facts["test"]["accuracy"] = 0.25
    (copy / "model.json").write_text(json.dumps(facts))
    found = evaluate_artifact(copy, n_resamples=0)
    assert any("instead of 0.25" in note for note in found.notes)


def test_code_of_ones_own_runs_only_if_it_is_given(own: Path) -> None:
    mine = own.parents[1] / "mine.py"
    with pytest.raises(SpecError, match=r"add --model \./mine\.py:Net"):
        evaluate_artifact(own)
    found = evaluate_artifact(own, model=f"{mine}:Net", n_resamples=100)
    assert same(found.evaluation.own, read(own).test) and found.evaluation.n_rows == 150
    assert found.evaluation.own["accuracy"] > 0.6
    assert sorted(set(found.evaluation.rows["true"])) == ["0", "1", "2"]
    with pytest.raises(SpecError, match="CNN gives no data of its own"):
        evaluate_artifact(own, model="cnn")


def test_without_its_training_data_a_probe_is_measured_as_it_was_saved(tmp_path: Path) -> None:
    before = shapes(tmp_path / "before", 30, 0)
    path = saved("ssl-image", tmp_path / "ssl", before, params={"width": 8, "batch_size": 128})
    data = shapes(tmp_path / "after", 20, 1)
    whole = evaluate_artifact(path, data=data, n_resamples=0)
    assert "probe_accuracy" in whole.evaluation.measures
    shutil.rmtree(tmp_path / "before")
    found = evaluate_artifact(path, data=data, n_resamples=0)
    assert found.evaluation.measures["accuracy"] == whole.evaluation.measures["accuracy"]
    assert "probe_accuracy" not in found.evaluation.measures
    assert any(
        "Whether some of these rows were trained on cannot be told" in n for n in found.notes
    )
    assert any("Without the model's own metrics" in note for note in found.notes)


def test_a_gan_needs_the_data_it_was_trained_on(tmp_path: Path) -> None:
    before = shapes(tmp_path / "before", 12, 0)
    path = saved("gan", tmp_path / "gan", before, params={"width_generator": 16})
    named = shapes(tmp_path / "named", 4, 1, ("cat", "dog"))
    with pytest.raises(SpecError, match="classes that the network does not know, and its metrics"):
        evaluate_artifact(path, data=named)
    shutil.rmtree(tmp_path / "before")
    with pytest.raises(HpoError, match=r"perhaps it needs 'imagefolder:.*not to be had"):
        evaluate_artifact(path, data=shapes(tmp_path / "after", 4, 1))
    with pytest.raises(SpecError, match="nothing at"):
        evaluate_artifact(path)


def test_a_model_of_the_zoo_takes_no_other_code(cnn: Path) -> None:
    with pytest.raises(SpecError, match="the folder holds a cnn"):
        evaluate_artifact(cnn, model="rnn")
    with pytest.raises(SpecError, match="choose from test, val"):
        evaluate_artifact(cnn, part="train")


def test_each_evaluation_is_counted_by_its_rows(copy: Path) -> None:
    found = evaluate_artifact(copy, n_resamples=0)
    assert [record(found), record(found)] == [1, 2]
    other = evaluate_artifact(copy, part="val", n_resamples=0)
    assert record(other) == 1
    assert len(json.loads((copy / LOG).read_text())) == 3
    (copy / LOG).write_text("damaged")
    assert record(found) == 1


def test_facts_are_plain_and_whole(cnn: Path) -> None:
    facts = facts_of(evaluate_artifact(cnn, n_resamples=100))
    again = json.loads(json.dumps(facts))
    assert again["metrics"]["accuracy"]["how"] == "Wilson"
    assert np.array(again["confusion"]).sum() == again["n_rows"] == 1000
    assert len(again["classes"]) == 10 and again["split"] == "test"
    assert sum(one["rows"] for one in again["calibration"]["ece"]["bins"]) == 1000
