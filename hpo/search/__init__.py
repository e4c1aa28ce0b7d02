"""Search strategies: which configuration to try next, and which trial to stop early.

Importing this package imports neither Optuna nor scipy, skopt or torch; making a sampler does.
"""

from __future__ import annotations

from hpo.search.pruners import PRUNERS, make_pruner
from hpo.search.samplers import OBJECTIVES, ONE_OBJECTIVE, SAMPLERS, make_sampler

__all__ = ["OBJECTIVES", "ONE_OBJECTIVE", "PRUNERS", "SAMPLERS", "make_pruner", "make_sampler"]
