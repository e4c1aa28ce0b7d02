"""The lease: one driver a study, takeover of the dead, clocks that jump, drivers that share."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from typing import Any

import pytest
from optuna.storages import BaseStorage
from sqlalchemy import event

from hpo.errors import SpecError
from hpo.storage.lease import Driver, Lease, current_drivers, drivers_table, this_process
from hpo.storage.lock import engine_of
from hpo.storage.sql import open_storage

pytestmark = pytest.mark.alone
STUDY = 7
BEAT_S, EXPIRY_S = 0.1, 1.0


def lease(storage: BaseStorage, **options: Any) -> Lease:
    return Lease(storage, STUDY, "s", beat_s=BEAT_S, expiry_s=EXPIRY_S, **options)


def enter(storage: BaseStorage, **changes: Any) -> Driver:
    """A driver's row as another process would have written it."""
    from dataclasses import asdict

    driver = replace(this_process(STUDY, shared=False), **changes)
    table = drivers_table()
    with engine_of(storage).begin() as connection:
        table.create(connection, checkfirst=True)
        connection.execute(table.insert().values(**asdict(driver)))
    return driver


def test_a_second_driver_is_refused_with_who_and_since_when(storage_url: str) -> None:
    storage = open_storage(storage_url, create=True)
    with lease(storage) as first, pytest.raises(SpecError) as refused:
        lease(open_storage(storage_url, create=True)).__enter__()
    me = first.me
    assert f"driven by pid {me.pid} on {me.host} since {me.since} (run {me.run})" in str(
        refused.value
    )
    assert current_drivers(storage, STUDY) == []  # it signed off


def test_a_dead_process_of_this_machine_is_taken_over_at_once(storage_url: str) -> None:
    storage = open_storage(storage_url, create=True)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    enter(storage, pid=gone.pid, born="1")
    started = time.monotonic()
    with lease(storage) as mine:
        assert time.monotonic() - started < EXPIRY_S / 2
        assert [driver.run for driver in current_drivers(storage, STUDY)] == [mine.run]


def test_a_process_that_only_has_the_number_of_the_dead_one_is_not_it(storage_url: str) -> None:
    storage = open_storage(storage_url, create=True)
    enter(storage, born="1")  # this very pid, but started at another time
    with lease(storage):
        pass


def test_a_dead_driver_is_told_from_one_that_drives_and_one_that_cannot_be_seen() -> None:
    me = this_process(STUDY, shared=False)
    assert not me.is_dead
    assert replace(me, born="1").is_dead
    assert not replace(me, born="1", place="elsewhere").is_dead


def test_a_silent_driver_elsewhere_is_taken_over_after_a_while(storage_url: str) -> None:
    storage = open_storage(storage_url, create=True)
    silent = enter(storage, place="another machine", since="2999-01-01 00:00:00+00:00")
    waited_for: list[Driver] = []
    started = time.monotonic()
    with lease(storage, on_wait=waited_for.append):
        assert EXPIRY_S <= time.monotonic() - started < 10 * EXPIRY_S
    assert [driver.run for driver in waited_for] == [silent.run]


def test_a_driver_elsewhere_that_beats_is_left_alone(storage_url: str) -> None:
    storage = open_storage(storage_url, create=True)
    with lease(storage) as other:
        table, engine = drivers_table(), engine_of(storage)
        with engine.begin() as connection:
            row = table.update().where(table.c.run == other.run)
            connection.execute(row.values(place="another machine"))
        with pytest.raises(SpecError, match="driven by"):
            lease(open_storage(storage_url, create=True)).__enter__()


@pytest.mark.parametrize("jump", [-1e6, 1e6])
def test_a_clock_that_jumps_breaks_nothing(
    storage_url: str, jump: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = open_storage(storage_url, create=True)
    with lease(storage) as first:
        now = time.time
        monkeypatch.setattr(time, "time", lambda: now() + jump)
        with pytest.raises(SpecError, match="driven by"):
            lease(open_storage(storage_url, create=True)).__enter__()
        time.sleep(3 * BEAT_S)
        assert first.lost is None


def test_who_was_taken_over_learns_it(storage_url: str) -> None:
    storage = open_storage(storage_url, create=True)
    with lease(storage) as mine:
        with engine_of(storage).begin() as connection:
            connection.execute(drivers_table().delete())
        deadline = time.monotonic() + 5
        while mine.lost is None and time.monotonic() < deadline:
            time.sleep(BEAT_S)
        assert mine.lost is not None and "took over" in mine.lost


@pytest.mark.postgres
def test_drivers_share_a_study_only_if_both_say_so(postgres_url: str) -> None:
    storage = open_storage(postgres_url, create=True)
    with lease(storage, shared=True) as a, lease(storage, shared=True) as b:
        assert a.live() == b.live() == {a.run, b.run}
        with pytest.raises(SpecError, match="driven by"):
            lease(storage).__enter__()


def test_an_entry_whose_answer_was_lost_is_made_once(storage_url: str) -> None:
    storage = open_storage(storage_url, create=True)
    engine = engine_of(storage)
    entering = lease(storage)
    with entering:
        pass
    broken = []

    def lose(connection: Any) -> None:
        if not broken:
            broken.append(True)
            connection.connection.commit()  # carried out, but nobody hears of it
            from sqlalchemy.exc import OperationalError

            raise OperationalError("commit", {}, Exception("connection lost"))

    event.listen(engine, "commit", lose)
    try:
        with lease(storage) as mine:
            assert [driver.run for driver in current_drivers(storage, STUDY)] == [mine.run]
    finally:
        event.remove(engine, "commit", lose)
    assert broken
