"""The forms in which steppers and ensembles take boundary data: step by step, one run, or many runs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from solvers.gamma.datum import BoundarySource
from solvers.stepping.schemes import Stepper


class BoundaryDrive:
    """Feeds a boundary source to the held dofs of a stepper, which are numbered last, step by step."""

    def __init__(self, stepper: Stepper, source: BoundarySource, energy_bound: float, *, prescribes: bool) -> None:
        self.prescribes = prescribes
        self._source, self._energy_bound = source, energy_bound
        self._begin = len(stepper.order) - len(stepper.assembly.held)
        self._weight = stepper.load_weight[self._begin :]
        self._start = 0
        self._block: NDArray[np.float64] = np.empty((0, len(self._weight)))

    def bound(self) -> float:
        """A generous bound of the energy norm."""
        return self._energy_bound * self._source.magnitude()

    def apply(self, out: NDArray[np.float64], n: int) -> None:
        if not self._start <= n < self._start + len(self._block):
            self._start, self._block = n, self._source.from_step(n)
        datum = self._block[n - self._start]
        if self.prescribes:
            out[self._begin :] = datum
        else:
            out[self._begin :] += self._weight * datum


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
