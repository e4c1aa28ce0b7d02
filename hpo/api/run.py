"""Runs studies from Python: a script, a notebook, a test."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hpo.api.client import Client, Shown
from hpo.api.life import carry_out
from hpo.api.live import reference
from hpo.api.result import StudyResult
from hpo.errors import HpoError
from hpo.model import Model, Objective
from hpo.space import Space

if TYPE_CHECKING:
    from hpo.storage.ledger import Ledger
    from hpo.study import ResolvedStudy


def run(
    model: Any,
    *,
    space: Space | None = None,
    objective: Objective | str | None = None,
    storage: str | None = None,
    progress: bool = False,
    client: Client | None = None,
    **settings: Any,
) -> StudyResult:
    """Runs a study: searches, confirms the best on new seeds, retrains it and tests it once.

    >>> import hpo
    >>> def train(trial):
    ...     for epoch in range(trial.epochs):
    ...         trial.report(loss=(trial.params["x"] - 0.3) ** 2)
    >>> space = hpo.Space(x=hpo.Float(0.0, 1.0))
    >>> result = hpo.run(train, space=space, objective="loss", n_trials=20)  # doctest: +SKIP
    >>> result.best.params  # doctest: +SKIP
    {'x': 0.3...}

    Args:
        model: the name of a model of the zoo, a reference such as `./mine.py:Net`, a `Model` class
            or instance, or a function `train(trial)`, also one of a notebook's cell.
        space: of a function that `@tunable` has not declared.
        objective: of such a function: `accuracy`, `loss`, `utility:maximize` [default: accuracy].
        storage: URL or file [default: HPO_STORAGE, else ./hpo.db].
        progress: show what is trained, on standard error or below the notebook's cell.
        client: hears what happens meanwhile, instead.
        settings: fields of `hpo.StudySpec`, which are the flags of `hpo run`: name, sampler,
            n_trials, timeout, epochs, set, max_concurrent, ...
    Raises:
        SpecError: a setting is wrong; nothing was created.
        HpoError: no trial completed, or the search gave up.
        KeyboardInterrupt: it was interrupted; `hpo.resume` continues it.
    """
    from hpo.study import resolve, spec_from

    ref = reference(model, space, objective)
    spec = spec_from({}, {**_plain(settings), "model": ref.name})
    study = resolve(spec, ref)
    return _carried_out(study, model, storage, client or _client(study, progress))


def resume(
    name: str,
    *,
    model: Any = None,
    space: Space | None = None,
    objective: Objective | str | None = None,
    storage: str | None = None,
    progress: bool = False,
    client: Client | None = None,
    **settings: Any,
) -> StudyResult:
    """Continues a study until it has the trials it was asked for, then retrains the best.

    Args:
        name: the study's.
        model, space, objective: as for `run`, of a study whose model was an object.
        storage, progress, client: as for `run`.
        settings: n_trials, timeout, epochs, join, retry_failed, max_failures.
    Raises:
        SpecError: there is no such study, or a setting is wrong.
        HpoError, KeyboardInterrupt: as for `run`.
    """
    from hpo.storage.request import going_on, resolve_as_begun

    ledger = _opened(name, storage)
    ref = None if model is None else reference(model, space, objective)
    study = resolve_as_begun(ledger, going_on(ledger, **settings), ref)
    return _carried_out(study, model, storage, client or _client(study, progress))


def retrain(
    name: str,
    *,
    trial: int | None = None,
    top: int | None = None,
    seeds: int | None = None,
    output: str | None = None,
    model: Any = None,
    space: Space | None = None,
    objective: Objective | str | None = None,
    storage: str | None = None,
    progress: bool = False,
    client: Client | None = None,
) -> StudyResult:
    """Confirms a study's best configurations on new seeds, retrains the winner, tests it once.

    Args:
        name: the study's.
        trial: number of the trial to retrain [default: the best, or the front's knee].
        top: configurations to confirm [default: 3].
        seeds: new seeds for each [default: 3].
        output: folder for saved models [default: hpo-runs].
        model, space, objective: as for `run`, of a study whose model was an object.
        storage, progress, client: as for `run`.
    Raises:
        SpecError: there is no such study or trial.
        HpoError: nothing has completed, or the retraining failed.
    """
    from hpo.outcome.confirm import check_chosen
    from hpo.storage.request import resolve_as_begun, stored_spec
    from hpo.study import spec_from

    ledger = _opened(name, storage)
    if trial is not None:
        check_chosen(ledger, trial)
    given = {"confirm_top": top, "confirm_seeds": seeds, "output": output, "retrain": True}
    ref = None if model is None else reference(model, space, objective)
    study = resolve_as_begun(ledger, spec_from(stored_spec(ledger).model_dump(), given), ref)
    client = client or _client(study, progress)
    return _carried_out(study, model, storage, client, only_retrain=True, chosen=trial)


def _opened(name: str, storage: str | None) -> Ledger:
    from hpo.storage.ledger import Ledger
    from hpo.storage.sql import open_storage, resolve_url

    return Ledger.open(open_storage(resolve_url(storage), create=False), name)


def _carried_out(
    study: ResolvedStudy,
    model: Any,
    storage: str | None,
    client: Client,
    *,
    only_retrain: bool = False,
    chosen: int | None = None,
) -> StudyResult:
    from hpo.tune.stop import Borrowed

    stop, outcome = Borrowed(), None
    try:
        with stop:
            outcome = carry_out(
                study, storage, client, stop, only_retrain=only_retrain, chosen=chosen
            )
    except KeyboardInterrupt:
        if stop.signal is None:
            raise
    if stop.signal is not None:
        os.kill(os.getpid(), stop.signal)  # as if it had not been borrowed
    if outcome is None or stop.signal is not None:
        raise KeyboardInterrupt
    if outcome.problem:
        raise HpoError(outcome.problem)
    is_object = isinstance(model, Model | type)
    own = model if is_object else None
    return StudyResult(outcome, own or (study.ref.name if study.ref.root else None))


def _client(study: ResolvedStudy, progress: bool) -> Client:
    from rich.console import Console

    return Shown(study, Console(stderr=True)) if progress else Client()


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings in the forms that a spec takes: `set` maps names to texts or lists of values."""
    plain = dict(settings)
    for key, value in plain.items():
        if isinstance(value, os.PathLike):
            plain[key] = os.fspath(value)
        elif isinstance(value, Sequence) and not isinstance(value, str):
            plain[key] = list(value)
    return plain
