"""Carries a study out: search, retraining, summary, exit code."""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hpo.cli.header import announce, n_to_run, workload_of
from hpo.cli.output import Format, print_json
from hpo.cli.streams import OutputError, answer
from hpo.errors import HpoError, SpecError

if TYPE_CHECKING:
    from rich.console import Console

    from hpo.cli.progress import StudyProgress
    from hpo.outcome.retrain import Retrained
    from hpo.storage.lease import Driver
    from hpo.storage.ledger import Ledger
    from hpo.study import ResolvedStudy
    from hpo.tune.driver import SearchEnd
    from hpo.tune.resources import Resources
    from hpo.tune.stop import Stop


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

    with Stop() as stop:
        try:
            console = console_of(quiet)
            _carry_out(
                study, storage, form, console, stop, only_retrain=only_retrain, chosen=chosen
            )
        except KeyboardInterrupt as interrupt:
            print(*interrupt.args or ("Interrupted.",), file=sys.stderr)
        if stop.signal is not None:
            sys.exit(128 + stop.signal)


def _carry_out(
    study: ResolvedStudy,
    storage: str | None,
    form: Format,
    console: Console,
    stop: Stop,
    *,
    only_retrain: bool,
    chosen: int | None,
) -> None:
    from hpo.cli.progress import StudyProgress
    from hpo.storage.request import remember
    from hpo.storage.sql import open_storage, resolve_url
    from hpo.tune.cluster import check_nodes
    from hpo.tune.driver import drive, n_trials_left, search
    from hpo.tune.environment import ray_session

    check_before(study)
    check_warm_start(study, storage)
    url = resolve_url(storage)
    tell(console)
    opened = open_storage(url, create=True)
    goes_on = _going_on(study, only_retrain)
    with drive(study, opened, lambda other: _waiting(console, study, other)) as ledger, goes_on:
        n_left = n_trials_left(study, ledger)
        if not only_retrain:
            remember(study, ledger, n_left)
        n_trials = 0 if only_retrain else n_to_run(study, ledger, n_left)
        after = workload_of(study, ledger, n_trials, chosen)
        announce(study, ledger, url, console, after, only_retrain=only_retrain)
        end = None
        retrained = None
        show = StudyProgress(console, ledger, n_trials, study.epochs, after, study.timeout)
        with show as progress, held_ray(stop, lambda: ray_session(study.spec)) as resources:
            if study.spec.ray_address is not None:
                check_nodes(study.data)
            before = ledger.counts()
            if not only_retrain:
                end = search(study, ledger, resources, progress, stop)
            if end is not None and ledger.counts() == before and _retrained_before(ledger, console):
                pass
            elif (end is None or end.whole) and study.spec.retrain:
                retrained = _retrain(study, ledger, resources, progress, chosen)
        if retrained is not None:
            _publish(study, ledger, retrained)
        page = _report(study, ledger, console) if study.spec.report else None
        _summary(study, ledger, url, end, retrained, form, page)
        if end is not None and end.problem:
            raise HpoError(end.problem)
        if stop.signal is None and ledger.best() is None:
            raise HpoError(_nothing_completed(study, ledger))


@contextmanager
def _going_on(study: ResolvedStudy, only_retrain: bool) -> Iterator[None]:
    """Names the command that continues what an interrupt has ended."""
    command = f"hpo {'retrain' if only_retrain else 'resume'} {shlex.quote(study.name)}"
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"Interrupted. Continue with: {command}") from None


@contextmanager
def held_ray(
    stop: Stop, session: Callable[[], AbstractContextManager[Resources]]
) -> Iterator[Resources]:
    """Ray, whose start and end no signal interrupts."""
    with ExitStack() as stack:
        with stop.held():
            resources = stack.enter_context(session())
        stack.callback(stop.hold)  # while Ray is shut down
        yield resources


