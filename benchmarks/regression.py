"""Regression from parameters to fields by few samples: proper orthogonal decomposition, RBF and Gaussian processes.

What the baselines are made of; NumPy and SciPy only.

Sources: Sirovich 1987 (snapshots); Rasmussen and Williams 2006, Gaussian Processes for Machine Learning, ch. 2 and 5.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

Array = NDArray[np.float64]

FOLDS = 5


@dataclass(frozen=True)
class Pod:
    """Snapshots as sums of orthogonal modes, by the method of snapshots: modes are sums of snapshots themselves.

    Args:
        left: ``(snapshot, mode)``, orthonormal.
        strength: ``(mode,)`` singular values, descending.
    """

    left: Array
    strength: Array

    @classmethod
    def of(cls, gram: Array, tail: float = 1e-4) -> Pod:
        """From the Gram matrix of snapshots; modes that hold less than `tail` of the norm together are left out."""
        centring = np.eye(len(gram)) - 1.0 / len(gram)
        energy, vectors = np.linalg.eigh(centring @ gram @ centring)
        energy, vectors = np.maximum(energy[::-1], 0.0), vectors[:, ::-1]
        kept = int(np.searchsorted(np.cumsum(energy), (1.0 - tail**2) * energy.sum())) + 1
        return cls(vectors[:, :kept], np.sqrt(energy[:kept]))

    @property
    def coefficients(self) -> Array:
        """``(snapshot, mode)``, in the norm of the Gram matrix."""
        return np.asarray(self.left * self.strength)

    def weights(self, coefficients: Array) -> Array:
        """``(result, snapshot)``: results of given coefficients are sums of snapshots with these weights."""
        shape = (coefficients / self.strength) @ self.left.T
        return np.asarray(shape + (1.0 - shape.sum(axis=1, keepdims=True)) / self.left.shape[0])


@dataclass(frozen=True)
class Rbf:
    """Interpolation of coefficients by radial basis functions; what is chosen is chosen by leaving out folds."""

    kernel: str
    epsilon: float
    smoothing: float
    stretch: tuple[float, ...]

    @classmethod
    def choices(cls, num_parameters: int) -> Iterator[Rbf]:
        """All that are tried; the first parameter is stretched against the others."""
        stretches = [1.0] if num_parameters == 2 else [0.3, 1.0, 3.0]
        for first, smoothing in itertools.product(stretches, [0.0, 1e-2, 1.0]):
            stretch = (first, *[1.0] * (num_parameters - 1))
            for kernel in ("linear", "thin_plate_spline", "cubic"):
                yield cls(kernel, 1.0, smoothing, stretch)
            for kernel, epsilon in itertools.product(("gaussian", "multiquadric"), (0.5, 1.0, 2.0, 4.0)):
                yield cls(kernel, epsilon, smoothing, stretch)

    @classmethod
    def chosen(cls, points: Array, coefficients: Array, group: NDArray[np.int64]) -> tuple[Rbf, float]:
        """The best of all choices, and its relative error on samples that were left out.

        Args:
            points: ``(sample, parameter)``, of order 1.
            coefficients: ``(sample, mode)``.
            group: ``(sample,)``; samples of one group are left out together.
        """
        fold = np.random.default_rng(0).permutation(group.max() + 1)[group] % FOLDS
        best: tuple[float, Rbf] | None = None
        for choice in cls.choices(points.shape[1]):
            error = 0.0
            for k in range(FOLDS):
                out = fold == k
                try:
                    found = choice.predict(points[~out], coefficients[~out], points[out])
                except np.linalg.LinAlgError:
                    error = np.inf
                    break
                error += float(np.sum((found - coefficients[out]) ** 2))
            relative = float(np.sqrt(error / np.sum(coefficients**2)))
            if best is None or relative < best[0]:
                best = (relative, choice)
        if best is None:
            raise ValueError("no radial basis function was tried")
        return best[1], best[0]

    def predict(self, points: Array, coefficients: Array, wanted: Array) -> Array:
        """Coefficients at wanted points."""
        stretch = np.array(self.stretch)
        fitted = RBFInterpolator(
            points * stretch, coefficients, kernel=self.kernel, epsilon=self.epsilon, smoothing=self.smoothing
        )
        return np.asarray(fitted(wanted * stretch))


class GaussianProcess:
    """Exact Gaussian processes of the columns of one matrix; columns of like energy share length scales and noise.

    Each column has a variance of its own, for which the marginal likelihood is maximised in closed form.

    Args:
        points: ``(sample, parameter)``, of order 1.
        values: ``(sample, column)``, columns in descending order of energy.
        kernel: ``"matern"`` (5/2) or ``"gaussian"``, one length scale a parameter.
    """

    def __init__(self, points: Array, values: Array, kernel: str) -> None:
        self.points, self.kernel = points, kernel
        self.likelihood = 0.0
        self.groups: list[tuple[slice, Array, Array]] = []
        start, guess = 0, np.log([0.5] * points.shape[1] + [1e-2])
        while start < values.shape[1]:
            group = slice(start, max(4, 2 * start))
            guess, likelihood = self._fit(values[:, group], guess)
            factor = cho_factor(self._covariance(points, guess))
            self.groups.append((group, guess, np.asarray(cho_solve(factor, values[:, group]))))
            self.likelihood += likelihood
            start = group.stop

    def predict(self, wanted: Array) -> Array:
        """``(result, column)``, the mean."""
        parts = []
        for _, log_parameters, solved in self.groups:
            parts.append(self._kernel(wanted, self.points, np.exp(log_parameters[:-1])) @ solved)
        return np.concatenate(parts, axis=1)

    def describe(self) -> list[dict[str, Any]]:
        """Length scales and noise (a variance, of 1) of each group."""
        return [
            {"columns": [g.start, g.stop], "length": np.exp(p[:-1]).round(4).tolist(), "noise": float(np.exp(p[-1]))}
            for g, p, _ in self.groups
        ]

    def _fit(self, values: Array, guess: Array) -> tuple[Array, float]:
        bounds = [(np.log(0.02), np.log(20.0))] * (len(guess) - 1) + [(np.log(1e-8), np.log(10.0))]
        starts = [guess, np.log([0.15] * (len(guess) - 1) + [1e-3])]
        found = [minimize(self._loss, start, (values,), "L-BFGS-B", bounds=bounds) for start in starts]
        best = min(found, key=lambda result: result.fun)
        return np.asarray(best.x), -float(best.fun)

    def _loss(self, log_parameters: Array, values: Array) -> float:
        """Minus the log marginal likelihood (Rasmussen and Williams eq. 5.8), but for a constant."""
        try:
            factor = cho_factor(self._covariance(self.points, log_parameters), lower=True)
        except np.linalg.LinAlgError:
            return 1e25
        num = len(values)
        variance = np.maximum(np.einsum("ij,ij->j", values, cho_solve(factor, values)) / num, 1e-300)
        log_determinant = 2.0 * np.log(np.diag(factor[0])).sum()
        return float(0.5 * (num * np.log(variance).sum() + values.shape[1] * log_determinant))

    def _covariance(self, points: Array, log_parameters: Array) -> Array:
        noise = np.exp(log_parameters[-1]) + 1e-10
        return self._kernel(points, points, np.exp(log_parameters[:-1])) + noise * np.eye(len(points))

    def _kernel(self, a: Array, b: Array, lengths: Array) -> Array:
        a, b = a / lengths, b / lengths
        square = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2.0 * a @ b.T
        np.maximum(square, 0.0, out=square)
        if self.kernel == "gaussian":
            return np.asarray(np.exp(-0.5 * square))
        distance = np.sqrt(5.0 * square)
        return np.asarray((1.0 + distance + distance**2 / 3.0) * np.exp(-distance))


def most_likely(points: Array, values: Array, kernels: Sequence[str] = ("matern", "gaussian")) -> GaussianProcess:
    """The process of the kernel under which the values are likeliest."""
    return max((GaussianProcess(points, values, kernel) for kernel in kernels), key=lambda process: process.likelihood)
