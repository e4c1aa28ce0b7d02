"""Waits for a database that is busy or away, and says so.

Source of the schedule: exponential back-off, cut off at a few seconds because the database's
return is to be noticed soon.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from typing import TypeVar

from hpo.errors import StorageError
from hpo.storage.outage import may_pass, reason_of, refusal

WAIT_S = float(os.environ.get("HPO_DB_WAIT_S", "600"))
"""How long one call waits in all."""
FIRST_DELAY_S, LONGEST_DELAY_S = 0.1, 5.0
_SAY_AGAIN_S = 30
_NO_RECORD = "Record does not exist."
"""What Optuna's storage says of a row that is not there."""
_log = logging.getLogger("hpo.storage")
T = TypeVar("T")


class Patience:
    """Calls the database until it answers.

    A call that was cut off may have been carried out: what is called must bear being repeated.

    Args:
        wait_s: seconds one call waits in all.
    """

    def __init__(self, wait_s: float | None = None) -> None:
        self.wait_s = WAIT_S if wait_s is None else wait_s
        self._until = float("inf")

    def hurry(self, seconds: float) -> None:
        """From now on nothing waits longer than this, a call that waits already included."""
        self._until = min(self._until, time.monotonic() + seconds)

    def __call__(self, call: Callable[[], T]) -> T:
        """The call's result.

        Raises:
            StorageError: the database stays away, or waiting would not mend it.
        """
        from optuna.exceptions import StorageInternalError
        from sqlalchemy.exc import DBAPIError
        from sqlalchemy.exc import TimeoutError as NoConnection

        start = said = time.monotonic()
        delay = FIRST_DELAY_S
        while True:
            try:
                result = call()
            except (DBAPIError, StorageInternalError, NoConnection) as error:
                now = time.monotonic()
                if not may_pass(error):
                    raise refusal(error) from error
                reason = reason_of(error)
                if now - start >= self.wait_s or now >= self._until:
                    raise StorageError(
                        f"storage: no answer for {now - start:.0f} s: {reason}: every acknowledged "
                        "result is stored; repair the database, then run `hpo resume`"
                    ) from error
                if now - said > _SAY_AGAIN_S or said == start < now - 1:
                    _log.warning("database: %s: waiting (%.0f s so far)", reason, now - start)
                    said = now
                time.sleep(delay)
                delay = min(2 * delay, LONGEST_DELAY_S)
            except KeyError as error:
                if error.args != (_NO_RECORD,):
                    raise
                raise StorageError(
                    "storage: the study or one of its trials is gone: somebody deleted or renamed "
                    "it; see `hpo studies`"
                ) from error
            else:
                if said > start:
                    _log.warning("database: back after %.0f s", time.monotonic() - start)
                return result
