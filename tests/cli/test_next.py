"""The commands that a run's summary names next."""

from __future__ import annotations

from hpo.cli.summary import _next_commands


def named(**facts: object) -> list[str]:
    usual = {"interrupted": False, "path": "p", "best": {"trial": 1}, "confirmed": None}
    counts = {"trials": {"COMPLETE": 1}, "outcomes": {"complete": 1}, "failed_trial": None}
    return [command for command, _ in _next_commands({**usual, **counts, **facts}, "s")]


def test_failed_trials_are_named_with_their_traceback_and_output() -> None:
    failed = {"outcomes": {"complete": 1, "failed": 2}, "failed_trial": 7}
    for best in (None, {"trial": 1}):
        commands = named(best=best, **failed)
        assert {"hpo trial s 7", "hpo logs s 7", "hpo trials s --state failed"} <= {*commands}
        assert ("hpo resume s --retry-failed" in commands) == (best is None)


def test_without_failed_trials_no_failure_is_looked_for() -> None:
    assert not [command for command in named() if "logs" in command or "failed" in command]
