"""Which metrics a model reports, found out before a study is made: by a look at a few rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpo.errors import SpecError
from hpo.model import FunctionModel, Model
from hpo.registry import load_data
from hpo.training.session import SPLIT_SEED

_N_ROWS = 64


def check_metrics(
    model: Model, data: str, params: Mapping[str, Any], wanted: tuple[str, ...]
) -> None:
    """Refuses a metric that an untrained network shows the model not to report.

    What cannot be found out here is left to the trials: a function's metrics, and those of a model
    that does not come through with a few rows.

    Args:
        params: a configuration to build a network of.
        wanted: metrics beside the model's own objective, or `latency_ms`.
    Raises:
        SpecError: with every problem, a line each.
    """
    import torch

    if isinstance(model, FunctionModel):
        return
    try:
        seen = load_data(model, data, SPLIT_SEED)
        assert seen is not None
        seen = seen.for_search()
        net = model.build(params, seen).eval()
        rows = tuple(column[:_N_ROWS] for column in seen.val)
        with torch.no_grad():
            known = [*model.evaluate(net, [rows], params)]
        players = model.players(net, params)
    except Exception:
        return
    known += [f"train_loss{player and '_'}{player}" for player in players]
    problems = [
        f"objectives, constraints: {name!r} is no metric of {type(model).__name__}: choose from "
        f"{', '.join(known)}, or params, size_mb, latency_ms"
        for name in wanted
        if name not in (*known, "params", "size_mb", "latency_ms")
    ]
    if "latency_ms" in wanted and "latency_ms" not in known:
        try:
            with torch.no_grad():
                model.infer(net, tuple(column[:1] for column in rows), params)
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            problems.append(
                f"latency_ms: one row cannot be given to the network of {type(model).__name__} "
                f"({reason}): define infer(net, batch, params) in the model"
            )
    if problems:
        raise SpecError(problems)
