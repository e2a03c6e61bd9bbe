"""Boundary data of zone runs: their source, and their weights of a trace's fields. Needs NumPy only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from solvers.gamma.trace import Trace


class BoundarySource(Protocol):
    """Boundary data of a zone run, asked for as they are needed; recorded and predicted data look the same."""

    def from_step(self, n: int) -> NDArray[np.float64]:
        """Data of step n and of those after it that are at hand, shape ``(num_steps, num_owned)``.

        At this rank's dofs of Γ in canonical order; as many steps on every rank. Where values are prescribed, u at the
        level that a step leads to, otherwise the nodal datum g at the level that it starts from.
        """
        ...

    def magnitude(self) -> float:
        """Largest absolute value of the data up to the block asked for last, or of all, for the divergence check."""
        ...


@dataclass(frozen=True)
class DatumWeights:
    """Weights of a trace's fields in the data that drive each step of an undivided zone.

    ``datum[n] = load r[n] + velocity v[n] + displacement ū[n + lead]``

    Args:
        displacement: Weights of u, shape ``(num_nodes,)``.
        velocity: Of v.
        load: Of r.
        lead: 1 where u is needed one level ahead, at the end of the step, otherwise 0.
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
            if trace.load is None:
                raise ValueError(
                    "this interface condition needs the load on Γ, which this trace lacks: "
                    "train a generator with the field 'load', or use a condition that does not need it"
                )
            out += self.load * trace.load
        return out


class Steps:
    """Boundary data of all steps, known beforehand, shape ``(num_steps, num_owned)``."""

    def __init__(self, data: NDArray[np.float64]) -> None:
        self._data = np.ascontiguousarray(data)
        self._magnitude = float(np.abs(data).max(initial=0.0))

    def from_step(self, n: int) -> NDArray[np.float64]:
        return self._data[n:]

    def magnitude(self) -> float:
        return self._magnitude
