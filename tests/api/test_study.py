"""A loop of one's own by ask and tell, and studies to look at."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

import hpo
from hpo import Choice, Float, HpoError, Int, Space, SpecError

SPACE = Space(x=Float(0.0, 1.0), n=Int(1, 8), how=Choice("a", "b"))


def value(params: dict[str, object]) -> float:
    return (float(str(params["x"])) - 0.3) ** 2 + (0.1 if params["how"] == "b" else 0.0)


def test_five_hundred_trials_by_ask_and_tell_on_one_file(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/hpo.db"
    with hpo.Study("mine", SPACE, "loss", storage=url, sampler="tpe", n_trials=500) as study:
        for _ in range(500):
            trial = study.ask()
            assert trial is not None
            study.tell(trial, loss=value(trial.params))
    assert study.counts == {"complete": 500}
    seen = hpo.open_study("mine", url)
    assert seen.best == study.best and seen.best is not None and seen.best.value < 0.01
    assert len(seen.trials) == 500 and list(seen.trials["number"]) == list(range(500))


def test_a_loop_reports_stops_by_its_pruner_fails_and_goes_on(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/hpo.db"

    def begin() -> hpo.Study:
        return hpo.Study("s", SPACE, "score:maximize", storage=url, pruner="median", epochs=4)

    with begin() as study:
        for number in range(8):
            study.enqueue(x=1.0 - number / 10)
        for number in range(8):
            trial = study.ask()
            assert trial is not None and trial.params["x"] == pytest.approx(1.0 - number / 10)
            assert set(trial.params) == {"x", "n", "how"}
            for _ in range(4):
                trial.report(score=trial.params["x"])
                if trial.should_stop:
                    break
            study.tell(trial)
        failing = study.ask()
        assert failing is not None
        study.tell(failing, failed="no such file")
        left = study.ask()
        assert left is not None
        with pytest.raises(SpecError, match="driven by"), begin():
            pass
    assert study.counts["pruned"] >= 2 and study.counts["failed"] == 1
    assert study.counts["interrupted"] == 1
    assert study.best is not None and study.best.value == 1.0
    with begin() as again:
        assert again.best == study.best
        trial = again.ask()
        assert trial is not None and trial.number == 10
        again.tell(trial, score=0.5)
        with pytest.raises(HpoError, match="has ended before"):
            again.tell(trial, score=0.6)


def test_what_is_wrong_is_refused_before_anything_is_created(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/hpo.db"
    with pytest.raises(SpecError, match="sampler: 'bayes' is unknown"):
        hpo.Study("s", SPACE, "loss", storage=url, sampler="bayes")
    with pytest.raises(SpecError, match="which way is better"):
        hpo.Study("s", SPACE, "speed", storage=url)
    with pytest.raises(SpecError, match="must not hold '/'"):
        hpo.Study("a/b", SPACE, "loss", storage=url)
    with pytest.raises(HpoError, match="not begun"):
        hpo.Study("s", SPACE, "loss", storage=url).ask()
    assert list(tmp_path.iterdir()) == []
    with hpo.Study("s", SPACE, "loss", storage=url) as study:
        with pytest.raises(SpecError, match=r"y: 1\.0: no such parameter"):
            study.enqueue(y=1.0)
        asked = _asked(study)
        with pytest.raises(SpecError, match="loss is missing"):
            study.tell(asked, losss=1.0)
        study.tell(asked, loss=1.0)
    with pytest.raises(HpoError, match="to look at"):  # another may drive it now
        study.ask()
    with pytest.raises(HpoError, match="to look at"), hpo.open_study("s", url):
        pass
    with pytest.raises(HpoError, match="to look at"):
        hpo.open_study("s", url).ask()
    with pytest.raises(SpecError, match="no 't'"):
        hpo.open_study("t", url)


def _asked(study: hpo.Study) -> hpo.Asked:
    asked = study.ask()
    assert asked is not None
    return asked


@pytest.mark.parametrize(
    ("model", "given", "words"),
    [
        (lambda trial: None, {}, "space: not given"),
        ("cnn", {"space": SPACE}, "'cnn' declares its own"),
        (3, {}, "must be a name, a Model class"),
        ("cnn", {"n_trial": 3}, "did you mean 'n_trials'"),
    ],
)
def test_a_wrong_call_is_refused(
    model: object, given: dict[str, object], words: str, tmp_path: Path
) -> None:
    with pytest.raises(SpecError, match=words):
        hpo.run(model, storage=f"sqlite:///{tmp_path}/hpo.db", **given)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_the_example_of_the_docstring_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HPO_STORAGE", raising=False)
    (example,) = doctest.DocTestFinder(recurse=False).find(hpo.Study, "Study")
    assert doctest.DocTestRunner().run(example).failed == 0
    assert example.examples and hpo.open_study("mine").counts == {"complete": 10}
