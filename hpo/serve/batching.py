"""Rows of requests that wait at the same time are answered together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from hpo.inference.inputs import Row
from hpo.inference.predictor import BATCH, Predictor
from hpo.inference.task import Answer

_QUICK_S = 0.002
"""A row that takes less is answered on the spot: handing it to a thread would cost as much."""


class Batcher:
    """Answers for all requests of an event loop, in one thread at a time.

    Nothing waits for a batch to fill: the first rows go at once, and what comes while they are
    computed goes together.  Rows that take little are computed in the loop itself.

    Args:
        predictor: what answers.
        observe: told the number of rows of each batch.
    """

    def __init__(self, predictor: Predictor, observe: Callable[[int], object]) -> None:
        self.predictor = predictor
        self._observe = observe
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="answers")
        self._waiting: list[tuple[Sequence[Row], asyncio.Future[list[Answer]]]] = []
        self._running: asyncio.Task[None] | None = None
        self._row_s = 1.0  # seconds that a row took of late

    async def answer(self, rows: Sequence[Row]) -> list[Answer]:
        """One answer a row, in order."""
        busy = self._running is not None and not self._running.done()
        if not busy and len(rows) * self._row_s < _QUICK_S:
            self._observe(len(rows))
            return self._timed(rows)
        future: asyncio.Future[list[Answer]] = asyncio.get_running_loop().create_future()
        self._waiting.append((rows, future))
        if not busy:
            self._running = asyncio.create_task(self._run())
        return await future

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch = self._take()
            rows = [row for part, _ in batch for row in part]
            self._observe(len(rows))
            try:
                answers = await loop.run_in_executor(self._thread, self._timed, rows)
            except Exception as error:  # the requests' failure, not the server's
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            first = 0
            for part, future in batch:
                if not future.done():  # its client may have gone
                    future.set_result(answers[first : first + len(part)])
                first += len(part)

    def _timed(self, rows: Sequence[Row]) -> list[Answer]:
        begun = time.perf_counter()
        answers = self.predictor.answer(rows)
        spent = (time.perf_counter() - begun) / max(1, len(rows))
        self._row_s = 0.8 * self._row_s + 0.2 * spent if self._row_s < 1.0 else spent
        return answers

    def _take(self) -> list[tuple[Sequence[Row], asyncio.Future[list[Answer]]]]:
        """The first that wait, up to BATCH rows, at least one request."""
        n_rows = n_requests = 0
        for rows, _ in self._waiting:
            if n_requests and n_rows + len(rows) > BATCH:
                break
            n_rows += len(rows)
            n_requests += 1
        taken, self._waiting = self._waiting[:n_requests], self._waiting[n_requests:]
        return taken
