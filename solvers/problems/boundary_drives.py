"""Boundary data in the form in which runs take them: of one run, or of many."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from solvers.gamma.datum import BoundarySource


class OneRun:
    """One boundary source, in the shape that an ensemble takes: a last axis of length 1 for its runs."""

    def __init__(self, source: BoundarySource, energy_bound: float) -> None:
        self._source, self._energy_bound = source, energy_bound

    def from_step(self, n: int) -> NDArray[Any]:
        return self._source.from_step(n)[:, :, None]

    def bounds(self) -> NDArray[np.float64]:
        return np.array([self._energy_bound * self._source.magnitude()])


class ManyRuns:
    """Boundary data of several runs, in the shape that an ensemble takes, without a copy.

    Args:
        data: Shape ``(num_runs, num_steps, num_owned)``.
        energy_bound: Largest energy norm that data of magnitude one can cause, generously.
    """

    def __init__(self, data: NDArray[Any], energy_bound: float) -> None:
        self._data = np.ascontiguousarray(data, dtype=np.float64)
        largest, least = data.max(axis=(1, 2), initial=0.0), data.min(axis=(1, 2), initial=0.0)
        self._bounds = energy_bound * np.maximum(largest, -least)

    def from_step(self, n: int) -> NDArray[Any]:
        return self._data[:, n:].transpose(1, 2, 0)

    def bounds(self) -> NDArray[np.float64]:
        return self._bounds
