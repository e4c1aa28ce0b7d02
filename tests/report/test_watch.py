"""`hpo report --watch`: follows a study while somebody drives it, and ends by itself."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from hpo.storage.lease import Lease
from tests.report.studies import make

REFRESH = 'http-equiv="refresh"'


@pytest.mark.slow
def test_a_watched_page_grows_and_stops_refreshing_when_the_driver_is_gone(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/hpo.db"
    ledger = make(url, "s", 3)
    page = tmp_path / "page.html"
    command = [sys.executable, "-m", "hpo.cli", "report", "s", "--watch", "1", "--to", str(page)]
    with Lease(ledger.storage, ledger.study._study_id, "s", beat_s=1):
        watching = subprocess.Popen([*command, "--storage", url], stdout=subprocess.PIPE, text=True)
        wait(lambda: page.exists() and "3 complete" in page.read_text())
        asked = ledger.ask()
        assert asked is not None
        ledger.complete(asked.number, 0.5)
        wait(lambda: "4 complete" in page.read_text())
        assert REFRESH in page.read_text() and watching.poll() is None
    out, _ = watching.communicate(timeout=120)
    assert watching.returncode == 0 and out.strip() == str(page)
    assert REFRESH not in page.read_text()


def wait(until: object) -> None:
    deadline = time.monotonic() + 90
    while not until():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.3)
