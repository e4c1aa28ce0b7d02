"""What a retraining leaves to save: a network's weights, or what else a user's function returns."""

from __future__ import annotations

import importlib
import importlib.util
import io
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from hpo.registry import USER_MODULE

Kind = Literal["weights", "save_model", "skops", "joblib", "nothing"]

WEIGHTS = "weights.safetensors"
OWN_FILES = {"xgboost": "model.ubj", "lightgbm": "model.txt", "catboost": "model.cbm"}
"""By package: a file's name may choose its form."""
OWN_FILE = "model.bin"
SKOPS, JOBLIB = "model.skops", "model.joblib"
_ESTIMATOR = ("predict", "transform", "fit_predict", "fit_transform")
"""Methods of which an estimator has one."""


@dataclass(frozen=True)
class Product:
    """What can be written to the saved folder.

    Attributes:
        kind: `weights` of a network, what the object's own `save_model` wrote, a file of skops or
            joblib, or nothing.
        type: the object's, as `package.module.Name`.
        files: content by relative path.
        why: nothing was saved, or not in the first form that was tried.
    """

    kind: Kind = "nothing"
    type: str = "NoneType"
    files: dict[str, bytes] = field(default_factory=dict, repr=False)
    why: str = ""


def product_of(found: Any) -> Product:
    """The form in which an object is saved; never raises an Exception.

    Tried in turn: a torch network or its state dict, `save_model`, skops if it is installed, and
    joblib.
    """
    name = _type_of(found)
    state = _state_of(found)
    if state is not None:
        forms: list[tuple[Kind, Callable[[], dict[str, bytes]]]]
        forms = [("weights", lambda: {WEIGHTS: safetensors_of(state)})]
    else:
        forms = []
        if callable(getattr(found, "save_model", None)) and not isinstance(found, type):
            forms.append(("save_model", lambda: _by_itself(found)))
        if not isinstance(found, type) and any(hasattr(found, m) for m in _ESTIMATOR):
            if importlib.util.find_spec("skops"):
                forms.append(("skops", lambda: _by_skops(found)))
            forms.append(("joblib", lambda: _by_joblib(found)))
    problems: list[str] = []
    for kind, write in forms:
        try:
            return Product(kind, name, write(), "; ".join(problems))
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            problems.append(f"{kind}: {reason}")
    if found is None:
        problems = ["the function returned nothing"]
    elif not forms:
        problems = [f"the function returned an object of type {name}, which has no saved form"]
    return Product("nothing", name, {}, "; ".join(problems))


def safetensors_of(state: Mapping[str, Any]) -> bytes:
    """A state dict as safetensors."""
    from safetensors.torch import save

    # Contiguous copies: tied weights and channels_last layouts are refused by safetensors.
    return bytes(save({name: t.detach().cpu().contiguous().clone() for name, t in state.items()}))


def _type_of(found: Any) -> str:
    kind = type(found)
    return (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else (f"{kind.__module__}.{kind.__qualname__}")
    )


def _state_of(found: Any) -> Mapping[str, Any] | None:
    import torch

    if isinstance(found, torch.nn.Module):
        return found.state_dict()
    is_state = isinstance(found, Mapping) and found
    if is_state and all(isinstance(t, torch.Tensor) for t in found.values()):
        return {str(name): tensor for name, tensor in found.items()}
    return None


def _by_itself(found: Any) -> dict[str, bytes]:
    package = type(found).__module__.partition(".")[0]
    name = OWN_FILES.get(package, OWN_FILE)
    with tempfile.TemporaryDirectory(prefix="hpo-model-") as folder:
        found.save_model(str(Path(folder) / name))
        written = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(Path(folder).rglob("*"))
            if path.is_file()
        }
    if not written:
        raise ValueError("save_model(path) wrote nothing there")
    return written


def _by_skops(found: Any) -> dict[str, bytes]:
    return {SKOPS: bytes(importlib.import_module("skops.io").dumps(found))}


def _by_joblib(found: Any) -> dict[str, bytes]:
    content = io.BytesIO()
    importlib.import_module("joblib").dump(found, content)
    if USER_MODULE.encode() not in content.getvalue():
        return {JOBLIB: content.getvalue()}
    # Classes of the function's own file go along: under that name nobody else could import it.
    cloudpickle = importlib.import_module("cloudpickle")
    for name, module in list(sys.modules.items()):
        if name.startswith(USER_MODULE):
            cloudpickle.register_pickle_by_value(module)
    return {JOBLIB: bytes(cloudpickle.dumps(found))}
