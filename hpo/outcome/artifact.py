"""The saved model: a folder with weights, params, figures and a model card; written atomically.

hpo-runs/STUDY/best/
  weights.safetensors   the network's state; what else a function returned: model.*
  model.json            everything in `Artifact`
  README.md             the model card
  *.png, *.md           what it makes of test rows, where the model shows it
"""

from __future__ import annotations

import errno
import json
import os
import platform
import re
import shutil
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from hpo.errors import HpoError, SpecError
from hpo.metrics import accuracy_interval
from hpo.model import Data, FunctionModel, Metrics, Model
from hpo.outcome.choice import DECLARED
from hpo.outcome.saved import loading, no_network, saved_text
from hpo.reading import as_stored
from hpo.registry import MODELS, find_model, load_model, unknown
from hpo.training.product import WEIGHTS, Product

FACTS, CARD = "model.json", "README.md"
_DRAFT = ".draft-"
_PACKAGES = ("hpo-torch", "torch", "torchvision", "optuna", "ray", "numpy")


def current_versions(*packages: str) -> dict[str, str]:
    """Versions of Python, of the packages that training takes, and of others that are here."""
    found = {"python": platform.python_version()}
    for package in (*_PACKAGES, *packages):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


@dataclass(frozen=True)
class Artifact:
    """What is known of a retrained model; `model.json` holds exactly this.

    Attributes:
        metric, direction: the first objective's.
        searched: its value in the search.
        choice: how it was chosen, where it is not by the best mean on fresh seeds.
        reference: what the default configuration is called.
        is_function: whether a user's function trained it, of whose data nothing is known.
        saved: kind, type and files of what was saved, and why not more; empty in older folders.
    """

    model: str
    params: dict[str, Any]
    data: str
    info: dict[str, Any]
    metric: str
    direction: str
    trial: int | None
    n_trials: int
    searched: float | None
    confirmed: list[dict[str, Any]]
    test: Metrics
    default_params: dict[str, Any]
    default_test: Metrics
    seeds: dict[str, int]
    study: dict[str, Any]
    verdict: str = ""
    choice: str = ""
    objectives: list[dict[str, str]] = field(default_factory=list)
    constraints: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=current_versions)
    reference: str = DECLARED
    is_function: bool = False
    saved: dict[str, Any] = field(default_factory=dict)
    format: int = 1


def interval_text(metric: str, value: float, n: int) -> str:
    """`0.978 [0.967, 0.985]` for an accuracy over n rows, else the plain value."""
    if metric != "accuracy" or n <= 0:
        return f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
    low, high = accuracy_interval(round(value * n), n)
    return f"{value:.4f} [{low:.4f}, {high:.4f}]"


def explain(artifact: Artifact) -> str:
    """Why the search's value, the confirmed value and the test value differ."""
    values = artifact.confirmed[0]["values"]
    mean = statistics.fmean(values)
    last = _last_training(artifact)
    if artifact.searched is None:
        return f"No trial of the search had this configuration, the {artifact.reference}. {last}"
    if artifact.confirmed[0].get("default"):
        return (
            f"The {artifact.reference} did best on {_seeds(values)}, with a mean of {mean:.4g}; in "
            f"the search, with one seed, it had {artifact.searched:.4g}. {last}"
        )
    if len(artifact.objectives) > 1:
        return f"{artifact.choice} {last}"
    luck = (artifact.searched - mean) * (1 if artifact.direction == "maximize" else -1)
    gap = f"{abs(luck):.2g} {'worse' if luck > 0 else 'better'}" if luck else "the same"
    return (
        f"The search's value ({artifact.searched:.4g}) is one of {artifact.n_trials} trials on the "
        "validation split, chosen for being good and measured with one seed: partly luck. "
        f"On {_seeds(values)} the same configuration has a mean of {mean:.4g}, {gap}. {last}"
    )


def _seeds(values: Sequence[float]) -> str:
    return "one fresh seed" if len(values) == 1 else f"{len(values)} fresh seeds"


def _last_training(artifact: Artifact) -> str:
    """What the network that was saved has been trained on and measured by."""
    if artifact.is_function:
        test = "; its test figures are those that it reported" if artifact.test else ""
        return (
            "The function was run once more with these parameters and the search's seed: which "
            f"rows it trains on, only the function knows{test}."
        )
    trained = "a network trained on training + validation data with the search's seed"
    if not artifact.test:
        return f"What is saved is {trained}; there are no test figures."
    return f"The test value comes from {trained}, tested once on rows that neither saw."


