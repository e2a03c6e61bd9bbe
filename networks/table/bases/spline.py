"""Tensor splines over the source area: any medium whose slowest speed is known, at once."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import BSpline
from scipy.linalg import solve_triangular

from networks.table.bases.area import Area

COARSEST = 0.15
"""Share of the highest frequency below which the knots grow no farther apart."""
STEP = 1.12
"""Ratio of neighbouring distances of knots: frequencies with the same distance share a matrix."""
RIDGE = 1e-8
"""Of the normal matrix of splines at the nodes, relative to its mean eigenvalue."""
REACHED = 1e-3
"""Sum of a spline's values at the nodes below which it is left out."""


class Splines:
    """Tensor products of B-splines with so many knots a wavelength, orthonormal over the nodes.

    Args:
        area: the source area.
        speed: the slowest wave speed in it, unit of length per unit of time.
        knots: knots a wavelength; 2.3, 2.8, 3.3, 4 leave about 10, 3, 1, 0.3 %.
        degree: of the splines.

    Raises:
        ValueError: a speed or number of knots that is not positive.
    """

    kind: ClassVar[str] = "spline"
    ordered: ClassVar[bool] = False

    def __init__(self, area: Area, speed: float, knots: float = 3.3, degree: int = 5) -> None:
        if not (speed > 0 and knots > 0 and degree >= 1):
            raise ValueError(
                f"splines need a positive speed, positive knots a wavelength and a degree of 1 at least, "
                f"got {speed}, {knots}, {degree}"
            )
        self._area, self._speed, self._knots, self._degree = area, float(speed), float(knots), int(degree)
        self._matrices: dict[float, NDArray[np.float32]] = {}

    def matrix(self, k: int) -> NDArray[np.float32]:
        """Orthonormal columns (S, n_k); few of them at low frequencies."""
        omega = self._area.omega
        length = 2 * np.pi * self._speed / max(omega[k], COARSEST * omega[-1]) / self._knots
        step = float(STEP ** np.floor(np.log(length) / np.log(STEP)))
        if step not in self._matrices:
            self._matrices[step] = self._orthonormal(step)
        return self._matrices[step]

    def description(self) -> dict[str, Any]:
        """Speed, knots a wavelength and degree."""
        return {"kind": self.kind, "speed": self._speed, "knots": self._knots, "degree": self._degree}

    def _orthonormal(self, step: float) -> NDArray[np.float32]:
        x, y = (self._along(self._area.nodes[:, axis], step) for axis in (0, 1))
        values: NDArray[np.float64] = (x[:, :, None] * y[:, None, :]).reshape(len(x), -1)
        values = values[:, np.abs(values).sum(0) > REACHED]
        normal = values.T @ values
        normal[np.diag_indices_from(normal)] += RIDGE * np.trace(normal) / len(normal)
        factor = np.linalg.cholesky(normal)
        return np.asarray(solve_triangular(factor, values.T, lower=True).T, np.float32)

    def _along(self, x: NDArray[np.float64], step: float) -> NDArray[np.float64]:
        low, high = float(x.min()), float(x.max())
        cells = max(1, int(np.ceil((high - low) / step)))
        width = (high - low) / cells
        places = low + width * np.arange(-self._degree, cells + self._degree + 1)
        inside = np.clip(x, low + 1e-9 * width, high - 1e-9 * width)
        return np.asarray(BSpline.design_matrix(inside, places, self._degree).toarray())
