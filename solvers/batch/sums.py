"""Weighted sums over the levels of runs, taken while they are stepped, so that no history is stored."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import blas

from solvers.stepping.schemes import LEVELS_BETWEEN_CHECKS


class LevelSums:
    """Sums ``sum over n of weights[k, n] u[n]`` of the recorded dofs of some runs. Local.

    The levels between two checks lie in a ring; one product of matrices adds them, run by run, so that a run's sums do
    not depend on the runs beside it.

    Args:
        weights: Shape ``(num_sums, num_steps + 1)``.

    Attributes:
        slots: Place of each level in the ring, -1 for level 0, which is at rest; shape ``(num_steps + 1,)``.
    """

    def __init__(self, weights: NDArray[np.complex128]) -> None:
        self._weights = np.ascontiguousarray(np.concatenate((weights.real, weights.imag)))  # (2 num_sums, level)
        levels = np.arange(weights.shape[1])
        self.slots: NDArray[np.int64] = np.where(levels > 0, (levels - 1) % LEVELS_BETWEEN_CHECKS, -1)
        self._totals: NDArray[np.float64] = np.empty((0, 0, 0))

    def begin(self, num_runs: int, num_records: int) -> None:
        """Make room, zeros, for the sums of some runs."""
        self._totals = np.zeros((num_runs, len(self._weights), num_records))

    def add(self, ring: NDArray[Any], first: int, last: int) -> None:
        """Add the levels first .. last - 1, which lie one after the other.

        Args:
            ring: Shape ``(num_lanes, num_slots, num_records)``; lanes beyond the runs are left out.
            first: A level.
            last: One past the last level.
        """
        if not self._totals.size or last <= first:
            return
        start = int(self.slots[first])
        weights = self._weights[:, first:last]
        for total, lane in zip(self._totals, ring, strict=False):
            block = np.asarray(lane[start : start + last - first], dtype=np.float64)
            blas.dgemm(1.0, block.T, weights, beta=1.0, c=total.T, trans_b=True, overwrite_c=True)

    def totals(self) -> NDArray[np.float64]:
        """The sums, real parts first: shape ``(num_runs, 2 num_sums, num_records)``."""
        return self._totals


def as_complex(totals: NDArray[np.float64]) -> NDArray[np.complex128]:
    """Sums from their real parts, which come first, and imaginary ones: (2 num_sums, ...) to (num_sums, ...)."""
    half = len(totals) // 2
    return np.asarray(totals[:half] + 1j * totals[half:])
