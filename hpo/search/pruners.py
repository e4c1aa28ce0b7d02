"""Pruners by name: which trials are not worth their remaining epochs.

Sized for neural networks on small budgets: 6 to 30 epochs, dozens of trials.  The reported
`step` is the number of epochs done: 1, 2, ..., epochs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hpo.errors import SpecError
from hpo.search.choose import at_least, choose

if TYPE_CHECKING:
    from optuna.pruners import BasePruner

ETA = 3
"""Of `ETA` trials at a rung one goes on.  Hyperband's paper recommends 3 or 4; with 3 there
are two rungs from 7 epochs on."""


def first_rung(epochs: int, eta: int = ETA) -> int:
    """Epochs before the first decision of successive halving; the others follow at x eta.

    About a ninth of the epochs, and two at least: a single epoch ranks by chance.  No rung may
    fall on the last epoch, where pruning would save nothing and throw a finished trial away.

    >>> [first_rung(epochs) for epochs in (6, 8, 9, 12, 27, 30)]
    [3, 2, 2, 2, 4, 3]
    """
    rung = max(min(2, epochs), epochs // eta**2)
    while _hits(rung, epochs, eta):
        rung += 1
    return rung


def _hits(rung: int, epochs: int, eta: int) -> bool:
    while 0 < rung < epochs:
        rung *= eta
    return rung == epochs


def rungs_of(epochs: int, eta: int = ETA) -> list[int]:
    """Epochs after which successive halving decides.

    >>> [rungs_of(epochs) for epochs in (5, 8, 27)]
    [[2], [2, 6], [4, 12]]
    """
    rungs = [first_rung(epochs, eta)]
    while rungs[-1] * eta < epochs:
        rungs.append(rungs[-1] * eta)
    return [rung for rung in rungs if rung < epochs]


def _none(epochs: int, n_trials: int | None) -> BasePruner:
    """every trial runs to its end"""
    from optuna.pruners import NopPruner

    return NopPruner()


def _median(epochs: int, n_trials: int | None) -> BasePruner:
    """stops a trial whose best epoch is worse than the median of finished trials"""
    from optuna.pruners import MedianPruner

    # A median of few values is noise, and so is a first epoch: a quarter of the trials (at most
    # five) and of the epochs are left in peace.
    n_startup = 5 if n_trials is None else min(5, max(2, n_trials // 4))
    return MedianPruner(
        n_startup_trials=n_startup, n_warmup_steps=max(2, epochs // 4), n_min_trials=2
    )


def _curve(epochs: int, n_trials: int | None, *, top: int = 3, chance: float = 0.05) -> BasePruner:
    """stops a trial whose curve so far leaves it hardly a chance to end among the best"""
    from hpo.search.curve_pruner import CurvePruner

    if not isinstance(chance, int | float) or not 0 < chance < 1:
        raise SpecError(f"chance: {chance!r} must be a number between 0 and 1")
    n_startup = 8 if n_trials is None else min(8, max(4, n_trials // 4))
    return CurvePruner(
        epochs,
        n_warmup=max(2, math.ceil(epochs / 7)),
        n_startup=n_startup,
        top=at_least(1, "top", top),
        chance=float(chance),
    )


def _asha(epochs: int, n_trials: int | None, *, reduction_factor: int = ETA) -> BasePruner:
    """asynchronous successive halving: one in three goes on at each rung, the others pause"""
    from hpo.search.asha import AshaPruner

    eta = at_least(2, "reduction_factor", reduction_factor)
    return AshaPruner(rungs_of(epochs, eta), eta)


def _hyperband(epochs: int, n_trials: int | None, *, reduction_factor: int = ETA) -> BasePruner:
    """successive halving in several brackets, from hasty to patient"""
    from optuna.pruners import HyperbandPruner

    eta = at_least(2, "reduction_factor", reduction_factor)
    rung = first_rung(epochs, eta)
    # One epoch leaves nothing to halve; Optuna wants max_resource >= min_resource all the same.
    return HyperbandPruner(min_resource=rung, max_resource=max(epochs, rung), reduction_factor=eta)


PRUNERS: dict[str, Callable[..., BasePruner]] = {
    "none": _none,
    "median": _median,
    "curve": _curve,
    "asha": _asha,
    "hyperband": _hyperband,
}
"""Name -> factory.  A factory's docstring describes it in one line, its keywords are options."""


def make_pruner(
    name: str, *, epochs: int, n_trials: int | None = None, **options: Any
) -> BasePruner:
    """An Optuna pruner sized for trials of so many epochs; it learns the direction from the study.

    Args:
        name: one of PRUNERS.
        epochs: of a full trial, whose reported steps are 1 ... epochs.
        n_trials: how many trials are planned, if that is known.
        options: the pruner's own: `reduction_factor` of asha and hyperband, `top` and `chance`
            of curve.
    Raises:
        SpecError: unknown name or option, or a bad value.
    """
    factory = choose("pruner", name, PRUNERS, options)
    return factory(at_least(1, "epochs", epochs), n_trials, **options)
