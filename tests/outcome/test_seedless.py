"""What is said, and not trained, where the training seed changes nothing; what a default is called
that nobody declared."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from hpo.outcome.choice import reference_of, seeds_change_nothing
from hpo.outcome.confirm import Confirmed, candidates, confirm, verdict_of
from hpo.search import make_pruner, make_sampler
from hpo.storage.ledger import Ledger
from hpo.storage.sql import open_storage
from hpo.study import ResolvedStudy, resolve, spec_from
from hpo.training.session import Job
from hpo.tune.driver import meta_for
from hpo.tune.observer import Observer
from hpo.tune.pool import Trained, train
from hpo.tune.resources import Resources

FUNCTION = """
import random
from hpo import Float, Space, tunable

@tunable(Space(x=Float(0.0, 1.0{default})), "accuracy")
def train(trial):
    trial.report(accuracy=0.9 - (trial.params["x"] - 0.3) ** 2 + {noise}, seconds=random.random())
"""
HERE = Resources(1, 0, 1, 1, 1, 0)


def studied(
    folder: Path, noise: str = "0", default: str = "", source: str | None = None
) -> tuple[ResolvedStudy, Ledger]:
    """A study of a function, with three trials trained as the search would."""
    folder.mkdir(exist_ok=True)
    source = source or FUNCTION.format(noise=noise, default=default)
    (folder / "mine.py").write_text(source)
    study = resolve(spec_from({"model": f"{folder}/mine.py:train", "sampler": "random"}, {}))
    ledger = Ledger.create_or_open(
        open_storage(f"sqlite:///{folder}/hpo.db", create=True),
        study.name,
        meta_for(study),
        lambda n: make_sampler("random", study.space, 0, n_trials_done=n),
        make_pruner("none", epochs=study.epochs),
    )
    for number, x in enumerate((0.1, 0.25, 0.35)):
        ledger.ask({"x": x})
        job = Job(study.ref, {"x": x}, study.data, seed=study.spec.seed, epochs=study.epochs)
        metrics = train(job, str(folder)).metrics
        ledger.conclude(number, metrics, {"metrics": metrics})
    return study, ledger


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """Confirming trainings run in this process, one after another, and are noted."""
    jobs_done: list[Job] = []

    def here(
        jobs: Sequence[Job], resources: Resources, on_start: Callable[[int], None]
    ) -> Iterator[tuple[int, Trained]]:
        for index, job in enumerate(jobs):
            on_start(index)
            jobs_done.append(job)
            yield index, train(job, ".")

    monkeypatch.setattr("hpo.tune.pool.train_all", here)
    return jobs_done


def confirmed(study: ResolvedStudy, ledger: Ledger) -> list[Confirmed]:
    return confirm(study, ledger, HERE, Observer())


def test_a_function_without_a_seed_is_not_better_by_plus_minus_nothing(
    tmp_path: Path, trained: list[Job]
) -> None:
    study, ledger = studied(tmp_path)
    ranking = confirmed(study, ledger)
    assert len(trained) == 4  # one each, not three, though its metrics hold a clock's seconds
    said = verdict_of(study, ranking)
    assert "±" not in said and "within noise" not in said.lower() and "95 %" not in said
    assert said.startswith("Better than the middle of the ranges by 0.0375 on validation rows.")
    assert "The training seed changes nothing" in said
    assert confirmed(study, ledger) and len(trained) == 4  # known: nothing is trained again


def test_a_seed_that_matters_is_still_confirmed_on_all(tmp_path: Path, trained: list[Job]) -> None:
    study, ledger = studied(
        tmp_path, noise="random.gauss(0, trial.params['x'] / 20)", default=", default=0.2"
    )
    said = verdict_of(study, confirmed(study, ledger))
    assert len(trained) == 4 * study.spec.confirm_seeds
    assert "±" in said and "the default" in said and "changes nothing" not in said


def test_one_seed_that_agrees_by_accident_is_no_proof(tmp_path: Path) -> None:
    _, ledger = studied(tmp_path)
    same = ledger.trial(1).user_attrs["metrics"]
    assert not seeds_change_nothing([(1, [same])], ledger)
    assert not seeds_change_nothing([(1, [same, same]), (None, [])], ledger)
    assert seeds_change_nothing([(1, [same, same]), (None, [{"accuracy": 0.1}])], ledger)
    other = {**same, "accuracy": 0.5}
    assert not seeds_change_nothing([(1, [same, same]), (2, [other])], ledger)


def test_equal_gaps_on_every_seed_are_no_interval_of_nothing(tmp_path: Path) -> None:
    study, _ = studied(tmp_path)

    def entry(values: list[float], *, default: bool) -> Confirmed:
        runs = {seed: {"accuracy": value} for seed, value in enumerate(values)}
        return Confirmed(1, {}, 0.5, runs, "accuracy", is_default=default)

    ranking = [entry([0.9, 0.8, 0.7], default=False), entry([0.8, 0.7, 0.6], default=True)]
    said = verdict_of(study, ranking)
    assert said == (
        "Better than the default by 0.1 on validation rows, by as much on each of 3 fresh seeds: "
        "no interval."
    )
    equal = [entry([0.9, 0.8], default=False), entry([0.9, 0.8], default=True)]
    assert verdict_of(study, equal) == "The same as the default on each of 2 fresh seeds."


@pytest.mark.parametrize(
    ("default", "set_", "name"),
    [
        ("", {}, "middle of the ranges"),
        (", default=0.2", {}, "default"),
        (", default=0.2", {"x": "0.1..0.3"}, "default"),
        (", default=0.2", {"x": "0.5..0.9"}, "middle of the ranges"),  # the default is not in it
        ("", {"x": "0.4..0.6"}, "middle of the ranges"),
    ],
)
def test_a_default_that_nobody_declared_is_called_the_middle_of_the_ranges(
    tmp_path: Path, default: str, set_: dict[str, str], name: str
) -> None:
    (tmp_path / "mine.py").write_text(FUNCTION.format(noise="0", default=default))
    study = resolve(spec_from({"model": f"{tmp_path}/mine.py:train"}, {"set": set_}))
    assert reference_of(study) == name
    one = Confirmed(3, {}, 0.5, {}, "accuracy", is_default=True, reference=reference_of(study))
    assert one.title == f"trial 3 ({name})" and replace(one, number=None).title == f"the {name}"


def test_candidates_know_what_the_default_is_called(tmp_path: Path) -> None:
    study, ledger = studied(tmp_path)
    assert candidates(study, ledger)[-1].title == "the middle of the ranges"
