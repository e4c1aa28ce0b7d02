"""Which metrics a model reports, found out before a study is made: by a look at a few rows, or at
a function's source."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from typing import Any

from hpo.errors import SpecError
from hpo.habits import problems_of
from hpo.model import Data, FunctionModel, Metrics, Model
from hpo.registry import load_data
from hpo.training.session import SPLIT_SEED

_ENOUGH = (64, 512)
"""Rows of the first look, and of the second one where so few will not do."""
_log = logging.getLogger("hpo.training")


def check_function(model: FunctionModel, metric: str, wanted: tuple[str, ...]) -> None:
    """Refuses a function whose source shows that its trials cannot work, or that it does not
    report what is asked for.

    Args:
        metric: that its epochs are compared by.
        wanted: metrics of objectives and constraints.
    Raises:
        SpecError: with every problem, a line each.
    """
    reported = (metric, *(name for name in wanted if name not in ("params", "size_mb")))
    if problems := problems_of(model.function, metric, reported):
        raise SpecError(problems)


def check_metrics(
    model: Model, data: str, params: Mapping[str, Any], wanted: tuple[str, ...]
) -> None:
    """Refuses a metric that an untrained network shows the model not to report.

    A model that does not come through this look is left to its trials, with a warning.

    Args:
        params: a configuration to build a network of.
        wanted: metrics beside the model's own objective, or `latency_ms`.
    Raises:
        SpecError: with every problem, a line each.
    """
    import torch

    if isinstance(model, FunctionModel):
        return
    model = copy.copy(model)  # what `begin_epoch` leaves in it is not the study's
    try:
        seen = load_data(model, data, SPLIT_SEED)
        if seen is None:
            return
        seen = seen.for_search()
        net = model.build(params, seen).eval()
        players = model.players(net, params)
        known = [*_metrics(model, net, seen, params)]
    except SpecError:
        raise
    except Exception as error:
        _log.warning(
            "objectives, constraints: whether %s reports %s is not known before its first trial, "
            "for an untrained network of it fails: %s: %s",
            type(model).__name__,
            ", ".join(wanted),
            type(error).__name__,
            " ".join(str(error).split())[:200],
        )
        return
    rows = tuple(column[:1] for column in seen.val)
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
                model.infer(net, rows, params)
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            problems.append(
                f"latency_ms: one row cannot be given to the network of {type(model).__name__} "
                f"({reason}): define infer(net, batch, params) in the model"
            )
    if problems:
        raise SpecError(problems)


def _metrics(model: Model, net: Any, data: Data, params: Mapping[str, Any]) -> Metrics:
    """What the model reports of an untrained network."""
    import torch

    model.begin_epoch(net, 0.0, params)
    for n in _ENOUGH:
        try:
            with torch.no_grad():
                return model.evaluate(net, [tuple(column[:n] for column in data.val)], params)
        except Exception:
            if n == _ENOUGH[-1]:
                raise
    return {}
