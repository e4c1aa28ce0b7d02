"""The life of a study: search, confirmation, retraining, its pages; once, for every client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hpo.api.checks import check_before, check_warm_start
from hpo.api.client import Client
from hpo.errors import HpoError
from hpo.outcome.workload import Workload, workload

if TYPE_CHECKING:
    from hpo.outcome.retrain import Retrained
    from hpo.storage.ledger import Ledger
    from hpo.study import ResolvedStudy
    from hpo.tune.driver import SearchEnd
    from hpo.tune.resources import Resources
    from hpo.tune.stop import Stop


@dataclass(frozen=True)
class Outcome:
    """What a run came to.

    Attributes:
        ledger: the study, to look at.
        url: of its storage.
        end: of the search; None: only retrained.
        retrained: None: not asked for, or there was nothing to retrain.
        page: the study's report; None: not asked for, or nothing to report.
        problem: why it failed, in one line, or None.
    """

    study: ResolvedStudy
    ledger: Ledger
    url: str
    end: SearchEnd | None
    retrained: Retrained | None
    page: Path | None
    problem: str | None


def carry_out(
    study: ResolvedStudy,
    storage: str | None,
    client: Client,
    stop: Stop,
    *,
    only_retrain: bool = False,
    chosen: int | None = None,
) -> Outcome:
    """Runs a study to its end, as its driver.

    Args:
        storage: URL or file; None: the usual one.
        only_retrain: skip the search.
        chosen: number of the trial to retrain, instead of the best.
    Raises:
        SpecError: it cannot run; nothing was created.
        KeyboardInterrupt: stopped after the search; the study can go on.
    """
    from hpo.outcome.retrain import retrain
    from hpo.storage.request import remember
    from hpo.storage.sql import open_storage, resolve_url
    from hpo.tune.cluster import check_nodes
    from hpo.tune.driver import drive, n_trials_left, search
    from hpo.tune.environment import ray_session
    from hpo.web.publish import publish

    check_before(study)
    check_warm_start(study, storage)
    url = resolve_url(storage)
    opened = open_storage(url, create=True)
    with drive(study, opened, lambda other: client.waiting(study, other)) as ledger:
        n_left = n_trials_left(study, ledger)
        if not only_retrain:
            remember(study, ledger, n_left)
        n_trials = 0 if only_retrain else _n_to_run(study, ledger, n_left)
        after = _workload_after(study, ledger, n_trials, chosen)
        client.opened(ledger, url, after)
        end, retrained = None, None
        show = client.progress(ledger, n_trials, after)
        with show as observer, held_ray(stop, lambda: ray_session(study.spec)) as resources:
            if study.spec.ray_address is not None:
                check_nodes(study.data)
            before = ledger.counts()
            if not only_retrain:
                end = search(study, ledger, resources, observer, stop)
            if end is not None and ledger.counts() == before and _retrained_before(ledger, client):
                pass
            elif (end is None or end.whole) and study.spec.retrain:
                if ledger.best() is None:
                    raise HpoError(_nothing_completed(study, ledger))
                retrained = retrain(study, ledger, resources, observer, chosen)
        if retrained is not None:
            publish(study, ledger, retrained)
        page = _report(study, ledger, client) if study.spec.report else None
        problem = end.problem if end is not None else None
        if problem is None and stop.signal is None and ledger.best() is None:
            problem = _nothing_completed(study, ledger)
        return Outcome(study, ledger, url, end, retrained, page, problem)


def _n_to_run(study: ResolvedStudy, ledger: Ledger, n_left: int | None) -> int | None:
    """Trials of this run: as asked for, a grid's cells, one where all is fixed; None: open."""
    from hpo.storage.attempts import used_budget

    if not study.space.params:
        return min(1 if n_left is None else n_left, max(0, 1 - sum(ledger.counts().values())))
    if n_left is None and study.spec.sampler == "grid":
        n_ended = sum(map(used_budget, ledger.trials()))
        return max(0, study.space.grid_size() - n_ended)
    return n_left


def _workload_after(
    study: ResolvedStudy, ledger: Ledger, n_to_run: int | None, chosen: int | None
) -> Workload:
    """The trainings after this run's search; `chosen`: the trial that is retrained in any case."""
    n_complete = ledger.counts().get("COMPLETE", 0)
    most = None if n_to_run is None else n_complete + n_to_run
    return workload(study, most, chosen=chosen)


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


def _retrained_before(ledger: Ledger, client: Client) -> bool:
    """Whether the study has its retrained model already, of the trials that there are."""
    before = ledger.attr("hpo:retrained")
    if before:
        client.note(
            f"No trial was left to run. The retrained model is in {before['path']}; "
            f"`hpo retrain {ledger.name}` makes another."
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


def _report(study: ResolvedStudy, ledger: Ledger, client: Client) -> Path | None:
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
        client.note(f"No report: {type(error).__name__}: {error}")
        return None
    return page
