"""Boundary data of zone runs: what a run asks for, and the forms in which steppers take it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from solvers.gamma.trace import Trace
from solvers.stepping.schemes import Stepper


class BoundarySource(Protocol):
    """Boundary data of a zone run, asked for as they are needed; recorded and predicted data look the same."""

    def block(self, n: int) -> NDArray[np.float64]:
        """What drives step n and those of the steps after it that are at hand, shape ``(num_steps, num_owned)``.

        At this rank's dofs of Γ in canonical order; as many steps on every rank. Under ``dirichlet`` the displacement
        at the level that a step leads to, under ``impedance`` the nodal datum g at the level that it starts from.
        """
        ...

    def magnitude(self) -> float:
        """Largest absolute value of the data up to the block asked for last, or of all, for the divergence check."""
        ...


@dataclass(frozen=True)
class DatumWeights:
    """What drives each step of an undivided zone, as a combination of the fields of a trace at its nodes.

    ``datum[n] = load r[n] + velocity v[n] + displacement ū[n + lead]``

    Args:
        displacement: Weights of u, shape ``(num_nodes,)``.
        velocity: Of v.
        load: Of r.
        lead: 1 under ``dirichlet``, which needs u one level ahead, otherwise 0.
        theta: Of the average ū of three levels; 0 for u itself.
    """

    displacement: NDArray[np.float64]
    velocity: NDArray[np.float64]
    load: NDArray[np.float64]
    lead: int
    theta: float

    def of(self, trace: Trace) -> NDArray[np.float64]:
        """The data of all steps from a trace, shape ``(num_levels, num_nodes)``.

        Raises:
            ValueError: If the trace lacks the load that the weights ask for.
        """
        u, v = trace.averaged_displacement(self.theta), trace.velocity
        out = self.displacement * (trace.extended_displacement()[2:] if self.lead else u)
        if self.velocity.any():
            out += self.velocity * v
        if self.load.any():
            out += self.load * required_load(trace)
        return out


def required_load(trace: Trace) -> NDArray[np.float64]:
    """The load of a trace.

    Raises:
        ValueError: If it lacks one.
    """
    if trace.load is None:
        raise ValueError(
            "the impedance condition needs the load r on Γ, which this trace lacks: "
            "train a generator with the field 'load', or use the dirichlet condition"
        )
    return trace.load


class Steps:
    """Boundary data that are all there, shape ``(num_steps, num_owned)``."""

    def __init__(self, data: NDArray[np.float64]) -> None:
        self._data = np.ascontiguousarray(data)
        self._magnitude = float(np.abs(data).max(initial=0.0))

    def block(self, n: int) -> NDArray[np.float64]:
        return self._data[n:]

    def magnitude(self) -> float:
        return self._magnitude


class BoundaryDrive:
    """Feeds a boundary source to the held dofs of a stepper, which are numbered last, step by step."""

    def __init__(self, stepper: Stepper, source: BoundarySource, reach: float, *, prescribes: bool) -> None:
        self.prescribes = prescribes
        self._source, self._reach = source, reach
        self._begin = len(stepper.order) - len(stepper.operators.held)
        self._weight = stepper.load_weight[self._begin :]
        self._start = 0
        self._block: NDArray[np.float64] = np.empty((0, len(self._weight)))

    def bound(self) -> float:
        """A generous bound of the energy norm."""
        return self._reach * self._source.magnitude()

    def apply(self, out: NDArray[np.float64], n: int) -> None:
        if not self._start <= n < self._start + len(self._block):
            self._start, self._block = n, self._source.block(n)
        datum = self._block[n - self._start]
        if self.prescribes:
            out[self._begin :] = datum
        else:
            out[self._begin :] += self._weight * datum


class OneRun:
    """A boundary source as an ensemble of one run takes it."""

    def __init__(self, source: BoundarySource, reach: float) -> None:
        self._source, self._reach = source, reach

    def block(self, n: int) -> NDArray[Any]:
        return self._source.block(n)[:, :, None]

    def bounds(self) -> NDArray[np.float64]:
        return np.array([self._reach * self._source.magnitude()])


class ManyRuns:
    """Boundary data of several runs as an ensemble takes them, without a copy.

    Args:
        data: Shape ``(num_runs, num_steps, num_owned)``.
        reach: Largest energy norm that data of magnitude one can cause, generously.
    """

    def __init__(self, data: NDArray[Any], reach: float) -> None:
        self._data = np.ascontiguousarray(data, dtype=np.float64)
        largest, least = data.max(axis=(1, 2), initial=0.0), data.min(axis=(1, 2), initial=0.0)
        self._bounds = reach * np.maximum(largest, -least)

    def block(self, n: int) -> NDArray[Any]:
        return self._data[:, n:].transpose(1, 2, 0)

    def bounds(self) -> NDArray[np.float64]:
        return self._bounds
