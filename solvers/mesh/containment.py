"""Points in a domain and in its zone, by the geometry of the cells, at any length scale."""

from __future__ import annotations

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

from solvers.mesh.cell_search import CellSearch
from solvers.mesh.compat import facet_nodes
from solvers.mesh.domain import Domain

TOLERANCE = 1e-9
"""Distance in sizes of a side below which a point lies on it."""


def containment(domain: Domain, points: NDArray[np.float64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Points in Ω, its boundary left out, and points in the zone, its boundary included. Collective on the mesh's comm.

    Args:
        domain: Ω with its zone.
        points: Shape ``(num_points, 2)``, the same on every rank.

    Returns:
        Two masks of shape ``(num_points,)``, on every rank.
    """
    in_zone = np.zeros(len(domain.speed), dtype=bool)
    in_zone[domain.zone_cells] = True
    sides = domain.mesh.geometry.x[facet_nodes(domain.mesh, domain.outer_facets)][:, :, :2]
    masks = np.zeros((3, len(points)), dtype=bool)  # in a cell, in one of the zone, on the outer boundary
    rows, cells, _ = CellSearch(domain.mesh).around(points)
    masks[0, rows] = True
    masks[1, rows[in_zone[cells]]] = True
    masks[2] = [bool(masks[0, number]) and _on_sides(sides, points[number]) for number in range(len(points))]
    domain.mesh.comm.Allreduce(MPI.IN_PLACE, masks, op=MPI.LOR)
    return masks[0] & ~masks[2], masks[1]


def _on_sides(sides: NDArray[np.float64], point: NDArray[np.float64]) -> bool:
    """Test a point against straight sides, shape ``(num_sides, 2, 2)``. Local."""
    start, edge = sides[:, 0], sides[:, 1] - sides[:, 0]
    square = (edge**2).sum(axis=1)
    share = np.clip(((point - start) * edge).sum(axis=1) / square, 0.0, 1.0)
    distance = np.linalg.norm(start + share[:, None] * edge - point, axis=1)
    return bool((distance <= TOLERANCE * np.sqrt(square)).any())
