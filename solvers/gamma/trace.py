"""Traces on Γ, recorded or predicted, and their transfer to another mesh and time grid.

Needs NumPy and SciPy only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from solvers.gamma.gamma import Gamma


@dataclass(frozen=True)
class Trace:
    """Boundary data on Γ at every time level.

    Args:
        times: Times of the levels, shape ``(num_levels,)``.
        gamma: The nodes.
        displacement: u, shape ``(num_levels, num_nodes)``.
        velocity: v = (u⁺ − u⁻) / (2 dt), the same shape.
        load: r, the consistent nodal load of the zone's outside on the zone, the same shape; or ``None``.
    """

    times: NDArray[np.float64]
    gamma: Gamma
    displacement: NDArray[np.float64]
    velocity: NDArray[np.float64]
    load: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        shape = (len(self.times), self.gamma.num_nodes)
        for name in ("displacement", "velocity", "load"):
            field = getattr(self, name)
            if field is not None and field.shape != shape:
                raise ValueError(f"the trace's {name} has shape {field.shape}, its times and nodes ask for {shape}")

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields that are there."""
        return ("displacement", "velocity") if self.load is None else ("displacement", "velocity", "load")

    @property
    def dt(self) -> float:
        """Time step of the levels."""
        return float(self.times[-1] - self.times[0]) / (len(self.times) - 1)

    def extended_displacement(self) -> NDArray[np.float64]:
        """u at the levels −1 .. num_levels, shape ``(num_levels + 2, num_nodes)``.

        The two levels outside follow from the centred velocity at the ends, exactly for a recorded trace.
        """
        u, v, dt = self.displacement, self.velocity, self.dt
        return np.vstack([u[1] - 2.0 * dt * v[0], u, u[-2] + 2.0 * dt * v[-1]])

    def averaged_displacement(self, theta: float) -> NDArray[np.float64]:
        """u + theta (u⁺ − 2u + u⁻) at every level: what a three-level scheme multiplies with its stiffness."""
        if theta == 0.0:
            return self.displacement
        u = self.extended_displacement()
        return self.displacement + theta * (u[2:] - 2.0 * u[1:-1] + u[:-2])

    def resampled(self, parts: int, start: int = 0, stop: int | None = None) -> Trace:
        """The trace on a time grid ``parts`` times finer, by cubic splines in time.

        Args:
            parts: Fine steps to a step.
            start: First fine level that is wanted.
            stop: The one after the last, all by default.
        """
        wanted = slice(start, stop)
        fields = [self.displacement, self.velocity, *([] if self.load is None else [self.load])]
        if parts == 1 and wanted == slice(0, None):
            return self
        if parts == 1:
            return Trace(self.times[wanted], self.gamma, *(field[wanted] for field in fields))
        num_fine = (len(self.times) - 1) * parts + 1
        fine = np.linspace(self.times[0], self.times[-1], num_fine)[wanted]
        values = CubicSpline(self.times, np.hstack(fields), axis=0)(fine)
        return Trace(fine, self.gamma, *np.hsplit(values, len(fields)))

    def on(self, target: Gamma) -> Trace:
        """The trace at the nodes of another discretisation of the same curve.

        Displacement and velocity are interpolated as continuous fields. The load is first divided by the lumped sizes:
        that flux jumps where Γ turns.

        Raises:
            ValueError: If a target node does not lie on this trace's Γ.
        """
        return Transfer(self.gamma, target).trace(self)


class Transfer:
    """Transfer of traces from one discretisation of Γ to another, made once for many of them.

    Args:
        source: Nodes of the traces.
        target: Nodes wanted.

    Raises:
        ValueError: If a target node does not lie on the source's Γ.
    """

    def __init__(self, source: Gamma, target: Gamma) -> None:
        self._source, self._target = source, target
        self._same = source.matches(target)
        if not self._same:
            self._continuous = source.chart.interpolation(source, target, one_sided=False)
            self._flux = source.chart.interpolation(source, target, one_sided=True)

    def trace(self, trace: Trace) -> Trace:
        """A trace on the source's nodes at the target's, as `Trace.on`. Local."""
        target, load = self._target, trace.load
        if self._same:
            return Trace(trace.times, target, trace.displacement, trace.velocity, load)
        if load is not None:
            load = (load / self._source.weights) @ self._flux.T * target.weights
        displacement, velocity = trace.displacement @ self._continuous.T, trace.velocity @ self._continuous.T
        return Trace(trace.times, target, displacement, velocity, load)
