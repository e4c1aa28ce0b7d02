"""Values of trials as a surrogate model is to see them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
QUARTER = 0.25
BEND = math.log1p(10.0)
"""Where a value counts as far from the best: ten units above it."""
SLOPE = 0.2
"""Of values beyond the bend: they are told apart, hardly, so that a cliff looks like one."""


def warped(y: Values) -> Values:
    """[N] values of zero mean and unit variance; inf, a failure, becomes the worst of the others.

    Logarithms of what they are above the best, with the best quarter's end as the unit, and beyond
    ten units the logarithms of these: shift and scale of the values make no difference, a value
    that exploded hides none of the others, and what lies close to the best is told apart.
    """
    failed = np.isinf(y)
    finite = y[~failed]
    # In shares of the largest: differences of huge values have no float.
    scaled = finite / max(float(np.abs(finite).max()), 1e-300)
    above = scaled - scaled.min()
    logs = np.zeros_like(y)
    if above.max() > 0:
        unit = float(np.quantile(above, QUARTER)) or float(above[above > 0].min())
        logs[~failed] = _bent(np.log1p(above / unit))
    logs[failed] = logs.max() or 1.0
    spread = logs.std()
    return np.asarray((logs - logs.mean()) / spread if spread > 0 else logs)


def _bent(logs: Values) -> Values:
    beyond = np.maximum(logs - BEND, 0.0)
    return np.minimum(logs, BEND) + SLOPE * np.log1p(beyond)


def clipped(y: Values) -> Values:
    """[N] finite values, those that exploded no further above the best than a hundred times where
    the best quarter ends: for models whose values are better left as they are."""
    above = y - y.min()
    unit = float(np.quantile(above, QUARTER))
    return np.minimum(y, y.min() + 100 * unit) if unit > 0 else y
