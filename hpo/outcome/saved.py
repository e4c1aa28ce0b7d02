"""What a saved folder holds beside its figures, and the line that loads it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hpo.registry import MODELS, USER_MODULE
from hpo.training.product import JOBLIB, OWN_FILE, OWN_FILES, SKOPS, WEIGHTS

if TYPE_CHECKING:
    from hpo.outcome.artifact import Artifact

_AT_YOUR_RISK = "runs code that the file holds: only for files that you trust"


def loading(artifact: Artifact, folder: str) -> tuple[str, str]:
    """Python that loads what was saved, and a remark on it; empty if nothing was.

    Args:
        folder: as the code is to name it.
    """
    kind = artifact.saved.get("kind", "weights")
    if not artifact.is_function:
        own = "" if artifact.model in MODELS else ", model=Net"
        return f'import hpo\nnetwork = hpo.load("{folder}"{own})', "an nn.Module in eval mode"
    name = str(artifact.saved.get("type", ""))
    package, short = name.partition(".")[0], name.rpartition(".")[2]
    module = name.rpartition(".")[0]
    if package.startswith(USER_MODULE):  # as the user's own code imports it
        module = module.removeprefix(USER_MODULE).partition("_")[2]
    if kind == "weights":
        return (
            "from safetensors.torch import load_file\n"
            f'network.load_state_dict(load_file("{folder}/{WEIGHTS}"))',
            f"network: built as {artifact.model} builds it",
        )
    if kind == "save_model":
        file = f"{folder}/{OWN_FILES.get(package, OWN_FILE)}"
        if package == "lightgbm":
            return f'import lightgbm\nmodel = lightgbm.Booster(model_file="{file}")', name
        return (
            f'from {module} import {short}\nmodel = {short}()\nmodel.load_model("{file}")',
            f"written by its own save_model; see how {short} loads it",
        )
    if kind == "skops":
        return (
            f'import skops.io\nfile = "{folder}/{SKOPS}"\n'
            "model = skops.io.load(file, trusted=skops.io.get_untrusted_types(file=file))",
            "look at get_untrusted_types(file=file) before you trust them",
        )
    if kind == "joblib":
        return f'import joblib\nmodel = joblib.load("{folder}/{JOBLIB}")', _AT_YOUR_RISK
    return "", ""


def saved_text(artifact: Artifact) -> str:
    """What the folder holds of the model, in few words."""
    saved = artifact.saved
    files = ", ".join(saved.get("files", ())[:3])
    why = f" ({saved['why']})" if saved.get("why") else ""
    match saved.get("kind", "weights"):
        case "nothing":
            return (
                f"no model, only metrics and parameters: {saved['why']}; return a torch network, "
                "its state dict, an object with save_model(path), or an estimator"
            )
        case "joblib":
            return f"{files}: {saved['type']} by joblib{why}; joblib.load {_AT_YOUR_RISK}"
        case kind if artifact.is_function:
            return f"{files}: {saved.get('type')} by {kind}{why}"
        case _:
            return WEIGHTS


def no_network(artifact: Artifact, folder: str | Path) -> str:
    """Why hpo cannot rebuild a network of a folder, and what can be done; a line."""
    code, _ = loading(artifact, str(folder))
    if not code:
        return (
            f"path: {str(folder)!r} holds no model: {artifact.model!r} is a function, and "
            f"{artifact.saved.get('why', 'it returned none')}"
        )
    return (
        f"path: {str(folder)!r} holds no network that hpo can rebuild, since {artifact.model!r} is "
        f"a function: load it by {'; '.join(code.splitlines())}"
    )
