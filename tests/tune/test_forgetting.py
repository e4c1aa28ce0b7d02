"""Tune keeps little of a long search, and what runs is never among what it forgets."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from hpo.tune.searcher import Forgetter


@dataclass
class FakeTrial:
    name: str
    ended: bool

    def is_finished(self) -> bool:
        return self.ended


@pytest.mark.parametrize(
    ("before", "after"),
    [("", ""), ("E", "E"), ("EEE", "E"), ("EREER", "RR"), ("RREE", "RRE"), ("R", "R")],
)
def test_ended_trials_are_forgotten_but_for_the_last(before: str, after: str) -> None:
    trials = [FakeTrial(state, state == "E") for state in before]
    Forgetter().on_step_end(1, trials)
    assert "".join(trial.name for trial in trials) == after
