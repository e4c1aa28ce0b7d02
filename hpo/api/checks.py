"""What is refused before a study exists: nothing is created, and every reason is given."""

from __future__ import annotations

from hpo.errors import HpoError, SpecError
from hpo.study import ResolvedStudy


def check_before(study: ResolvedStudy) -> None:
    """Refuses what cannot run before anything is created.

    Raises:
        SpecError: the machine lacks what a trial asks for, a package, weights or data.
    """
    from hpo.search import make_pruner, make_sampler
    from hpo.tune.environment import check_address
    from hpo.tune.resources import local_cpus, local_gpus, plan_resources

    budget = study.spec.total_trials or study.n_trials
    make_sampler(study.spec.sampler, study.space, study.spec.seed, n_trials=budget)
    make_pruner(study.spec.pruner, epochs=study.epochs, n_trials=budget)
    if study.spec.ray_address is not None:
        check_address(study.spec.ray_address)
        return
    plan_resources(study.spec, local_cpus(), local_gpus())
    check_problem(study)


def check_warm_start(study: ResolvedStudy, storage: str | None) -> None:
    """Refuses earlier studies that this one cannot start from, while nothing is created.

    Raises:
        SpecError: why.
        StorageError: there is no such storage.
    """
    from hpo.storage.sql import open_storage, resolve_url
    from hpo.storage.warm_start import ALL, warm_start
    from hpo.tune.driver import meta_for

    asked = study.spec.warm_start
    if asked and set(asked) != {ALL}:
        opened = open_storage(resolve_url(storage), create=False)
        warm_start(opened, study.name, meta_for(study), [name for name in asked if name != ALL])


def check_problem(study: ResolvedStudy) -> None:
    """Refuses missing packages and weights, data that cannot be read, and unknown metrics.

    Raises:
        SpecError: why.
    """
    from hpo.model import FunctionModel
    from hpo.training.reported import check_function, check_metrics

    study.model.check(study.space, study.fixed)
    if isinstance(study.model, FunctionModel):
        check_function(study.model, study.guide.metric, study.wanted)
    _check_data(study)
    # Its own objective is the model's word, and costs no look.
    asked = tuple(name for name in study.wanted if name != study.model.objective.metric)
    if set(asked) - {"params", "size_mb"}:
        params = {**study.fixed, **study.space.default()}
        check_metrics(study.model, study.data, params, asked)


def _check_data(study: ResolvedStudy) -> None:
    """Reads the data once here: its errors are the user's, not those of every trial."""
    from hpo.model import Data, FunctionModel
    from hpo.registry import load_data
    from hpo.training.seeds import seed_all
    from hpo.training.session import SPLIT_SEED

    if study.data == "digits" or (study.data == "own" and isinstance(study.model, FunctionModel)):
        return
    seed_all(SPLIT_SEED)  # as a worker does, for data that draws from a global generator
    try:
        data = load_data(study.model, study.data, SPLIT_SEED)
    except HpoError:
        raise
    except (Exception, SystemExit) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        name = f"{type(study.model).__name__}.data({SPLIT_SEED})"
        raise SpecError(
            f"data: {name if study.data == 'own' else repr(study.data)} failed: {reason}"
        ) from error
    if not isinstance(data, Data):
        raise SpecError(
            f"data: {type(study.model).__name__}.data({SPLIT_SEED}) gives {data!r:.60}: it must "
            "give hpo.Data(name, train, val, test, info), or name one with --data"
        )
    if study.data != "own":
        study.model.check_data(data)
