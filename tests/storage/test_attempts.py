"""Which configurations are tried again: a table of histories."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from hpo.storage.attempts import KIND, due

X = {"x": FloatDistribution(0, 1)}


def history(*kinds: str, x: float = 0.5, first: int = 0) -> list[FrozenTrial]:
    """Attempts at one configuration: COMPLETE, PRUNED, RUNNING, or a kind of failure."""
    trials = []
    for number, kind in enumerate(kinds, start=first):
        state = TrialState[kind] if kind.isupper() else TrialState.FAIL
        attrs: dict[str, Any] = {KIND: kind} if state == TrialState.FAIL else {}
        value = 1.0 if state == TrialState.COMPLETE else None
        trial = create_trial(
            state=state, value=value, params={"x": x}, distributions=X, user_attrs=attrs
        )
        trial.number = number
        trials.append(trial)
    return trials


def again(trials: list[FrozenTrial], max_retries: int = 2, **how: bool) -> list[tuple[Any, ...]]:
    found = due(trials, lambda params: str(params["x"]), max_retries, **how)
    return [(a.of, a.number, a.alone) for a in found]


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (("COMPLETE",), []),
        (("PRUNED",), []),
        (("RUNNING",), []),
        (("error",), []),  # its own code raised: it would again
        (("timeout",), []),
        (("lost",), [(0, 2, False)]),
        (("lost", "lost"), [(1, 3, False)]),
        (("lost", "lost", "lost"), []),  # two retries, not more
        (("interrupted",) * 9, [(8, 10, False)]),  # a ctrl-C is not held against it
        (("lost", "interrupted", "lost"), [(2, 4, False)]),
        (("oom",), [(0, 2, True)]),
        (("oom", "oom"), []),
        (("oom", "lost"), [(1, 3, True)]),  # still alone
        (("lost", "COMPLETE"), []),
        (("lost", "RUNNING"), []),
        (("lost", "error"), []),
    ],
)
def test_what_was_cut_off_is_due_again(
    kinds: tuple[str, ...], expected: list[tuple[int, int, bool]]
) -> None:
    assert again(history(*kinds)) == expected


def test_no_retries_means_none_but_for_interrupts() -> None:
    assert again(history("lost"), max_retries=0) == []
    assert again(history("oom"), max_retries=0) == []
    assert again(history("interrupted"), max_retries=0) == [(0, 2, False)]


@pytest.mark.parametrize("kind", ["error", "timeout", "lost", "oom"])
def test_whatever_only_failed_is_tried_once_more_on_demand(kind: str) -> None:
    alone = kind == "oom"
    assert again(history(*[kind] * 5), all_failed=True) == [(4, 6, alone)]
    assert again(history(kind, "COMPLETE"), all_failed=True) == []
    assert again(history(kind, "RUNNING"), all_failed=True) == []


def test_configurations_are_told_apart_and_the_oldest_comes_first() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    trials = history("lost", x=0.9) + history("lost", x=0.1, first=1) + history("lost", first=2)
    trials += history("COMPLETE", x=0.1, first=3)
    assert again(trials) == [(0, 2, False), (2, 2, False)]
