"""Retrains the confirmed best on training + validation data, tests it once, and saves it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from hpo.errors import HpoError
from hpo.model import FunctionModel, Metrics
from hpo.outcome.artifact import Artifact, current_versions, save
from hpo.outcome.confirm import UNTRIED, Confirmed, confirm, verdict_of, verdict_on_test
from hpo.storage.ledger import Ledger
from hpo.storage.noise import noise_text
from hpo.study import ResolvedStudy
from hpo.training.files import TrialFiles
from hpo.training.product import Product
from hpo.tune.driver import job_of, study_folder
from hpo.tune.observer import Observer
from hpo.tune.pool import Trained, train_phase
from hpo.tune.resources import Resources


@dataclass(frozen=True)
class Retrained:
    """What `retrain` came to.

    Attributes:
        ranking: confirmed configurations, the default among them, the best mean first.
        test: test metrics of the retrained best.
        verdict: whether the best beats the default beyond noise.
        default_test: those of the model's default configuration, trained the same way.
        path: the saved folder.
    """

    ranking: list[Confirmed]
    test: Metrics
    default_test: Metrics
    n_test: int
    path: Path
    verdict: str

    @property
    def best(self) -> Confirmed:
        return self.ranking[0]

    @property
    def default(self) -> Confirmed | None:
        """The default configuration, unless a rule of the space forbids it or its runs failed."""
        return next((c for c in self.ranking if c.is_default), None)


def retrain(
    study: ResolvedStudy,
    ledger: Ledger,
    resources: Resources,
    observer: Observer,
    chosen: int | None = None,
) -> Retrained:
    """Confirms, retrains, tests and saves; publishes nothing unless all of it succeeds.

    Args:
        chosen: number of the trial to retrain, instead of the best.
    Raises:
        HpoError: nothing to retrain, or the retraining failed.
    """
    ranking = confirm(study, ledger, resources, observer, chosen)
    best = ranking[0]
    seed = study.spec.seed
    default = study.space.default()
    configs = [best.params]
    if study.space.key(default) != study.space.key(best.params):
        configs.append(default)
    base = replace(job_of(study), purpose="retrain", seed=seed)
    folder = study_folder(study)
    numbers = [best.number, next((c.number for c in ranking if c.is_default), None)]
    jobs = [
        replace(
            base,
            params={**base.params, **params},
            number=number,
            files=TrialFiles.new(folder, f"retrain-{label}"),
        )
        for params, number, label in zip(configs, numbers, (best.label, UNTRIED), strict=False)
    ]
    results: list[Trained] = [Trained()] * len(jobs)
    titles = [best.title, f"the {best.reference}"]
    for index, result in train_phase("retraining", titles, jobs, resources, observer):
        results[index] = result
    if results[0].error is not None:
        raise HpoError(f"retraining {best.title} failed: {results[0].error}")
    default_test = results[-1].test
    artifact = describe(study, ledger, ranking, results[0], default_test, default, chosen)
    path = save(artifact, results[0].product, results[0].files, folder)
    facts = {"path": str(path), "trial": best.number, "test": results[0].test}
    ledger.set_attr("hpo:retrained", facts)
    n_test = int(results[0].info.get("n_test", 0))
    return Retrained(ranking, results[0].test, default_test, n_test, path, artifact.verdict)


def describe(
    study: ResolvedStudy,
    ledger: Ledger,
    ranking: list[Confirmed],
    result: Trained,
    default_test: Metrics,
    default: dict[str, Any],
    chosen: int | None = None,
) -> Artifact:
    """The artifact's plain facts."""
    best = ranking[0]
    objective = study.objectives[0]
    said = verdict_of(study, ranking)
    if not best.is_default and not study.several:
        said += verdict_on_test(objective.metric, result.test, default_test, objective.sign)
    return Artifact(
        model=study.ref.name,
        params={**study.fixed, **best.params},
        data=study.data,
        info=result.info,
        metric=objective.metric,
        direction=objective.direction,
        trial=best.number,
        n_trials=sum(ledger.counts().values()),
        searched=best.searched,
        confirmed=[
            {
                "trial": c.number,
                "default": c.is_default,
                "searched": c.searched,
                "values": c.values,
                "runs": [{"seed": seed, **metrics} for seed, metrics in c.runs.items()],
                "params": c.params,
            }
            for c in ranking
        ],
        test=result.test,
        default_params={**study.fixed, **default},
        default_test=default_test,
        seeds={"search": study.spec.seed, "retrain": study.spec.seed},
        study=study.to_json(),
        verdict=said,
        choice=choice_of(study, ledger, chosen, ranking),
        objectives=[asdict(one) for one in study.objectives],
        constraints=[str(one) for one in study.constraints],
        versions=current_versions(*_packages_of(result.product)),
        reference=best.reference,
        is_function=isinstance(study.model, FunctionModel),
    )


def _packages_of(product: Product) -> tuple[str, ...]:
    """Packages whose versions matter when it is loaded."""
    if product.kind in ("weights", "nothing"):
        return ()
    return (product.type.partition(".")[0], "scikit-learn", product.kind)


def choice_of(
    study: ResolvedStudy, ledger: Ledger, chosen: int | None, ranking: Sequence[Confirmed]
) -> str:
    """How the configuration was chosen, where it is not by the best mean on fresh seeds."""
    if chosen is not None:
        return f"Trial {chosen}, as named by --trial."
    if not study.several:
        return ""
    front = {trial.number for trial in ledger.front()}
    n_confirmed = sum(c.number in front for c in ranking)
    noise = noise_text(ledger.noise())
    return (
        f"{ranking[0].title.capitalize()}: of the Pareto front's {len(front)} trials {n_confirmed} "
        "were trained on fresh seeds; by their means this one is nearest to having the best of "
        f"each objective, in shares of the front's range.{' ' if noise else ''}{noise}"
    )
