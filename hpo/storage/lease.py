"""Who drives a study: one driver, or several that have agreed to.

Each driver has a row with a counter that it raises every few seconds.  A driver is dead if its
process is gone from this machine, or if its counter stood still for `EXPIRY_S` by the clock of
whoever watches.  No two clocks are ever compared, so that none may jump.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from hpo.errors import SpecError
from hpo.storage.lock import engine_of, exclusive
from hpo.storage.retry import Patience

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from sqlalchemy import Connection, Table

BEAT_S = 5.0
EXPIRY_S = 30.0


@dataclass(frozen=True)
class Driver:
    """A process that drives a study, as the database knows it.

    Attributes:
        run: identifies this run of the study; trials carry it as `origin["driver"]`.
        shared: whether it lets others drive beside it.
        host: for people; `place` says whether `pid` can be looked up from here.
        born: when the process started, in ticks since the machine's start; '' if unknown.
        since: local time on its machine, for people.
        beat: the counter.
    """

    run: str
    study_id: int
    shared: bool
    host: str
    place: str
    pid: int
    born: str
    since: str
    beat: int = 0

    @property
    def is_dead(self) -> bool:
        """Whether its process is gone from this machine; False too if that cannot be seen from
        here."""
        return self.place == _place() and not self.born == _born(self.pid) != ""

    def __str__(self) -> str:
        return f"pid {self.pid} on {self.host} since {self.since} (run {self.run})"


def this_process(study_id: int, shared: bool) -> Driver:
    """A driver row for this process."""
    return Driver(
        run=secrets.token_hex(6),
        study_id=study_id,
        shared=shared,
        host=socket.gethostname()[:200],
        place=_place(),
        pid=os.getpid(),
        born=_born(os.getpid()),
        since=datetime.now().astimezone().isoformat(sep=" ", timespec="seconds"),
    )


class Lease:
    """The right to drive a study, held while the context lasts.

    Args:
        shared: beside others that say so too.
    Raises:
        SpecError: on entering: another driver holds the study.
    """

    def __init__(
        self,
        storage: BaseStorage,
        study_id: int,
        study_name: str,
        *,
        shared: bool = False,
        beat_s: float = BEAT_S,
        expiry_s: float = EXPIRY_S,
        on_wait: Callable[[Driver], None] = lambda driver: None,
    ) -> None:
        self.engine = engine_of(storage)
        self.study_name = study_name
        self.me = this_process(study_id, shared)
        self.lost: str | None = None
        self.beat_s = beat_s
        self._expiry_s = expiry_s
        self._on_wait = on_wait
        self._seen: dict[str, tuple[int, float, bool]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat_on, name="hpo lease", daemon=True)
        self._file = _identity(self.engine.url.database) if self._is_file else None

    @property
    def run(self) -> str:
        """This run's identity."""
        return self.me.run

    @property
    def _is_file(self) -> bool:
        return bool(self.engine.dialect.name == "sqlite")

    def __enter__(self) -> Lease:
        told: set[str] = set()
        patience = Patience()
        while (blocking := patience(self._try_to_enter)) is not None:
            if self._state(blocking) == "alive":
                raise SpecError(
                    f"study {self.study_name!r}: driven by {blocking}: wait for it or stop it, "
                    "or let both drive with --join"
                )
            if blocking.run not in told:
                told.add(blocking.run)
                self._on_wait(blocking)
            time.sleep(min(1.0, self.beat_s))
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join(timeout=10)
        self.sign_off()

    def sign_off(self) -> None:
        """Takes this driver off the list."""
        # If the database is away the row stays, and is seen to be dead.
        with contextlib.suppress(Exception), self.engine.begin() as connection:
            table = drivers_table()
            connection.execute(table.delete().where(table.c.run == self.me.run))

    def _try_to_enter(self) -> Driver | None:
        """Enters, or returns one that is in the way."""
        table = drivers_table()
        with exclusive(self.engine, "drivers"):
            table.create(self.engine, checkfirst=True)
            with self.engine.begin() as connection:
                for driver in self._others(connection):
                    if self.me.shared and driver.shared:
                        continue
                    if self._state(driver) != "dead":
                        return driver
                    connection.execute(table.delete().where(table.c.run == driver.run))
                # Should the answer to this get lost, it is done once more.
                connection.execute(table.delete().where(table.c.run == self.me.run))
                connection.execute(table.insert().values(**asdict(self.me)))
        return None

    def _others(self, connection: Connection) -> list[Driver]:
        table = drivers_table()
        rows = connection.execute(table.select().where(table.c.study_id == self.me.study_id))
        return [Driver(**row) for row in rows.mappings() if row["run"] != self.me.run]

    def live(self) -> set[str]:
        """Runs whose trials are to be left alone: this one, and others not known to be dead."""
        with self.engine.connect() as connection:
            others = self._others(connection)
        return {self.run} | {d.run for d in others if self._state(d) != "dead"}

    def _state(self, driver: Driver) -> str:
        """alive, dead, or unknown: of another machine, and not watched for long enough yet."""
        if driver.place == self.me.place:
            return "dead" if driver.is_dead else "alive"
        now = time.monotonic()
        beat, since, moved = self._seen.get(driver.run, (driver.beat, now, False))
        if driver.beat != beat:
            since, moved = now, True
        self._seen[driver.run] = (driver.beat, since, moved)
        if now - since >= self._expiry_s:
            return "dead"
        return "alive" if moved else "unknown"

    def _beat_on(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # it is the main thread's
        table = drivers_table()
        mine = table.update().where(table.c.run == self.me.run).values(beat=table.c.beat + 1)
        while not self._stop.wait(self.beat_s):
            if self._is_file and _identity(self.engine.url.database) != self._file:
                self.lost = f"its database {self.engine.url.database} was removed or replaced"
                return
            try:
                with self.engine.begin() as connection:
                    kept = connection.execute(mine).rowcount
            except Exception:  # the database is away: whoever calls it for a trial waits for it
                continue
            if not kept:
                self.lost = "another driver took over, for this one was not heard of"
                return


def current_drivers(storage: BaseStorage, study_id: int) -> list[Driver]:
    """Drivers of a study that have not signed off."""
    from sqlalchemy import inspect

    engine = engine_of(storage)
    table = drivers_table()
    if not inspect(engine).has_table(table.name):
        return []
    with engine.connect() as connection:
        rows = connection.execute(table.select().where(table.c.study_id == study_id))
        return [Driver(**row) for row in rows.mappings()]


def drivers_table() -> Table:
    """The table of drivers, beside Optuna's own."""
    from sqlalchemy import Boolean, Column, Integer, MetaData, String, Table

    return Table(
        "hpo_drivers",
        MetaData(),
        Column("run", String(32), primary_key=True),
        Column("study_id", Integer, nullable=False, index=True),
        Column("shared", Boolean, nullable=False),
        Column("host", String(255), nullable=False),
        Column("place", String(512), nullable=False),
        Column("pid", Integer, nullable=False),
        Column("born", String(64), nullable=False),
        Column("since", String(64), nullable=False),
        Column("beat", Integer, nullable=False),
    )


def _place() -> str:
    """Equal for two processes that can look each other up by pid."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(os.readlink("/proc/self/ns/pid"))  # containers count pids by themselves
    return " ".join(parts)[:512]


def _born(pid: int) -> str:
    """When a process started, which tells it from a later one of the same pid; '' if gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        if Path("/proc/self/stat").exists():
            return ""
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return ""
        except OSError:
            return "?"
        return "?"
    state, *fields = stat.rpartition(")")[2].split()
    return "" if state in "ZX" else fields[18]


def _identity(path: str | None) -> tuple[int, int] | None:
    try:
        found = os.stat(path or "")
    except OSError:
        return None
    return found.st_dev, found.st_ino