def mean_text(values: Sequence[float]) -> str:
    """`0.9853 ± 0.0012`: mean and sample standard deviation; the mean alone of one value."""
    mean = f"{statistics.fmean(values):.4f}"
    if len(values) < 2:
        return mean
    if len(set(values)) == 1:
        return f"{mean} on each of {len(values)}"
    return f"{mean} ± {statistics.stdev(values):.4f}"


def card(artifact: Artifact) -> str:
    """The model card, Markdown."""
    n_test = int(artifact.info.get("n_test", 0))
    values = artifact.confirmed[0]["values"]
    default = next((c for c in artifact.confirmed if c.get("default")), None)
    rows = [(f"confirmed (validation, {_seeds(values)})", mean_text(values))]
    if artifact.searched is not None:
        rows.insert(0, ("search (validation, one seed)", f"{artifact.searched:.4f}"))
    rows += [(f"{name}, the same seeds", text) for name, text in others(artifact)]
    if default is not None:
        rows.append((f"{artifact.reference}, the same seeds", mean_text(default["values"])))
    tests = (("test", artifact.test), (f"{artifact.reference}'s test", artifact.default_test))
    for title, metrics in tests:
        rows += [
            (f"{title}: {name}", interval_text(name, value, n_test))
            for name, value in metrics.items()
        ]
    facts = "\n".join(f"| {name} | {value} |" for name, value in rows)
    goals = ""
    if len(artifact.objectives) > 1 or artifact.constraints:
        searched = [f"{one['direction']} {one['metric']}" for one in artifact.objectives]
        goals = f"\nSearched by: {', '.join([*searched, *artifact.constraints])}.\n"
    which = f"the {artifact.reference}" if artifact.trial is None else f"trial {artifact.trial}"
    done = "run once more" if artifact.is_function else "retrained"
    done += " and tested once" if artifact.test and not artifact.is_function else ""
    on = "" if artifact.is_function else f" on {artifact.data}"
    return f"""# {artifact.study["name"]}: {artifact.model}{on}

{"Best" if not artifact.choice else "Chosen"} configuration of the study ({which}), {done}. \
{artifact.choice} {artifact.verdict}
{goals}
| {artifact.metric} ({artifact.direction}) | value |
|---|---|
{facts}

{explain(artifact)}

## Parameters
```json
{json.dumps(artifact.params, indent=1)}
```

## Use
{_use(artifact)}
Seeds: {artifact.seeds}. Versions: {", ".join(f"{k} {v}" for k, v in artifact.versions.items())}.
{_rows_text(artifact)}"""


def _use(artifact: Artifact) -> str:
    """How to load what was saved."""
    code, remark = loading(artifact, ".")
    if not code:
        return f"The folder holds {saved_text(artifact)}.\n"
    return (
        f"```python\n{code}   # {remark}\n```\nIn this folder. It holds {saved_text(artifact)}.\n"
    )


def _rows_text(artifact: Artifact) -> str:
    """What it was trained and tested on, as far as that is known."""
    if artifact.is_function:
        return "hpo does not know which rows the function trains on and measures by.\n"
    n_train, n_test = artifact.info.get("n_train"), int(artifact.info.get("n_test", 0))
    trained = f"Trained on {n_train} rows, " if n_train else "Trained on the data named above, "
    tested = f"tested on {n_test}" if n_test else "not tested"
    return f"{trained}{tested}; how it does on data of another origin was not measured.\n"


def others(artifact: Artifact, which: int = 0) -> list[tuple[str, str]]:
    """Further objectives, and what the constraints look at, of a confirmed configuration.

    Returns:
        Metric, and its mean and standard deviation over fresh seeds.
    """
    runs = artifact.confirmed[which].get("runs", ())  # older ones hold none
    looked_at = [one["metric"] for one in artifact.objectives[1:]]
    looked_at += [re.split("[<>]", text)[0] for text in artifact.constraints]
    found = []
    for name in dict.fromkeys(looked_at):
        values = [float(run[name]) for run in runs if name in run]
        if values and name != artifact.metric:
            sd = f" ± {statistics.stdev(values):.2g}" if len(values) > 1 else ""
            found.append((name, f"{statistics.fmean(values):.6g}{sd}"))
    return found


