"""All cells of a mesh with their nodes, on the root, in an order that geometry alone decides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from dolfinx import fem
from numpy.typing import NDArray

from solvers.mesh.compat import geometry_dofs
from solvers.mesh.domain import Domain


@dataclass(frozen=True)
class Cells:
    """Cells of Ω and the dofs on them.

    Args:
        dofs: Global dofs of each cell, shape ``(num_cells, num_basis)``: of a triangle its corners; of a quadrilateral
            row by row, those along its second axis next to each other.
        points: Place of each global dof, shape ``(num_dofs, 2)``.
        corners: Corners of each cell, shape ``(num_cells, 3 or 4, 2)``.
        speed: Wave speed of each cell.
        in_zone: Cells of the zone.
        on_edge: Global dofs on ∂Ω, or on a free edge, shape ``(num_dofs,)``.
        on_gamma: Global dofs on Γ, shape ``(num_dofs,)``.
    """

    dofs: NDArray[np.int64]
    points: NDArray[np.float64]
    corners: NDArray[np.float64]
    speed: NDArray[np.float64]
    in_zone: NDArray[np.bool_]
    on_edge: NDArray[np.bool_]
    on_gamma: NDArray[np.bool_]


def gather_cells(V: fem.FunctionSpace, domain: Domain) -> Cells | None:
    """The cells of a domain on the root, ``None`` elsewhere. Collective on the mesh's comm."""
    mesh, index_map = domain.mesh, V.dofmap.index_map
    comm, tdim = mesh.comm, mesh.topology.dim
    num = mesh.topology.index_map(tdim).size_local
    local = V.dofmap.list[:num][:, _tensor_order(V)]
    ids = index_map.local_to_global(local.ravel().astype(np.int32)).reshape(local.shape)
    corners = mesh.geometry.x[geometry_dofs(mesh)[:num]][:, :, :2]
    in_zone = np.isin(np.arange(num), domain.zone_cells)
    mesh.topology.create_connectivity(tdim - 1, tdim)
    facets = np.concatenate([domain.outer_facets, domain.free_facets]).astype(np.int32)
    edge = index_map.local_to_global(fem.locate_dofs_topological(V, tdim - 1, facets).astype(np.int32))
    size = index_map.size_local
    parts = comm.gather(
        (ids, corners, domain.speed[:num], in_zone, edge, V.tabulate_dof_coordinates()[:size, :2]), root=0
    )
    if parts is None:
        return None
    dofs, corners, speed, in_zone, edges, points = (np.concatenate([part[i] for part in parts]) for i in range(6))
    on_edge = np.zeros(len(points), dtype=bool)
    on_edge[edges] = True
    inside, outside = (np.zeros(len(points), dtype=bool) for _ in range(2))
    inside[dofs[in_zone]] = True
    outside[dofs[~in_zone]] = True
    return Cells(dofs.astype(np.int64), points, corners, speed, in_zone, on_edge, inside & outside)


def _tensor_order(V: fem.FunctionSpace) -> NDArray[np.int64]:
    """Order of a cell's basis functions: by the first reference coordinate, then the second; triangles as they are."""
    element: Any = V.element.basix_element
    points = np.asarray(element.points)
    if V.mesh.topology.cell_name() == "triangle":
        return np.arange(len(points))
    return np.lexsort((np.round(points[:, 1], 9), np.round(points[:, 0], 9)))
