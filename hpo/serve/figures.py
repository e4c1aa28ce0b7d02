"""What Prometheus reads: requests, seconds, batches; of all replicas together.

Replicas write to files in PROMETHEUS_MULTIPROC_DIR, so that any of them tells of all.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_ROWS = (1, 2, 4, 8, 16, 32, 64)


class Figures:
    """The server's counters."""

    def __init__(self) -> None:
        own = CollectorRegistry()
        self.requests = Counter(
            "hpo_requests_total", "Requests.", ["model", "status"], registry=own
        )
        self.seconds = Histogram(
            "hpo_request_seconds", "Time of a request.", ["model"], buckets=_SECONDS, registry=own
        )
        self.rows = Histogram(
            "hpo_batch_rows", "Rows of a batch.", ["model"], buckets=_ROWS, registry=own
        )
        self.in_flight = Gauge(
            "hpo_requests_in_flight",
            "Requests under way.",
            ["model"],
            registry=own,
            multiprocess_mode="livesum",
        )
        self.own = own

    def batch(self, model: str, n_rows: int) -> None:
        """Notes a batch."""
        self.rows.labels(model).observe(n_rows)

    def request(self, model: str, status: int, begun: float) -> None:
        """Notes a request that began at that `time.perf_counter()`."""
        self.requests.labels(model, str(status)).inc()
        self.seconds.labels(model).observe(time.perf_counter() - begun)

    def text(self) -> bytes:
        """Prometheus' text format."""
        registry = self.own
        if FOLDER in os.environ:
            _forget_the_dead(Path(os.environ[FOLDER]))
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)


def _forget_the_dead(folder: Path) -> None:
    """What a killed replica had under way is over; what it has counted stays."""
    for file in folder.glob("gauge_live*_*.db"):
        try:
            os.kill(int(file.stem.rpartition("_")[2]), 0)
        except ProcessLookupError:
            file.unlink(missing_ok=True)
