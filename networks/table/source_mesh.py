"""The finite-element mesh of a source area: a place's nodes and their weights, as the solver spreads a point source.

A point source acts on the nodes of its cell with the values of their basis functions there, and so what it does is the
same combination of what sources at the nodes do. Between nodes of linear elements this has kinks, which a smooth
function of the place cannot follow: it stays 1.6 % off on a plate of seven nodes a wavelength (docs/generator.md).
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.polynomial import legendre
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

OUTSIDE = 1e-6
"""Distance from a cell, in sizes of it, up to which a place counts as within: what rounding moves."""

NEWTON_STEPS = 12
"""Steps that invert the map of a quadrilateral; one does for a parallelogram."""


@dataclass(frozen=True)
class SourceMesh:
    """All cells that meet a source area.

    Attributes:
        nodes: (node, 2) places of the basis functions, from `origin`, unit of length.
        cells: (cell, basis function) the nodes of each cell: the corners of a triangle in any order; the nodes of a
            quadrilateral row by row, those along its second axis next to each other.
        element: "p1", linear triangles, or "gll", quadrilaterals with Lagrange functions at Gauss-Lobatto-Legendre
            points.
        degree: polynomial degree, 1 for p1.
        origin: point that places are counted from, in the user's coordinates; for messages.

    Raises:
        ValueError: shapes or numbers that are no such mesh.
    """

    nodes: Array
    cells: Integers
    element: Literal["p1", "gll"] = "p1"
    degree: int = 1
    origin: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "nodes", np.ascontiguousarray(self.nodes, np.float64))
        object.__setattr__(self, "cells", np.ascontiguousarray(self.cells, np.int64))
        if self.element not in ("p1", "gll") or self.degree < 1 or (self.element == "p1" and self.degree != 1):
            raise ValueError(f"a source mesh is of p1 elements or of gll ones, got {self.element!r} {self.degree}")
        number = 3 if self.element == "p1" else (self.degree + 1) ** 2
        if self.nodes.ndim != 2 or self.nodes.shape[1] != 2 or not np.isfinite(self.nodes).all():
            raise ValueError(f"a source mesh's nodes are finite points (node, 2), got shape {self.nodes.shape}")
        if self.cells.ndim != 2 or self.cells.shape[1] != number or not len(self.cells):
            raise ValueError(f"a source mesh's cells have {number} nodes each, got shape {self.cells.shape}")
        if self.cells.min() < 0 or self.cells.max() >= len(self.nodes):
            raise ValueError(f"a source mesh's cells name nodes outside 0 .. {len(self.nodes) - 1}")

    def rows(self, points: ArrayLike) -> tuple[Integers, Array]:
        """The nodes that sources act on and their shares, which sum to 1.

        Args:
            points: (point, 2) from the origin.

        Returns:
            Indices of nodes and weights, (point, basis function) each.

        Raises:
            ValueError: a point outside every cell.
        """
        places = np.asarray(points, np.float64).reshape(-1, 2)
        finite = np.isfinite(places[:, 0] + places[:, 1])
        cells, local, misses = self._located(np.where(finite[:, None], places, self.nodes[0]))
        outside = np.flatnonzero(~finite | (misses > OUTSIDE))
        if len(outside):
            x, y = places[outside[0]] + np.array(self.origin)
            (left, bottom), (right, top) = self.nodes.min(0) + self.origin, self.nodes.max(0) + self.origin
            raise ValueError(
                f"the source at ({x:.6g}, {y:.6g}) lies outside the source area of this generator, within "
                f"[{left:.6g}, {right:.6g}] x [{bottom:.6g}, {top:.6g}]: choose a place inside, or make a generator "
                "for a larger area"
            )
        return self.cells[cells], local if self.element == "p1" else self._basis(local)

    def _located(self, places: Array) -> tuple[Integers, Array, Array]:
        """The cell around each place, coordinates there (barycentric, or on the unit square), and how far outside."""
        corner, size, shape, table = self._buckets
        slots = ((places - corner) / size).clip(0, np.array(shape) - 1).astype(np.int64)
        around = table[slots[:, 0] * shape[1] + slots[:, 1]]  # (place, candidate)
        local = self._triangles(places, around) if self.element == "p1" else self._quadrilaterals(places, around)
        low, high = local.min(-1), local.max(-1)
        miss = -low if self.element == "p1" else np.maximum(-low, high - 1)
        miss = np.where(np.isfinite(miss) & (around >= 0), miss, np.inf)
        best = miss.argmin(1)
        rows = np.arange(len(places))
        return around[rows, best], local[rows, best], miss[rows, best]

    def _triangles(self, places: Array, around: Integers) -> Array:
        """Barycentric coordinates (place, candidate, 3)."""
        first, inverse = (part[around] for part in self._maps)
        x, y = places[:, :1] - first[..., 0], places[:, 1:] - first[..., 1]
        out = np.empty((*around.shape, 3))
        for row in (0, 1):
            np.multiply(inverse[..., row, 0], x, out=out[..., row + 1])
            out[..., row + 1] += inverse[..., row, 1] * y
        np.subtract(1.0, out[..., 1], out=out[..., 0])
        out[..., 0] -= out[..., 2]
        return out

    def _quadrilaterals(self, places: Array, around: Integers) -> Array:
        """Coordinates on the unit square (place, candidate, 2), by Newton's method."""
        first, along, across, twist = (part[around] for part in self._maps)
        where = np.full((*around.shape, 2), 0.5)
        for _ in range(NEWTON_STEPS):
            s, t = where[..., :1], where[..., 1:]
            miss = places[:, None] - (first + s * along + t * across + s * t * twist)
            a, b = along + t * twist, across + s * twist
            with np.errstate(divide="ignore", invalid="ignore"):
                steps = np.stack((_cross(miss, b), _cross(a, miss)), -1) / _cross(a, b)[..., None]
            where = (where + np.nan_to_num(steps)).clip(-1.0, 2.0)  # farther out it is not this cell
        return where

    def _basis(self, local: Array) -> Array:
        """Values of a quadrilateral's functions at points (point, 2) of the unit square, (point, basis function)."""
        one, other = (_lagrange(self._knots, local[:, axis]) for axis in (0, 1))
        return np.asarray((one[:, :, None] * other[:, None, :]).reshape(len(local), -1))

    @cached_property
    def _knots(self) -> Array:
        """GLL points of the unit interval, rising."""
        inner = legendre.Legendre.basis(self.degree).deriv().roots()
        return np.concatenate(([0.0], 0.5 * (np.sort(inner.real) + 1), [1.0]))

    @cached_property
    def _maps(self) -> tuple[Array, ...]:
        """First corner of each cell, and what takes a place's way from there to coordinates of the cell; of a
        quadrilateral the way's factors of s, t and s t."""
        if self.element == "p1":
            corners = self.nodes[self.cells]
            edges = np.stack((corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), -1)
            return corners[:, 0], np.asarray(np.linalg.inv(edges))
        n = self.degree
        first, second, third, fourth = (self.nodes[self.cells[:, i]] for i in (0, n, n * (n + 1), n * (n + 2)))
        return first, third - first, second - first, fourth - third - second + first

    @cached_property
    def _buckets(self) -> tuple[Array, Array, tuple[int, int], Integers]:
        """A grid of boxes, some as large as cells: lower corner, steps, shape, and the cells that meet each box,
        (box, candidate), filled up with -1."""
        ends = self.nodes[self.cells]
        lower, upper = ends.min(1), ends.max(1)
        slack = 10 * OUTSIDE * (upper - lower)
        lower, upper = lower - slack, upper + slack
        corner, extent = lower.min(0), np.ptp(np.concatenate((lower, upper)), axis=0)
        size = np.maximum((upper - lower).mean(0), extent / 2048)
        shape = tuple(int(number) for number in np.ceil(extent / size).astype(int).clip(1))
        first, last = (((at - corner) / size).astype(np.int64).clip(0, np.array(shape) - 1) for at in (lower, upper))
        spans = last - first + 1
        numbers = spans.prod(1)
        cell = np.repeat(np.arange(len(ends)), numbers)
        within = np.arange(len(cell)) - np.repeat(np.cumsum(numbers) - numbers, numbers)
        i, j = first[cell, 0] + within // spans[cell, 1], first[cell, 1] + within % spans[cell, 1]
        box = i * shape[1] + j
        order = np.argsort(box, kind="stable")
        box, cell = box[order], cell[order]
        count = np.bincount(box, minlength=shape[0] * shape[1])
        table = np.full((len(count), count.max()), -1, np.int64)
        table[box, np.arange(len(box)) - np.repeat(np.cumsum(count) - count, count)] = cell
        return corner, size, (shape[0], shape[1]), table


def _cross(a: Array, b: Array) -> Array:
    """Areas that vectors (..., 2) span, (...)."""
    return np.asarray(a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0])


def _lagrange(knots: Array, points: Array) -> Array:
    """Lagrange functions of some knots at points (point,), (point, knot)."""
    ways = points[:, None, None] - knots  # (point, function, factor)
    steps = knots[:, None] - knots
    own = np.eye(len(knots), dtype=bool)
    factors = np.where(own, 1.0, ways / np.where(own, 1.0, steps))
    return np.asarray(factors.prod(-1))
