"""Where to look next: logarithm of expected improvement, and a search for its maximum.

The search moves a population of candidates, so that it needs no gradients and treats numbers,
lattices, choices and conditions alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.special import erfcx, ndtr

from hpo.search.encoding import Encoding, Rows

N_START = 1000
N_NEAR = 300
N_KEPT = 12
N_MOVES = 24
N_ROUNDS = 12


def log_expected_improvement(mean: Rows, sd: Rows, best: Rows) -> Rows:
    """[C] logarithm of the expected gain below `best`, averaged over M fantasies.

    Args:
        mean: [C] or [C, M].
        sd: [C].
        best: scalar or [M].
    Source: Ament et al. 2023, stable where the gain is next to nothing.
    """
    if mean.ndim == 1:
        return np.log(sd) + _log_h((best - mean) / sd)
    found = np.log(sd)[:, None] + _log_h((best[None, :] - mean) / sd[:, None])
    top = found.max(axis=1)
    return np.asarray(top + np.log(np.exp(found - top[:, None]).mean(axis=1)))


def _log_h(z: Rows) -> Rows:
    """log(pdf(z) + z cdf(z)) of the standard normal."""
    out = np.empty_like(z)
    log_pdf = -0.5 * z * z - 0.5 * math.log(2 * math.pi)
    near, far = z > -1, z < -1e3
    out[near] = np.log(np.exp(log_pdf[near]) + z[near] * ndtr(z[near]))
    between = ~near & ~far
    # pdf(z) (1 + z cdf(z) / pdf(z)), where the ratio is erfcx; far away that is pdf(z) / z^2.
    ratio = math.sqrt(math.pi / 2) * erfcx(-z[between] / math.sqrt(2))
    out[between] = log_pdf[between] + np.log1p(z[between] * ratio)
    out[far] = log_pdf[far] - 2 * np.log(-z[far])
    return out


def maximize(
    value: Callable[[Rows], Rows],
    encoding: Encoding,
    start: Rows,
    anchors: Rows,
    rng: np.random.Generator,
) -> Rows:
    """[K, P] positions with large values, the largest first.

    Args:
        value: [C, P] positions -> [C] values.
        start: [C, P] points all over the space.
        anchors: [A, P] the best points known, around which a finer search begins.
    """
    p = start.shape[1]
    near = np.repeat(anchors, N_NEAR // len(anchors), axis=0)
    scales = 10 ** rng.uniform(-2.5, -0.3, size=(len(near), 1))
    x = np.concatenate([start, moved(near, scales, encoding, rng)])
    v = value(x)
    order = np.argsort(-v)[:N_KEPT]
    x, v = x[order], v[order]
    scale = 0.2
    for _ in range(N_ROUNDS):
        near = np.repeat(x, N_MOVES, axis=0)
        scales = scale * 10 ** rng.uniform(-1.0, 0.0, size=(len(near), 1))
        tried = moved(near, scales, encoding, rng)
        found = value(tried).reshape(len(x), N_MOVES)
        # Each candidate goes to the best of its moves, so that they do not all meet in one place.
        best = found.argmax(axis=1)
        better = found[np.arange(len(x)), best] > v
        x = np.where(better[:, None], tried.reshape(len(x), N_MOVES, p)[np.arange(len(x)), best], x)
        v = np.maximum(v, found[np.arange(len(x)), best])
        scale *= 0.7
    return x[np.argsort(-v)]


def moved(x: Rows, scales: Rows, encoding: Encoding, rng: np.random.Generator) -> Rows:
    """[N, P] each point with some positions changed: numbers by steps of the scales [N, 1], at
    least one place on a lattice; choices drawn anew."""
    n, p = x.shape
    changed = rng.random((n, p)) < max(0.2, min(1.0, 2.0 / p)) + 0.6 * (rng.random((n, 1)) < 0.4)
    changed[np.arange(n), rng.integers(p, size=n)] = True
    steps = rng.standard_normal((n, p)) * scales
    out = x.copy()
    for i, column in enumerate(encoding.columns):
        if column.choice:
            assert column.n is not None
            drawn = rng.integers(column.n, size=n).astype(float)
            # A choice is changed less often: it changes all at once.
            rows = changed[:, i] & (rng.random(n) < 0.4)
            out[:, i] = np.where(rows, drawn, out[:, i])
            continue
        step = steps[:, i]
        if column.n is not None and not column.log:
            least = 1.0 / (column.n - 1)
            step = np.sign(step) * np.maximum(np.abs(step), least)
        at = out[:, i] + step
        at = np.where(at < 0, -at, at)  # reflected at the borders
        at = np.where(at > 1, 2 - at, at)
        out[:, i] = np.where(changed[:, i], np.clip(at, 0, 1), out[:, i])
    return encoding.snap(out)
