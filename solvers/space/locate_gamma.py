"""Γ, where the zone meets the rest of Ω: its dofs in canonical order, the same on any number of ranks."""

from __future__ import annotations

from dataclasses import dataclass

import basix
import numpy as np
from dolfinx import fem
from dolfinx import mesh as dmesh
from dolfinx.la import InsertMode, vector
from numpy.typing import NDArray

from solvers.gamma.chart import chart_in
from solvers.gamma.gamma import Gamma
from solvers.mesh.domain import Domain


@dataclass(frozen=True)
class GammaDofs:
    """Owned dofs on Γ, and their places in the canonical order.

    Args:
        gamma: The nodes of Γ, the same on every rank.
        dofs: Owned local dofs on Γ, in canonical order, shape ``(num_owned,)``.
        positions: Canonical index of each of ``dofs``, shape ``(num_owned,)``.
    """

    gamma: Gamma
    dofs: NDArray[np.int32]
    positions: NDArray[np.int64]


def locate_gamma(V: fem.FunctionSpace, domain: Domain) -> GammaDofs:
    """Find Γ: the facets of exactly one zone cell that belong neither to ∂Ω nor to a free edge.

    Collective on the mesh's comm. Every rank learns the few numbers that describe Γ (end points of its facets, dofs
    on them) and builds the same loops from them, so that the order depends on the geometry alone.

    Raises:
        ValueError: If the zone has no cells, or its boundary does not consist of closed loops that are apart.
    """
    comm = V.mesh.comm
    facets, cells = _rim(domain)
    dofs = _closures(V, facets, cells)
    on_gamma = np.isin(facets, gamma_facets(domain))
    keys = V.dofmap.index_map.local_to_global(dofs.ravel()).reshape(dofs.shape)
    coordinates = V.tabulate_dof_coordinates()[:, :2]
    all_keys = np.concatenate(comm.allgather(keys))
    all_points = np.concatenate(comm.allgather(coordinates[dofs.ravel()].reshape(*dofs.shape, 2)))
    all_on_gamma = np.concatenate(comm.allgather(on_gamma))
    if not all_on_gamma.any():
        raise ValueError("the zone has no boundary inside the domain: does the mesh resolve the zone?")
    chart = chart_in(V.mesh.geometry.dim)
    order, gamma = chart.order_facets(all_keys, all_points, all_on_gamma, _nodal_weights(dofs.shape[1]))
    # a rank may own a dof of Γ without owning a facet on it: look for its dofs among all keys
    first, last = V.dofmap.index_map.local_range
    positions = np.flatnonzero((order >= first) & (order < last))
    return GammaDofs(gamma, (order[positions] - first).astype(np.int32), positions)


def gamma_facets(domain: Domain) -> NDArray[np.int32]:
    """Owned facets of Γ, rising. Collective on the mesh's comm."""
    return np.setdiff1d(_rim(domain)[0], np.concatenate([domain.outer_facets, domain.free_facets]))


def _rim(domain: Domain) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Owned facets with exactly one zone cell, and a local cell beside each. Collective.

    The zone cells around a facet are counted by the ranks that own them and added up where the facet is owned, which
    does not depend on the mesh having ghost cells.
    """
    mesh = domain.mesh
    tdim = mesh.topology.dim
    mesh.topology.create_entities(tdim - 1)
    mesh.topology.create_connectivity(tdim, tdim - 1)
    mesh.topology.create_connectivity(tdim - 1, tdim)
    cell_to_facet = mesh.topology.connectivity(tdim, tdim - 1)
    facet_map = mesh.topology.index_map(tdim - 1)
    count = vector(facet_map, 1)
    for cell in domain.zone_cells[domain.zone_cells < mesh.topology.index_map(tdim).size_local]:
        count.array[cell_to_facet.links(cell)] += 1.0
    count.scatter_reverse(InsertMode.add)
    facets = np.flatnonzero(count.array[: facet_map.size_local] == 1.0).astype(np.int32)
    facet_to_cell = mesh.topology.connectivity(tdim - 1, tdim)
    return facets, np.array([facet_to_cell.links(f)[0] for f in facets], dtype=np.int32)


def _closures(V: fem.FunctionSpace, facets: NDArray[np.int32], cells: NDArray[np.int32]) -> NDArray[np.int32]:
    """Local dofs on each facet, its two ends first, shape ``(num_facets, num_dofs)``. Local."""
    mesh = V.mesh
    tdim = mesh.topology.dim
    layout = V.dofmap.dof_layout
    closures = [layout.entity_closure_dofs(tdim - 1, i) for i in range(_facets_per_cell(mesh))]
    corners = np.concatenate([layout.entity_dofs(0, i) for i in range(_facets_per_cell(mesh))])
    num_dofs = len(closures[0])
    cell_to_facet = mesh.topology.connectivity(tdim, tdim - 1)
    dofs = np.empty((len(facets), num_dofs), dtype=np.int32)
    for row, (facet, cell) in enumerate(zip(facets, cells, strict=True)):
        side = int(np.flatnonzero(cell_to_facet.links(cell) == facet)[0])
        ends = [d for d in closures[side] if d in corners]
        inner = [d for d in closures[side] if d not in corners]
        dofs[row] = V.dofmap.cell_dofs(cell)[ends + inner]
    return dofs


def _facets_per_cell(mesh: dmesh.Mesh) -> int:
    return {"triangle": 3, "quadrilateral": 4}[mesh.topology.cell_name()]


def _nodal_weights(num_nodes: int) -> NDArray[np.float64]:
    """Gauss-Lobatto-Legendre weights on the unit interval, in order of the nodes."""
    points, weights = basix.make_quadrature(
        basix.CellType.interval, max(2 * num_nodes - 4, 1), rule=basix.QuadratureType.gll
    )
    return np.asarray(weights[np.argsort(points[:, 0])])
