"""Γ = ∂Ω': its dofs in canonical order, the same on any number of ranks; gather and scatter."""

from __future__ import annotations

from dataclasses import dataclass

import basix
import numpy as np
from dolfinx import fem
from dolfinx import mesh as dmesh
from dolfinx.la import InsertMode, vector
from numpy.typing import NDArray

from solvers.gamma.trace import Interface
from solvers.mesh.domain import Domain


@dataclass(frozen=True)
class InterfaceDofs:
    """Which owned dofs lie on Γ and where each stands in the canonical order.

    Args:
        curve: The nodes of Γ, the same on every rank.
        dofs: Owned local dofs on Γ, in canonical order, shape ``(num_owned,)``.
        positions: Canonical index of each of ``dofs``, shape ``(num_owned,)``.
    """

    curve: Interface
    dofs: NDArray[np.int32]
    positions: NDArray[np.int64]


def locate_interface(V: fem.FunctionSpace, domain: Domain) -> InterfaceDofs:
    """Find Γ: the facets of exactly one zone cell. Collective on the mesh's comm.

    Every rank learns the few numbers that describe Γ (end points of its facets, dofs on them) and builds the same
    loops from them, so that the order depends on the geometry alone.

    Raises:
        ValueError: If the zone has no cells or Γ does not consist of closed loops that are apart.
    """
    comm = V.mesh.comm
    facets, cells = _owned_facets(domain)
    dofs = _closures(V, facets, cells)
    keys = V.dofmap.index_map.local_to_global(dofs.ravel()).reshape(dofs.shape)
    coordinates = V.tabulate_dof_coordinates()[:, :2]
    all_keys = np.concatenate(comm.allgather(keys))
    all_points = np.concatenate(comm.allgather(coordinates[dofs.ravel()].reshape(*dofs.shape, 2)))
    if not len(all_keys):
        raise ValueError("the zone has no boundary inside the domain: does the mesh resolve the zone?")
    order, curve = _walk(all_keys, all_points)
    # a rank may own a dof of Γ without owning a facet on it: look for its dofs among all keys
    first, last = V.dofmap.index_map.local_range
    positions = np.flatnonzero((order >= first) & (order < last))
    return InterfaceDofs(curve, (order[positions] - first).astype(np.int32), positions)


def _owned_facets(domain: Domain) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
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


def _walk(keys: NDArray[np.int64], points: NDArray[np.float64]) -> tuple[NDArray[np.int64], Interface]:
    """Chain facets into loops: the keys in canonical order, and the curve. Local: pure geometry.

    Args:
        keys: Global dofs of each facet, ends first, shape ``(num_facets, num_dofs)``.
        points: Their coordinates, shape ``(num_facets, num_dofs, 2)``.
    """
    point = {int(k): (float(x), float(y)) for k, (x, y) in zip(keys.ravel(), points.reshape(-1, 2), strict=True)}
    at_vertex: dict[int, list[int]] = {}
    ends: list[tuple[int, int]] = [(int(a), int(b)) for a, b in zip(keys[:, 0], keys[:, 1], strict=True)]
    for facet, pair in enumerate(ends):
        for vertex in pair:
            at_vertex.setdefault(vertex, []).append(facet)
    if any(len(facets) != 2 for facets in at_vertex.values()):
        raise ValueError("the zone's boundary is not made of separate closed loops: zone cells meet at a corner only")
    scale = float(np.ptp(points))
    loops = []
    unvisited = set(at_vertex)
    while unvisited:
        loop = _loop_through(min(unvisited, key=lambda k: _height(point[k], scale)), keys, point, at_vertex)
        unvisited.difference_update(loop)
        loops.append(loop)
    loops.sort(key=lambda loop: _height(point[loop[0]], scale))
    facet_of = {frozenset(pair): facet for facet, pair in enumerate(ends)}
    quadrature = _nodal_weights(keys.shape[1])
    order: list[int] = []
    arcs: list[float] = []
    numbers: list[int] = []
    weight = dict.fromkeys(point, 0.0)
    for number, loop in enumerate(loops):
        arc = 0.0
        for a, b in zip(loop, loop[1:] + loop[:1], strict=True):
            on_facet = keys[facet_of[frozenset((a, b))]].tolist()
            along = sorted((float(np.hypot(*np.subtract(point[key], point[a]))), key) for key in on_facet)
            length = along[-1][0]
            for (distance, key), share in zip(along, quadrature, strict=True):
                weight[key] += share * length
                if key != b:
                    order.append(key)
                    arcs.append(arc + distance)
                    numbers.append(number)
            arc += length
    curve = Interface(
        np.array([point[k] for k in order]), np.array(arcs), np.array(numbers), np.array([weight[k] for k in order])
    )
    return np.array(order, dtype=np.int64), curve


def _nodal_weights(num_nodes: int) -> NDArray[np.float64]:
    """Gauss-Lobatto-Legendre weights on the unit interval, in order of the nodes."""
    points, weights = basix.make_quadrature(
        basix.CellType.interval, max(2 * num_nodes - 4, 1), rule=basix.QuadratureType.gll
    )
    return np.asarray(weights[np.argsort(points[:, 0])])


def _loop_through(
    start: int, keys: NDArray[np.int64], point: dict[int, tuple[float, float]], at_vertex: dict[int, list[int]]
) -> list[int]:
    """The loop from its start vertex, counter-clockwise."""
    loop, facet = [start], at_vertex[start][0]
    while True:
        a, b = (int(k) for k in keys[facet, :2])
        following = b if a == loop[-1] else a
        if following == start:
            break
        loop.append(following)
        facet = next(f for f in at_vertex[following] if f != facet)
    x, y = np.array([point[k] for k in loop]).T
    area = float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)))
    return loop if area > 0.0 else [start, *reversed(loop[1:])]


def _height(xy: tuple[float, float], scale: float) -> tuple[float, float]:
    """Sort key: y, then x, insensitive to round-off."""
    return round(xy[1] / scale, 9), round(xy[0] / scale, 9)
