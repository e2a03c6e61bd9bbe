"""What crosses Γ: its curve, the recorded or predicted trace, and the transfer to another mesh and time grid.

Needs NumPy and SciPy only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

CORNER_ANGLE = np.deg2rad(20.0)


@dataclass(frozen=True)
class Interface:
    """Γ as its nodes in canonical order: by loop, then by arc length, counter-clockwise.

    Each loop starts at its lowest node (the leftmost of those).

    Args:
        points: Node coordinates, shape ``(num_nodes, 2)``.
        arc: Arc length from the start of the node's loop, shape ``(num_nodes,)``.
        loop: Number of the node's loop, shape ``(num_nodes,)``, int.
        weights: Lumped length of each node (the integral of its basis function over Γ), shape ``(num_nodes,)``.
    """

    points: NDArray[np.float64]
    arc: NDArray[np.float64]
    loop: NDArray[np.int64]
    weights: NDArray[np.float64]

    @property
    def num_nodes(self) -> int:
        """Number of nodes of Γ."""
        return len(self.points)

    def loops(self) -> list[NDArray[np.int64]]:
        """Node indices of each loop, in order."""
        return [np.flatnonzero(self.loop == k) for k in np.unique(self.loop)]

    def matches(self, other: Interface) -> bool:
        """Whether both have the same nodes, to 1e-9 of their extent."""
        if self.points.shape != other.points.shape:
            return False
        return bool(np.allclose(self.points, other.points, rtol=0.0, atol=1e-9 * np.ptp(self.points)))


@dataclass(frozen=True)
class Trace:
    """Boundary data on Γ at every time level.

    Args:
        times: Times of the levels, shape ``(num_levels,)``.
        interface: The nodes.
        displacement: u, shape ``(num_levels, num_nodes)``.
        velocity: v = (u⁺ − u⁻) / (2 dt), the same shape.
        load: r, the consistent nodal load of the zone's outside on the zone, the same shape; or ``None``.
    """

    times: NDArray[np.float64]
    interface: Interface
    displacement: NDArray[np.float64]
    velocity: NDArray[np.float64]
    load: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        shape = (len(self.times), self.interface.num_nodes)
        for name in ("displacement", "velocity", "load"):
            field = getattr(self, name)
            if field is not None and field.shape != shape:
                raise ValueError(f"the trace's {name} has shape {field.shape}, its times and nodes ask for {shape}")

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
            return Trace(self.times[wanted], self.interface, *(field[wanted] for field in fields))
        num_fine = (len(self.times) - 1) * parts + 1
        fine = np.linspace(self.times[0], self.times[-1], num_fine)[wanted]
        values = CubicSpline(self.times, np.hstack(fields), axis=0)(fine)
        return Trace(fine, self.interface, *np.hsplit(values, len(fields)))

    def on(self, target: Interface) -> Trace:
        """The trace at the nodes of another discretisation of the same curve.

        Displacement and velocity are continuous and smooth between corners: a cubic spline on each side. The load is
        first divided by the lumped lengths: that flux jumps where Γ turns, so it is interpolated on each side from the
        nodes inside that side, and at a corner the two one-sided values are averaged.

        Raises:
            ValueError: If a target node does not lie on this trace's curve.
        """
        return Transfer(self.interface, target).trace(self)


class Transfer:
    """What carries traces from one discretisation of Γ to another, made once for many of them.

    Args:
        source: Nodes of the traces.
        target: Nodes wanted.

    Raises:
        ValueError: If a target node does not lie on the source's curve.
    """

    def __init__(self, source: Interface, target: Interface) -> None:
        self._source, self._target = source, target
        self._same = source.matches(target)
        if not self._same:
            self._continuous = interpolation_matrix(source, target, one_sided=False)
            self._flux = interpolation_matrix(source, target, one_sided=True)

    def trace(self, trace: Trace) -> Trace:
        """A trace on the source's nodes at the target's, as `Trace.on`. Local."""
        target, load = self._target, trace.load
        if self._same:
            return Trace(trace.times, target, trace.displacement, trace.velocity, load)
        if load is not None:
            load = (load / self._source.weights) @ self._flux.T * target.weights
        displacement, velocity = trace.displacement @ self._continuous.T, trace.velocity @ self._continuous.T
        return Trace(trace.times, target, displacement, velocity, load)


def interpolation_matrix(source: Interface, target: Interface, *, one_sided: bool) -> NDArray[np.float64]:
    """Cubic spline interpolation along the sides of Γ as a matrix, shape ``(target nodes, source nodes)``.

    Args:
        source: Nodes where values are given.
        target: Nodes where they are wanted; they must lie on the polygon of the source's nodes.
        one_sided: Whether corner values belong to neither side (a flux) and are left out of the splines.

    Raises:
        ValueError: If a target node is farther than 1e-6 of the extent from the source's curve.
    """
    matrix = np.zeros((target.num_nodes, source.num_nodes))
    counts = np.zeros(target.num_nodes)
    scale = float(np.ptp(source.points))
    for nodes in source.loops():
        closed = np.append(nodes, nodes[0])
        points = source.points[closed]
        arc = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
        for side in _sides(points):
            first, last = side
            hit, position = _positions(target.points, points[first : last + 1], arc[first : last + 1], 1e-6 * scale)
            left_out = int(one_sided and last - first > 3)
            knots = slice(first + left_out, last + 1 - left_out)
            columns = closed[knots]
            basis = CubicSpline(arc[knots], np.eye(len(columns)), axis=0) if len(columns) > 2 else None
            values = basis(position) if basis is not None else _linear(arc[knots], position)
            for row, weights in zip(hit, values, strict=True):
                matrix[row, columns] += weights
            counts[hit] += 1
    if not np.all(counts):
        lost = target.points[np.flatnonzero(counts == 0)[0]]
        raise ValueError(f"the zone's boundary leaves the trace's curve at {tuple(lost.tolist())}: both must be one Γ")
    return matrix / counts[:, None]


def _sides(points: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Index ranges between corners of a closed polygon whose last point repeats the first."""
    edges = np.diff(points, axis=0)
    heading = np.arctan2(edges[:, 1], edges[:, 0])
    turn = np.abs((heading - np.roll(heading, 1) + np.pi) % (2.0 * np.pi) - np.pi)
    corners = {0, *(int(i) for i in np.flatnonzero(turn > CORNER_ANGLE))}
    bounds = [*sorted(corners), len(points) - 1]
    return list(zip(bounds[:-1], bounds[1:], strict=True))


def _positions(
    targets: NDArray[np.float64], side: NDArray[np.float64], arc: NDArray[np.float64], tolerance: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Targets that lie on a side, and their arc length."""
    start, edge = side[:-1], np.diff(side, axis=0)
    length = np.linalg.norm(edge, axis=1)
    offset = targets[:, None, :] - start[None]
    along = np.clip(np.einsum("tsk,sk->ts", offset, edge) / length**2, 0.0, 1.0)
    distance = np.linalg.norm(offset - along[..., None] * edge, axis=2)
    nearest = distance.argmin(axis=1)
    rows = np.arange(len(targets))
    on_side = distance[rows, nearest] <= tolerance
    position = arc[nearest] + along[rows, nearest] * length[nearest]
    return np.flatnonzero(on_side), position[on_side]


def _linear(knots: NDArray[np.float64], position: NDArray[np.float64]) -> NDArray[np.float64]:
    share = (position - knots[0]) / (knots[-1] - knots[0])
    return np.stack([1.0 - share, share], axis=1)
