"""A storage that only reads, for Optuna's own functions on a study of the ledger's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from optuna.storages import BaseStorage

from hpo.errors import HpoError


def _refused(name: str) -> Callable[..., Any]:
    def refuse(self: Any, *args: Any, **options: Any) -> Any:
        raise HpoError(
            f"{name}: this study is open to look at: run it with hpo.run, or copy it with "
            "optuna.copy_study"
        )

    return refuse


def _passed_on(name: str) -> Callable[..., Any]:
    def read(self: Any, *args: Any, **options: Any) -> Any:
        return getattr(self._storage, name)(*args, **options)

    return read


_READING = ("get_", "check_trial_is_updatable")
_METHODS = {
    name: (_passed_on if name.startswith(_READING) else _refused)(name)
    for name in (*BaseStorage.__abstractmethods__, "get_n_trials", "get_best_trial")
}


class ReadOnlyStorage(type("_Reads", (BaseStorage,), _METHODS)):  # type: ignore[misc]
    """Passes on what reads, and refuses what writes."""

    def __init__(self, storage: BaseStorage) -> None:
        self._storage = storage