def tell(console: Console) -> None:
    """Shows what the service itself has to say: an outage that is waited out, and the like."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            console.print(_safe(record.getMessage()), style="yellow", highlight=False)

    log = logging.getLogger("hpo")
    log.handlers[:] = [Handler()]
    log.propagate = False


def _waiting(console: Console, study: ResolvedStudy, other: Driver) -> None:
    console.print(
        f"[yellow]{_safe(study.name)}: held by {_safe(str(other))}: looking for half a minute "
        "whether it lives[/yellow]",
        highlight=False,
        soft_wrap=True,
    )


def check_before(study: ResolvedStudy) -> None:
    """Refuses what cannot run before anything is created.

    Raises:
        SpecError: the machine lacks what a trial asks for, a package, weights or data.
    """
    from hpo.search import make_pruner, make_sampler
    from hpo.tune.environment import check_address
    from hpo.tune.resources import local_cpus, local_gpus, plan_resources

    budget = study.spec.total_trials or study.n_trials
    make_sampler(study.spec.sampler, study.space, study.spec.seed, n_trials=budget)
    make_pruner(study.spec.pruner, epochs=study.epochs, n_trials=budget)
    if study.spec.ray_address is not None:
        check_address(study.spec.ray_address)
        return
    plan_resources(study.spec, local_cpus(), local_gpus())
    check_problem(study)


def check_warm_start(study: ResolvedStudy, storage: str | None) -> None:
    """Refuses earlier studies that this one cannot start from, while nothing is created.

    Raises:
        SpecError: why.
        StorageError: there is no such storage.
    """
    from hpo.storage.sql import open_storage, resolve_url
    from hpo.storage.warm_start import ALL, warm_start
    from hpo.tune.driver import meta_for

    asked = study.spec.warm_start
    if asked and set(asked) != {ALL}:
        opened = open_storage(resolve_url(storage), create=False)
        warm_start(opened, study.name, meta_for(study), [name for name in asked if name != ALL])


def check_problem(study: ResolvedStudy) -> None:
    """Refuses missing packages and weights, data that cannot be read, and unknown metrics.

    Raises:
        SpecError: why.
    """
    from hpo.model import FunctionModel
    from hpo.training.reported import check_function, check_metrics

    study.model.check(study.space, study.fixed)
    if isinstance(study.model, FunctionModel):
        check_function(study.model, study.guide.metric, study.wanted)
    _check_data(study)
    # Its own objective is the model's word, and costs no look.
    asked = tuple(name for name in study.wanted if name != study.model.objective.metric)
    if set(asked) - {"params", "size_mb"}:
        params = {**study.fixed, **study.space.default()}
        check_metrics(study.model, study.data, params, asked)


def _check_data(study: ResolvedStudy) -> None:
    """Reads the data once here: its errors are the user's, not those of every trial."""
    from hpo.model import Data, FunctionModel
    from hpo.registry import load_data
    from hpo.training.seeds import seed_all
    from hpo.training.session import SPLIT_SEED

    if study.data == "digits" or (study.data == "own" and isinstance(study.model, FunctionModel)):
        return
    seed_all(SPLIT_SEED)  # as a worker does, for data that draws from a global generator
    try:
        data = load_data(study.model, study.data, SPLIT_SEED)
    except HpoError:
        raise
    except (Exception, SystemExit) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        name = f"{type(study.model).__name__}.data({SPLIT_SEED})"
        raise SpecError(
            f"data: {name if study.data == 'own' else repr(study.data)} failed: {reason}"
        ) from error
    if not isinstance(data, Data):
        raise SpecError(
            f"data: {type(study.model).__name__}.data({SPLIT_SEED}) gives {data!r:.60}: it must "
            "give hpo.Data(name, train, val, test, info), or name one with --data"
        )
    if study.data != "own":
        study.model.check_data(data)


def console_of(quiet: bool) -> Console:
    """Where progress goes: standard error."""
    from rich.console import Console

    return Console(stderr=True, quiet=quiet)


def _safe(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _retrain(
    study: ResolvedStudy,
    ledger: Ledger,
    resources: Resources,
    progress: StudyProgress,
    chosen: int | None,
) -> Retrained:
    from hpo.outcome.retrain import retrain

    if ledger.best() is None:
        raise HpoError(_nothing_completed(study, ledger))
    return retrain(study, ledger, resources, progress, chosen)


def _retrained_before(ledger: Ledger, console: Console) -> bool:
    """Whether the study has its retrained model already, of the trials that there are."""
    before = ledger.attr("hpo:retrained")
    if before:
        console.print(
            f"No trial was left to run. The retrained model is in {_safe(before['path'])}; "
            f"`hpo retrain {_safe(ledger.name)}` makes another.",
            highlight=False,
            soft_wrap=True,
        )
    return bool(before)


def _nothing_completed(study: ResolvedStudy, ledger: Ledger) -> str:
    if n_broken := ledger.n_infeasible():
        return (
            f"study {study.name!r}: {n_broken} trials completed, and none keeps "
            f"{', '.join(map(str, study.constraints))}: run more trials, or loosen it under "
            "another --name"
        )
    failed = [t for t in ledger.trials() if t.state.name == "FAIL"]
    reason = failed[-1].user_attrs.get("fail_reason") if failed else "none was started"
    return (
        f"study {study.name!r}: no trial completed ({len(failed)} failed, the last: {reason}): "
        f"see `hpo trials {study.name} --state fail`"
    )


def _publish(study: ResolvedStudy, ledger: Ledger, retrained: Retrained) -> None:
    from hpo.web.publish import publish

    publish(study, ledger, retrained)


def _report(study: ResolvedStudy, ledger: Ledger, console: Console) -> Path | None:
    """Writes the study's page; the results are in the ledger, and no page is worth losing them."""
    from hpo.report.study_page import write_study
    from hpo.web.publish import publish_page

    output = Path(study.spec.output).expanduser().absolute()
    page = output / study.name / "report.html"
    try:
        if ledger.best() is None:
            return None
        write_study(ledger, page)
        publish_page([ledger], page, f"{study.name}.html", output)
    except Exception as error:
        console.print(f"No report: {type(error).__name__}: {error}", style="yellow", markup=False)
        return None
    return page


def _summary(
    study: ResolvedStudy,
    ledger: Ledger,
    url: str,
    end: SearchEnd | None,
    retrained: Retrained | None,
    form: Format,
    page: Path | None,
) -> None:
    from hpo.cli.summary import print_summary, summarize

    facts = {**summarize(study, ledger, url, end, retrained), "report": page and str(page)}
    try:
        with answer():
            if form is Format.json:
                print_json(facts)
            else:
                print_summary(facts)
    except OutputError as error:  # what was found is in the ledger all the same
        print(f"Note: {error}: see `hpo best {study.name}`", file=sys.stderr)
