"""The commented study file that `hpo init` writes."""

from __future__ import annotations

import json
from typing import Any

from hpo.model import Model
from hpo.registry import ModelRef
from hpo.search import PRUNERS, SAMPLERS


def _toml(value: Any) -> str:
    return json.dumps(value)  # strings, numbers, booleans and lists read the same in TOML


def study_toml(ref: ModelRef, model: Model) -> str:
    """A study of this model with every common setting explained."""
    data = model.datasets[0] if model.datasets else "own"
    lines = [
        f"# A study of {ref.name}.  Run it:  hpo run --study ./THIS_FILE.toml   (flags win)",
        f"model = {_toml(ref.name)}",
        f"data = {_toml(data)}" + f"  # fits: {', '.join(model.datasets) or 'its own'}",
        f'sampler = "auto"  # {", ".join(SAMPLERS)}',
        f'pruner = "median"  # {", ".join(PRUNERS)}',
        f"n_trials = {model.n_trials}  # this many more on each run; or total_trials",
        "# timeout = 3600  # seconds; no trial is started after that",
        f"epochs = {model.epochs}",
        "seed = 0",
        "default_first = true  # the model's default configuration is the first trial",
        '# warm_start = ["STUDY"]  # begin with the best of earlier studies; or "all"',
        "",
        "# max_concurrent = 2  # trials at once; by default as many as fit",
        "cpus_per_trial = 1",
        "# gpus_per_trial = 1  # fractions share a GPU; by default 1 where there are GPUs",
        '# precision = "bf16"  # fp32, bf16, fp16 (GPU)',
        "# accumulate = 1  # batches a gradient step is summed over",
        "# patience = 5  # stop after this many epochs without gain",
        "# ema = 0.99  # decay of averaged weights",
        "",
        "confirm_top = 3  # the best are confirmed ...",
        "confirm_seeds = 3  # ... on fresh seeds before one is retrained",
        "",
        "# Fix or narrow parameters; all others keep the range the model declares:",
        "[set]",
    ]
    space = model.space.to_json()
    for name, value in model.space.default().items():
        lines.append(f"# {name} = {_toml(str(value))}")
    return "\n".join([*lines, "", *_space_comment(space)]) + "\n"


def _space_comment(space: Any) -> list[str]:
    rows = ["# The space as declared:"]
    params = space.get("params", space)
    items = params.items() if isinstance(params, dict) else ((p["name"], p) for p in params)
    return rows + [f"#   {name}: {json.dumps(value)}" for name, value in items]
