"""Which points lie in a domain and which in its zone, by the geometry of the cells, at any length scale."""

from __future__ import annotations

import numpy as np
from dolfinx import mesh as dmesh
from mpi4py import MPI
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from solvers.mesh import compat
from solvers.mesh.domain import Domain, cell_midpoints

TOLERANCE = 1e-9
"""Of a cell's size: nearer to an edge than this a point lies on it."""


def containment(domain: Domain, points: NDArray[np.float64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Points in Ω, its boundary left out, and points in the zone, its boundary included. Collective on the mesh's comm.

    Args:
        domain: Ω with its zone.
        points: Shape ``(num_points, 2)``, the same on every rank.

    Returns:
        Two masks of shape ``(num_points,)``, on every rank.
    """
    corners = domain.mesh.geometry.x[compat.geometry_dofs(domain.mesh)][:, :, :2]
    if corners.shape[1] == 4:  # DOLFINx numbers the corners of a quadrilateral row by row
        corners = corners[:, [0, 1, 3, 2]]
    in_zone = np.zeros(len(corners), dtype=bool)
    in_zone[domain.zone_cells] = True
    sides = domain.mesh.geometry.x[_outer_sides(domain)][:, :, :2]
    masks = np.zeros((3, len(points)), dtype=bool)  # in a cell, in one of the zone, on the outer boundary
    if len(corners):
        middle = cell_midpoints(domain.mesh)
        radius = np.linalg.norm(corners - middle[:, None], axis=2).max()
        near = cKDTree(middle).query_ball_point(points, radius * (1.0 + TOLERANCE))
        for number, cells in enumerate(near):
            hit = np.asarray(cells, dtype=np.int64)[_holds(corners[cells], points[number])]
            masks[:2, number] = len(hit) > 0, in_zone[hit].any()
            masks[2, number] = bool(len(hit)) and _on_sides(sides, points[number])
    domain.mesh.comm.Allreduce(MPI.IN_PLACE, masks, op=MPI.LOR)
    return masks[0] & ~masks[2], masks[1]


def _holds(corners: NDArray[np.float64], point: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Convex cells (cell, corner, 2), numbered either way round, that hold a point or have it on an edge."""
    edge, way = np.roll(corners, -1, axis=1) - corners, point - corners
    side = edge[..., 0] * way[..., 1] - edge[..., 1] * way[..., 0]
    limit = TOLERANCE * (edge**2).sum(axis=2).max(axis=1, initial=0.0, keepdims=True)
    return np.asarray((side >= -limit).all(axis=1) | (side <= limit).all(axis=1))


def _on_sides(sides: NDArray[np.float64], point: NDArray[np.float64]) -> bool:
    """Is a point on one of some straight sides (side, 2, 2)?"""
    start, edge = sides[:, 0], sides[:, 1] - sides[:, 0]
    square = (edge**2).sum(axis=1)
    share = np.clip(((point - start) * edge).sum(axis=1) / square, 0.0, 1.0)
    distance = np.linalg.norm(start + share[:, None] * edge - point, axis=1)
    return bool((distance <= TOLERANCE * np.sqrt(square)).any())


def _outer_sides(domain: Domain) -> NDArray[np.int32]:
    """Geometry nodes of the facets of ∂Ω, shape ``(num_facets, 2)``. Local."""
    mesh = domain.mesh
    mesh.topology.create_connectivity(1, 2)
    if not len(domain.outer_facets):  # DOLFINx divides by their number
        return np.empty((0, 2), dtype=np.int32)
    return np.asarray(dmesh.entities_to_geometry(mesh, 1, domain.outer_facets), dtype=np.int32).reshape(-1, 2)
