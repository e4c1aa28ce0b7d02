"""Gaussian process regression in numpy: Matérn 5/2, a length scale a parameter.

| symbol | meaning |
|---|---|
| N, F, G | observations; features; groups of features that share a length scale |
| z [N, F] | features, numbers in [0, 1] |
| y [N] | values, standardised |
| theta | logarithms: G length scales, amplitude, noise variance |

The model's parameters maximise the posterior; the gradient is exact.  On a hundred points a fit
takes a few dozen milliseconds, which automatic differentiation takes for a few steps.
Sources: Rasmussen, Williams 2006, chapters 2, 4, 5; the length scales' prior, longer with
dimension: Hvarfner et al. 2024.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize

Array = NDArray[np.float64]
_SQRT5 = math.sqrt(5.0)
_EPS = 1e-6

AMPLITUDE, NOISE = (0.0, 1.0), (-6.0, 2.0)
"""Normal priors of the logarithms: mean, standard deviation."""
LENGTH = (math.sqrt(2.0) - 3.0, math.sqrt(3.0))
"""The length scales', in one dimension.  Hvarfner's is a density of the length scale, with its peak
at exp(sqrt(2) - 3); one of the logarithm with its peak there gives the same start, as wide."""
_MAX_STEPS = 60


class GaussianProcess:
    """A posterior over functions, given observations.

    Args:
        groups: [F] group of each feature, 0 ... G-1.
    """

    def __init__(self, groups: NDArray[np.int_]) -> None:
        self.groups = groups
        self.n_groups = int(groups.max()) + 1
        length = (LENGTH[0] + 0.5 * math.log(self.n_groups), LENGTH[1])
        priors = np.array([length] * self.n_groups + [AMPLITUDE, NOISE])
        self._mean, self._sd = priors[:, 0], priors[:, 1]
        self.theta = self._mean.copy()

    def fit(self, z: Array, y: Array, *, afresh: bool = True) -> None:
        """Fits to observations, from the present theta on and, afresh, from the prior's peak too:
        the last fit may sit where noise explains everything."""
        bounds = list(zip(self._mean - 5 * self._sd, self._mean + 4 * self._sd, strict=True))
        g = self.n_groups
        bounds[g + 1] = (math.log(1e-8), 1.0)
        starts = [self.theta]
        if afresh and not np.array_equal(self.theta, self._mean):
            starts.append(self._mean)
        fits = [
            minimize(
                self._loss,
                start,
                args=(z, y),
                jac=True,
                method="L-BFGS-B",
                bounds=bounds,
                options={"maxiter": _MAX_STEPS},
            )
            for start in starts
        ]
        self.theta = min(fits, key=lambda fit: float(fit.fun)).x
        self.condition(z, y)

    def condition(self, z: Array, y: Array) -> None:
        """Takes observations in, with theta as it is; y may be [N] or [N, M] for M fantasies."""
        self.w = self._scale(z)
        k = self._kernel(self.w, self.w)
        k[np.diag_indices_from(k)] += self.noise + _EPS * self.amplitude
        self.chol = cholesky(k, lower=True, check_finite=False)
        self.alpha = cho_solve((self.chol, True), y, check_finite=False)

    def predict(self, z: Array) -> tuple[Array, Array]:
        """Mean [C] (or [C, M]) and standard deviation [C] of the function, without noise."""
        k = self._kernel(self._scale(z), self.w)
        v = solve_triangular(self.chol, k.T, lower=True, check_finite=False)
        variance = self.amplitude - np.einsum("ij,ij->j", v, v)
        return np.asarray(k @ self.alpha), np.sqrt(np.maximum(variance, 1e-12 * self.amplitude))

    def sample(self, z: Array, n: int, rng: np.random.Generator) -> Array:
        """[C, n] joint draws of the function at z."""
        w = self._scale(z)
        k = self._kernel(w, self.w)
        v = solve_triangular(self.chol, k.T, lower=True, check_finite=False)
        covariance = self._kernel(w, w) - v.T @ v
        covariance[np.diag_indices_from(covariance)] += 1e-8 + self.noise
        root = cholesky(covariance, lower=True, check_finite=False)
        return np.asarray((k @ self.alpha)[:, None] + root @ rng.standard_normal((len(z), n)))

    @property
    def amplitude(self) -> float:
        """Prior variance of the function."""
        return math.exp(self.theta[self.n_groups])

    @property
    def noise(self) -> float:
        """Variance of an observation."""
        return math.exp(self.theta[self.n_groups + 1])

    @property
    def lengths(self) -> Array:
        """[G] length scales."""
        scales: Array = np.exp(self.theta[: self.n_groups])
        return scales

    def _scale(self, z: Array) -> Array:
        return z / self.lengths[self.groups]

    def _kernel(self, u: Array, v: Array) -> Array:
        s = _SQRT5 * np.sqrt(_squared_distances(u, v))
        return self.amplitude * (1 + s + s * s / 3) * np.exp(-s)

    def _loss(self, theta: Array, z: Array, y: Array) -> tuple[float, Array]:
        """Negative logarithm of the posterior density, and its gradient."""
        self.theta = theta
        g, n = self.n_groups, len(y)
        u = self._scale(z)
        s = _SQRT5 * np.sqrt(_squared_distances(u, u))
        decay = self.amplitude * np.exp(-s)
        k = (1 + s + s * s / 3) * decay
        noisy = k.copy()
        noisy[np.diag_indices(n)] += self.noise + _EPS * self.amplitude
        deviation = (theta - self._mean) / self._sd
        try:
            chol = cholesky(noisy, lower=True, check_finite=False)
        except np.linalg.LinAlgError:
            return 1e10, deviation / self._sd
        inverse = cho_solve((chol, True), np.eye(n), check_finite=False)
        alpha = inverse @ y
        loss = 0.5 * y @ alpha + np.log(np.diag(chol)).sum() + 0.5 * deviation @ deviation
        m = inverse - np.outer(alpha, alpha)  # d loss / d K, twice
        gradient = np.empty_like(theta)
        gradient[g] = 0.5 * (np.sum(m * k) + _EPS * self.amplitude * np.trace(m))
        gradient[g + 1] = 0.5 * self.noise * np.trace(m)
        m *= (-5 / 6) * (1 + s) * decay  # d K / d (squared distance)
        rows = m.sum(axis=1)
        mu = m @ u
        # sum_ij m_ij (u_i - u_j)^2, per feature: a length scale divides it twice.
        per_feature = 2 * (rows @ (u * u) - np.einsum("ij,ij->j", u, mu))
        gradient[:g] = -np.bincount(self.groups, per_feature, minlength=g)
        return float(loss), gradient + deviation / self._sd


def _squared_distances(u: Array, v: Array) -> Array:
    """[N, M] squared Euclidean distances."""
    found = (u * u).sum(axis=1)[:, None] + (v * v).sum(axis=1)[None, :] - 2 * u @ v.T
    return np.asarray(np.maximum(found, 0.0))
