"""Carries a study out on a terminal: progress, summary, exit code."""

from __future__ import annotations

import logging
import shlex
import sys
from typing import TYPE_CHECKING

from hpo.api.client import Shown
from hpo.api.life import Outcome, carry_out
from hpo.cli.header import announce
from hpo.cli.output import Format, print_json
from hpo.cli.streams import OutputError, answer
from hpo.errors import HpoError

if TYPE_CHECKING:
    from rich.console import Console

    from hpo.outcome.workload import Workload
    from hpo.storage.lease import Driver
    from hpo.storage.ledger import Ledger
    from hpo.study import ResolvedStudy


class Terminal(Shown):
    """Shows on standard error what a study's life tells."""

    def __init__(self, study: ResolvedStudy, console: Console, *, only_retrain: bool) -> None:
        super().__init__(study, console)
        self.only_retrain = only_retrain
        self.begun = False

    def waiting(self, study: ResolvedStudy, driver: Driver) -> None:
        self.console.print(
            f"[yellow]{_safe(study.name)}: held by {_safe(str(driver))}: looking for half a minute "
            "whether it lives[/yellow]",
            highlight=False,
            soft_wrap=True,
        )

    def opened(self, ledger: Ledger, url: str, after: Workload) -> None:
        self.begun = True
        announce(self.study, ledger, url, self.console, after, only_retrain=self.only_retrain)

    @property
    def going_on(self) -> str:
        """What an interrupt says: the command that goes on, if the study exists."""
        command = f"hpo {'retrain' if self.only_retrain else 'resume'}"
        more = f" Continue with: {command} {shlex.quote(self.study.name)}" if self.begun else ""
        return f"Interrupted.{more}"


def execute(
    study: ResolvedStudy,
    storage: str | None,
    form: Format,
    quiet: bool,
    *,
    only_retrain: bool = False,
    chosen: int | None = None,
) -> None:
    """Search, retraining, summary; exits 130, 143 or 129 after SIGINT, SIGTERM or SIGHUP.

    Args:
        chosen: number of the trial to retrain, if the user named one.
    """
    from hpo.tune.stop import Stop

    console = console_of(quiet)
    tell(console)
    terminal = Terminal(study, console, only_retrain=only_retrain)
    with Stop() as stop:
        try:
            outcome = carry_out(
                study, storage, terminal, stop, only_retrain=only_retrain, chosen=chosen
            )
            _summary(outcome, form)
            if outcome.problem:
                raise HpoError(outcome.problem)
        except KeyboardInterrupt:
            print(terminal.going_on, file=sys.stderr)
        if stop.signal is not None:
            sys.exit(128 + stop.signal)


def tell(console: Console) -> None:
    """Shows what the service itself has to say: an outage that is waited out, and the like."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            console.print(_safe(record.getMessage()), style="yellow", highlight=False)

    log = logging.getLogger("hpo")
    log.handlers[:] = [Handler()]
    log.propagate = False


def console_of(quiet: bool) -> Console:
    """Where progress goes: standard error."""
    from rich.console import Console

    return Console(stderr=True, quiet=quiet)


def _safe(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _summary(outcome: Outcome, form: Format) -> None:
    from hpo.cli.summary import print_summary, summarize

    page = outcome.page and str(outcome.page)
    facts = {**summarize(outcome), "report": page}
    try:
        with answer():
            if form is Format.json:
                print_json(facts)
            else:
                print_summary(facts)
    except OutputError as error:  # what was found is in the ledger all the same
        print(f"Note: {error}: see `hpo best {outcome.study.name}`", file=sys.stderr)
