"""Facets of a mesh that was cut out of another, or refined from it, found on the other's facets."""

from __future__ import annotations

import numpy as np
from dolfinx import mesh as dmesh
from numpy.typing import NDArray

from solvers.mesh.compat import facet_nodes

TOLERANCE = 1e-9  # of a facet's length


def inherited_facets(
    mesh: dmesh.Mesh, parents: NDArray[np.int32], origin: dmesh.Mesh, facets: NDArray[np.int32]
) -> NDArray[np.int32]:
    """Owned facets of the boundary of a planar mesh that lie on some facets of the mesh it stems from.

    Collective on the mesh's comm.

    Args:
        mesh: A submesh or a refined mesh.
        parents: The cell of ``origin`` that each local cell stems from.
        origin: The mesh it stems from.
        facets: Local facets of ``origin``.
    """
    for each in (mesh, origin):
        each.topology.create_entities(1)
        each.topology.create_connectivity(1, 2)
        each.topology.create_connectivity(2, 1)
    rim = np.asarray(dmesh.exterior_facet_indices(mesh.topology), dtype=np.int32)
    middles = dmesh.compute_midpoints(mesh, 1, rim)
    ends = dict(zip(map(int, facets), origin.geometry.x[facet_nodes(origin, facets)], strict=True))
    to_cell, to_facet = mesh.topology.connectivity(1, 2), origin.topology.connectivity(2, 1)

    def lies_on_one(facet: int, middle: NDArray[np.float64]) -> bool:
        candidates = to_facet.links(parents[to_cell.links(facet)[0]])
        return any(int(candidate) in ends and _between(ends[int(candidate)], middle) for candidate in candidates)

    chosen = [lies_on_one(int(facet), middle) for facet, middle in zip(rim, middles, strict=True)]
    return rim[np.array(chosen, dtype=bool)]


def _between(side: NDArray[np.float64], point: NDArray[np.float64]) -> bool:
    """A point inside an edge: the way over it is no longer than the edge."""
    start, end = side
    length = np.linalg.norm(end - start)
    return bool(np.linalg.norm(point - start) + np.linalg.norm(end - point) <= (1.0 + TOLERANCE) * length)
