"""One run of the contest: an asker proposes, simulated workers answer out of order."""

from __future__ import annotations

import heapq
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from benchmarks.search.problems import Problem


class Asker(Protocol):
    """What a peer has to do: propose active parameters, and learn what they cost."""

    def ask(self) -> tuple[Any, Mapping[str, Any]]:
        """A token of the peer's own, and parameters for the problem's loss."""

    def tell(self, token: Any, params: Mapping[str, Any], loss: float) -> None: ...


class LearnsFailures(Asker, Protocol):
    """A peer that can be told that a trial failed, as its library is told."""

    def fail(self, token: Any, params: Mapping[str, Any]) -> None: ...


@dataclass
class Run:
    """What one run left.

    Attributes:
        losses: in order of completion; of a failed trial, the problem's ceiling.
        failed: which trials failed, counted from 1 in that order.
        ask_s: CPU seconds in `ask` and `tell` up to each completion, cumulative; on a busy machine
            the clock on the wall would tell about the neighbours.
    """

    losses: list[float] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)
    ask_s: list[float] = field(default_factory=list)


def simulate(asker: Asker, problem: Problem, seed: int, n_trials: int, n_parallel: int = 1) -> Run:
    """Runs n_trials trials on n_parallel workers; each takes 0.5 to 1.5 units of simulated time.

    A worker that is done asks for its next trial at once, while the others are still busy.
    """
    durations = random.Random(seed)
    run = Run()
    spent_s, n_asked = 0.0, 0
    busy: list[tuple[float, int, Any, Mapping[str, Any]]] = []  # end, number, token, params

    def start(now: float) -> None:
        nonlocal spent_s, n_asked
        begin = time.process_time()
        token, params = asker.ask()
        spent_s += time.process_time() - begin
        heapq.heappush(busy, (now + durations.uniform(0.5, 1.5), n_asked, token, params))
        n_asked += 1

    for _ in range(min(n_parallel, n_trials)):
        start(0.0)
    while busy:
        now, _, token, params = heapq.heappop(busy)
        loss = problem.loss(params)
        begin = time.process_time()
        if loss is None:
            cast("LearnsFailures", asker).fail(token, params)
            run.failed.append(len(run.losses) + 1)
        else:
            asker.tell(token, params, loss)
        spent_s += time.process_time() - begin
        run.losses.append(problem.ceiling if loss is None else loss)
        run.ask_s.append(spent_s)
        if n_asked < n_trials:
            start(now)
    return run
