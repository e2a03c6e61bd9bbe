"""The cells around points, by tolerances relative to the cells: what holds at one length holds at all of them."""

from __future__ import annotations

import numpy as np
from dolfinx import geometry
from dolfinx import mesh as dmesh
from numpy.typing import NDArray

from solvers.mesh.compat import geometry_dofs

TOLERANCE = 1e-9
"""Distance from a cell, in cell sizes, up to which a point counts as in it: points on ∂Ω are rounded."""

TIE = 1e-12
"""Distances below it are round-off: a point on an edge is in both cells."""

AROUND = {"triangle": (0, 1, 2), "quadrilateral": (0, 1, 3, 2)}
"""Corners of a cell in the order of its outline."""


class CellSearch:
    """Finds the local cells around points of a mesh of straight cells; the search tree is built once. Local.

    DOLFINx's own test of collisions takes every cell within a fixed length of a point, whatever the cells' size.

    Args:
        mesh: Planar mesh of triangles or quadrilaterals.
    """

    def __init__(self, mesh: dmesh.Mesh) -> None:
        self._mesh = mesh
        nodes = mesh.geometry.x
        extent = float(np.ptp(nodes, axis=0).max()) if len(nodes) else 1.0
        self._rounding = 8.0 * np.finfo(np.float64).eps * float(np.abs(nodes).max(initial=0.0))
        padding = TOLERANCE * extent + self._rounding
        self._tree = geometry.bb_tree(mesh, mesh.topology.dim, padding=padding)
        self._outline = geometry_dofs(mesh)[:, AROUND[mesh.topology.cell_name()]]

    def around(self, points: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float64]]:
        """Pairs of a point and a local cell that holds it.

        Args:
            points: Shape ``(num_points, 2)``.

        Returns:
            Of each pair the point's row, ascending, the cell, ghosts included, and the distance between them in cell
            sizes, 0 inside; each ``(num_pairs,)``.
        """
        xyz = np.zeros((len(points), 3))
        xyz[:, :2] = points
        candidates = geometry.compute_collisions_points(self._tree, xyz)
        rows = np.repeat(np.arange(len(xyz)), np.diff(candidates.offsets))
        cells = np.asarray(candidates.array, dtype=np.int32)
        corners = self._mesh.geometry.x[self._outline[cells]][:, :, :2] - points[rows][:, None]
        following = np.roll(corners, -1, axis=1)
        # twice the areas between the point and each side: negative where the side lies between point and cell
        areas = corners[..., 0] * following[..., 1] - corners[..., 1] * following[..., 0]
        whole = areas.sum(axis=1)
        size = np.sqrt(np.maximum(np.abs(whole), np.finfo(np.float64).tiny))
        miss = np.max(-areas * np.sign(whole)[:, None], axis=1, initial=0.0) / size**2
        rounding = self._rounding / size
        miss[miss <= TIE + rounding] = 0.0
        near = miss <= TOLERANCE + rounding
        return rows[near], cells[near], miss[near]
