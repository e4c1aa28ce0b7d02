"""Trials by outcome: interrupted and lost trials are no failures, paused and waiting do not run."""

from __future__ import annotations

from hpo import Float, Space
from hpo.search import make_pruner, make_sampler
from hpo.storage.attempts import PAUSED, WAITING
from hpo.storage.ledger import Ledger, StudyMeta
from hpo.storage.outcomes import outcome_of, outcomes_text
from hpo.storage.sql import open_storage
from hpo.storage.studies import list_studies


def test_interrupted_trials_are_not_counted_as_failed(storage_url: str) -> None:
    space = Space(x=Float(0, 1))
    ledger = Ledger.create_or_open(
        open_storage(storage_url, create=True),
        "s",
        StudyMeta("m", "score", "maximize", space, "d", 3, 0),
        lambda n: make_sampler("random", space, 0),
        make_pruner("none", epochs=3),
    )
    for _ in range(10):
        ledger.ask()
    ledger.complete(0, 0.5)
    ledger.prune(1)
    ledger.fail(2, "ValueError: x")
    ledger.fail(3, "out of memory", kind="oom")
    ledger.fail(4, "interrupted", kind="interrupted")
    ledger.fail(5, "lost: its worker process died", kind="lost")
    ledger.set_trial_attr(6, PAUSED, 1)
    ledger.set_trial_attr(7, WAITING, "1 GPU")
    ledger.set_trial_attr(8, PAUSED, 1)
    ledger.set_trial_attr(8, PAUSED, None)  # it goes on
    expected = {
        "complete": 1, "pruned": 1, "failed": 2, "interrupted": 1, "lost": 1, "running": 2,
        "paused": 1, "waiting": 1,
    }  # fmt: skip
    assert ledger.outcomes() == expected
    (listed,) = list_studies(ledger.storage)
    assert listed.trials == expected and listed.goal == "maximize score"
    each = [outcome_of(trial) for trial in ledger.trials()]
    assert {name: each.count(name) for name in expected} == expected
    assert outcomes_text({"failed": 1, "complete": 2}) == "2 complete, 1 failed"