def save(artifact: Artifact, product: Product, files: Mapping[str, bytes], folder: Path) -> Path:
    """Writes `folder/best` (`best-2`, ... if there is one), whole or not at all.

    Args:
        product: what the retraining left.
        files: pictures and texts to put beside the weights, by plain name.
    Raises:
        HpoError: the folder cannot be written.
    """
    kept = {"kind": product.kind, "type": product.type, "files": list(product.files)}
    artifact = replace(artifact, saved={**kept, "why": product.why})
    draft = folder / f"{_DRAFT}{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_drafts(folder)
        draft.mkdir()
        _write(draft / FACTS, json.dumps(asdict(artifact), indent=1, default=str).encode())
        _write(draft / CARD, card(artifact).encode())
        for name, content in product.files.items():
            _write(draft / name, content)
        for name, content in files.items():
            _write(draft / Path(name).name, content)
        return _publish(draft, folder)
    except OSError as error:
        raise HpoError(f"output: cannot write {str(folder)!r}: {error.strerror}") from error
    finally:  # an interrupt leaves nothing half-written
        shutil.rmtree(draft, ignore_errors=True)


def _remove_drafts(folder: Path) -> None:
    """Removes what killed processes have left, and this one's own."""
    for draft in folder.glob(f"{_DRAFT}*"):
        pid = draft.name.removeprefix(_DRAFT)
        if pid == str(os.getpid()) or not (pid.isdigit() and Path(f"/proc/{pid}").exists()):
            shutil.rmtree(draft, ignore_errors=True)


def _publish(draft: Path, folder: Path) -> Path:
    count = 1
    while True:
        path = folder / ("best" if count == 1 else f"best-{count}")
        try:
            if not path.exists():
                draft.rename(path)
                _sync(folder)
                return path.resolve()
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise  # another process has just taken that name
        count += 1


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    _sync(path.parent)


def _sync(folder: Path) -> None:
    """Has the names in a folder survive a loss of power, too."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def read(path: str | Path) -> Artifact:
    """The facts of a saved model.

    Raises:
        SpecError: no saved model there.
    """
    file = Path(path).expanduser() / FACTS
    try:
        found = Artifact(**json.loads(file.read_text(encoding="utf-8")))
        older = "shape" in found.info and "reading" not in found.info
        return replace(found, data=as_stored(found.data, older))
    except (OSError, ValueError, TypeError) as error:
        raise SpecError(
            f"path: {str(path)!r} holds no saved model ({type(error).__name__}): "
            "give the folder that `hpo retrain` printed"
        ) from None


def is_artifact(path: str | Path) -> bool:
    """Whether there is a file `model.json`."""
    return (Path(path).expanduser() / FACTS).is_file()


def check_network(path: str | Path) -> None:
    """Raises SpecError if only the function that made it can rebuild what a folder holds."""
    artifact = read(path)
    if artifact.is_function:
        raise SpecError(no_network(artifact, path))


def load(
    path: str | Path,
    model: str | type[Model] | Model | None = None,
    data: Data | None = None,
) -> Any:
    """Gives the retrained network back, in eval mode, on the CPU.

    Args:
        path: the folder that `hpo retrain` printed.
        model: your own model's class or reference (`./mine.py:Net`).  Models of the zoo need
            none; code named inside the folder is never imported by itself.
        data: what it was trained on, for networks that are measured by it, such as a GAN; only
            needed for that.
    Returns:
        An `nn.Module` with the saved weights.
    Raises:
        SpecError: no saved model there, or its own code is needed.
    """
    from safetensors.torch import load as load_state

    artifact = read(path)
    found = model_of(artifact, model, path)
    weights = Path(path).expanduser() / WEIGHTS
    if not weights.is_file():
        raise SpecError(f"path: {str(path)!r} holds no {WEIGHTS}")
    if data is None:
        data = Data(artifact.data, (), (), None, artifact.info)
    try:
        network = found.build(artifact.params, replace(data, info=artifact.info))
        network.load_state_dict(load_state(weights.read_bytes()))
    except SpecError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise SpecError(
            f"path: {str(weights)!r} does not fit {artifact.model!r}: {reason}"
        ) from None
    return network.eval()


def model_of(
    artifact: Artifact, model: str | type[Model] | Model | None, path: str | Path
) -> Model:
    """The model behind a saved network; its own code only if it is given here.

    Args:
        path: the folder.
    Raises:
        SpecError: its own code is needed, or it is a function, which alone can rebuild it.
    """
    if artifact.is_function:
        raise SpecError(no_network(artifact, path))
    if model is None and artifact.model not in MODELS:
        raise SpecError(
            unknown("model", artifact.model, MODELS).partition(": did")[0]
            + " to the zoo: pass your own as hpo.load(path, model=Net)"
        )
    if model is None or isinstance(model, str):
        found = load_model(find_model(model or artifact.model))
    else:
        found = model() if isinstance(model, type) else model
    if isinstance(found, FunctionModel):  # saved before folders said so
        raise SpecError(no_network(replace(artifact, is_function=True), path))
    return found
