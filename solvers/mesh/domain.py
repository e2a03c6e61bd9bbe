"""The domain Ω with its zone of interest, from a box or from a gmsh file; zone meshes cut out or refined."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from dolfinx import mesh as dmesh
from mpi4py import MPI
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from solvers.mesh import compat
from solvers.mesh.inherited_facets import inherited_facets
from solvers.mesh.speed import Law, Speed, cell_speeds

CELL_TYPES = {"triangle": dmesh.CellType.triangle, "quadrilateral": dmesh.CellType.quadrilateral}


@dataclass(frozen=True)
class Domain:
    """A mesh of Ω (or of a zone alone), its wave speed and the cells of the zone.

    Args:
        mesh: Planar mesh, distributed over its communicator.
        speed: Wave speed of each local cell, shape ``(num_cells_local,)``, ghosts included.
        zone_cells: Local cells of the zone, ghosts included, sorted.
        outer_facets: Owned facets of ∂Ω, where u = 0; of a zone mesh those of its boundary that belong to ∂Ω.
        free_facets: Owned facets of a boundary that is left free (∂u/∂n = 0), such as a hole that the zone alone has.
            All other facets of a zone's boundary are Γ.
        group: Number of the material of each local cell, ghosts included, where a law is there.
        law: Wave speeds of the materials where one varies from place to place: a refined zone evaluates it anew.
    """

    mesh: dmesh.Mesh
    speed: NDArray[np.float64]
    zone_cells: NDArray[np.int32]
    outer_facets: NDArray[np.int32]
    free_facets: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, dtype=np.int32))
    group: NDArray[np.int32] | None = None
    law: Law | None = None


@dataclass(frozen=True)
class Defect:
    """A disc in which the wave speed differs, as the full model never saw it.

    Args:
        center: Center of the disc.
        radius: Its radius.
        speed: The wave speed inside.
    """

    center: tuple[float, float]
    radius: float
    speed: float

    def __post_init__(self) -> None:
        if not (self.radius > 0.0 and self.speed > 0.0):
            raise ValueError(
                f"a defect needs a positive radius and speed, got radius {self.radius}, speed {self.speed}"
            )


def box_domain(
    comm: MPI.Comm,
    lower: tuple[float, float],
    upper: tuple[float, float],
    cells: tuple[int, int],
    zone_lower: tuple[float, float],
    zone_upper: tuple[float, float],
    *,
    cell: str,
    speed: Speed,
) -> Domain:
    """Ω = [lower, upper] in equal cells, Ω' = [zone_lower, zone_upper] along cell edges. Collective on comm.

    Args:
        comm: Communicator that shares the mesh.
        lower: Lower left corner of Ω.
        upper: Upper right corner of Ω.
        cells: Number of squares along x and y; each is cut into two triangles where ``cell`` says so.
        zone_lower: Lower left corner of Ω'.
        zone_upper: Upper right corner of Ω'.
        cell: ``"triangle"`` or ``"quadrilateral"``.
        speed: Wave speed, or a function of the place that is taken at the midpoints of the cells.

    Raises:
        ValueError: If the zone is not strictly inside Ω or not along cell edges, or the speed not positive.
    """
    for axis, name in enumerate("xy"):
        step = (upper[axis] - lower[axis]) / cells[axis]
        if not lower[axis] < zone_lower[axis] < zone_upper[axis] < upper[axis]:
            raise ValueError(f"the zone must lie strictly inside the domain, along {name} it does not")
        for corner in (zone_lower[axis], zone_upper[axis]):
            offset = (corner - lower[axis]) / step
            if abs(offset - round(offset)) > 1e-6:
                raise ValueError(
                    f"the zone's corner {name} = {corner} is not on a cell edge (cell size {step:g}): "
                    "move the corner or change the number of cells"
                )
    mesh = _rectangle(comm, lower, upper, cells, cell)
    middle = cell_midpoints(mesh)
    inside = np.all((middle > zone_lower) & (middle < zone_upper), axis=1)
    speeds = cell_speeds(comm, speed, middle)
    return Domain(mesh, speeds, np.flatnonzero(inside).astype(np.int32), exterior_facets(mesh))


def gmsh_domain(
    comm: MPI.Comm,
    path: Path,
    *,
    speed: Speed | Mapping[str, Speed],
    outer: str = "outer",
    zone: str | tuple[str, ...] = "zone",
) -> Domain:
    """Ω from a .msh file whose named groups say what is ∂Ω and what is the zone. Collective on comm.

    Args:
        comm: Communicator that shares the mesh.
        path: The .msh file.
        speed: One wave speed, or one for each named surface group; functions are taken at the midpoints of the cells.
        outer: Named curve group that is all of ∂Ω.
        zone: Named surface group, or groups, that make up Ω'.

    Raises:
        ValueError: If the file lacks a group, ``outer`` is not all of ∂Ω, or a cell is left without a speed.
    """
    if not path.is_file():
        raise ValueError(f"there is no mesh file {path}: make it with gmsh, see meshes/README.md")
    data = compat.read_gmsh(path, comm)
    mesh = data.mesh
    zones = (zone,) if isinstance(zone, str) else tuple(zone)
    surfaces = {name: tag for (dimension, name), tag in data.names.items() if dimension == 2}
    curves = {name: tag for (dimension, name), tag in data.names.items() if dimension == 1}
    for name in zones:
        _require_group(path, "surface", name, surfaces)
    _require_group(path, "curve", outer, curves)
    boundary = exterior_facets(mesh)
    tagged = data.facet_tags.find(curves[outer]) if data.facet_tags is not None else np.empty(0, np.int32)
    untagged = np.setdiff1d(boundary, tagged).astype(np.int32)
    places = np.concatenate(comm.allgather(dmesh.compute_midpoints(mesh, mesh.topology.dim - 1, untagged)))
    if len(places):
        raise ValueError(f"{path.name}: {_fault_of_boundary(places[:, :2], outer)}")
    group, law = np.zeros_like(data.cell_tags), Law({0: speed} if not isinstance(speed, Mapping) else {})
    if isinstance(speed, Mapping):
        for name in speed:
            _require_group(path, "surface", name, surfaces)
        group, law = data.cell_tags, Law({surfaces[name]: value for name, value in speed.items()})
    values = law(comm, cell_midpoints(mesh), group)
    untouched = comm.allreduce(int(np.count_nonzero(values == 0.0)))
    if untouched:
        raise ValueError(
            f"{path.name}: {untouched} cells have no wave speed; name a speed for each group of {sorted(surfaces)}"
        )
    inside = np.isin(data.cell_tags, [surfaces[name] for name in zones])
    zone_cells = np.flatnonzero(inside).astype(np.int32)
    if not law.varies:
        return Domain(mesh, values, zone_cells, boundary)
    return Domain(mesh, values, zone_cells, boundary, group=group, law=law)


def zone_submesh(domain: Domain) -> Domain:
    """The conforming submesh of the zone, distributed as Ω is. Collective on the mesh's comm."""
    mesh = domain.mesh
    tdim = mesh.topology.dim
    owned = domain.zone_cells[domain.zone_cells < mesh.topology.index_map(tdim).size_local]
    submesh, parents = compat.create_submesh(mesh, owned)
    return _descendant(submesh, parents, domain)


def refined_zone_box(
    comm: MPI.Comm,
    lower: tuple[float, float],
    upper: tuple[float, float],
    cells: tuple[int, int],
    *,
    cell: str,
    speed: Speed,
) -> Domain:
    """A zone mesh of its own: the box [lower, upper] in ``cells`` squares. Collective on comm."""
    mesh = _rectangle(comm, lower, upper, cells, cell)
    return _zone_of(mesh, cell_speeds(comm, speed, cell_midpoints(mesh)))


def refined(zone: Domain, factor: int) -> Domain:
    """A zone of triangles with every edge cut into ``factor`` (a power of two). Collective on the mesh's comm.

    A wave speed that varies from place to place is that of the small cells' own midpoints.
    """
    if factor < 1 or factor & (factor - 1):
        raise ValueError(f"a zone from a gmsh file is refined by 1, 2, 4, 8, ...; got {factor}")
    if factor > 1 and zone.mesh.topology.cell_name() != "triangle":
        raise ValueError("only a zone of triangles can be refined: use the element p1, or a finer mesh of the zone")
    while factor > 1:
        mesh, parent = compat.refine_uniformly(zone.mesh)
        zone = _descendant(mesh, parent, zone)
        factor //= 2
        if zone.law is not None and zone.group is not None:
            zone = replace(zone, speed=zone.law(mesh.comm, cell_midpoints(mesh), zone.group))
    return zone


def with_defect(zone: Domain, defect: Defect) -> Domain:
    """The zone with the defect's speed in every cell whose midpoint lies in its disc. Collective.

    Raises:
        ValueError: If no cell lies in the disc.
    """
    inside = np.linalg.norm(cell_midpoints(zone.mesh) - defect.center, axis=1) < defect.radius
    if not zone.mesh.comm.allreduce(int(inside.sum())):
        raise ValueError(
            f"the defect at {defect.center} with radius {defect.radius} covers no cell of the zone: "
            "move it into the zone, or refine"
        )
    return replace(zone, speed=np.where(inside, defect.speed, zone.speed))


def cell_midpoints(mesh: dmesh.Mesh) -> NDArray[np.float64]:
    """Midpoints of the local cells, ghosts included, shape ``(num_cells_local, 2)``. Local."""
    return np.asarray(mesh.geometry.x[compat.geometry_dofs(mesh)].mean(axis=1)[:, :2])


def exterior_facets(mesh: dmesh.Mesh) -> NDArray[np.int32]:
    """Local facets of the mesh's boundary. Collective on the mesh's comm."""
    mesh.topology.create_connectivity(mesh.topology.dim - 1, mesh.topology.dim)
    return np.asarray(dmesh.exterior_facet_indices(mesh.topology), dtype=np.int32)


def _rectangle(
    comm: MPI.Comm, lower: tuple[float, float], upper: tuple[float, float], cells: tuple[int, int], cell: str
) -> dmesh.Mesh:
    """A rectangle in equal cells; ``cells`` counts squares. Collective on comm."""
    corners, partitioner = [list(lower), list(upper)], compat.cell_partitioner()
    return dmesh.create_rectangle(comm, corners, list(cells), CELL_TYPES[cell], partitioner=partitioner)


def _zone_of(mesh: dmesh.Mesh, speed: NDArray[np.float64]) -> Domain:
    return Domain(mesh, speed, np.arange(len(speed), dtype=np.int32), np.empty(0, dtype=np.int32))


def _fault_of_boundary(places: NDArray[np.float64], outer: str) -> str:
    """Explain facets of the boundary that are not in the outer group, by their midpoints. Local."""
    pairs = cKDTree(places).query_pairs(1e-9 * float(np.ptp(places, axis=0).max()))
    if pairs:
        x, y = places[min(pairs)[0]]
        return (
            f"nodes are double along {len(pairs)} edges inside the domain, as at ({x:g}, {y:g}), where no wave would "
            "cross: mesh the surfaces together (BooleanFragments, or Coherence Mesh)"
        )
    return f"{len(places)} facets of the boundary are not in the group '{outer}': add them"


def _descendant(mesh: dmesh.Mesh, parents: NDArray[np.int32], origin: Domain) -> Domain:
    """A zone mesh with the speed and the edges of the domain that it stems from. Collective on the mesh's comm."""
    outer, free = (
        inherited_facets(mesh, parents, origin.mesh, each) for each in (origin.outer_facets, origin.free_facets)
    )
    group = None if origin.group is None else origin.group[parents]
    cells = np.arange(len(parents), dtype=np.int32)
    return Domain(mesh, origin.speed[parents], cells, outer, free, group, origin.law)


def _require_group(path: Path, kind: str, name: str, groups: Mapping[str, int]) -> None:
    if name not in groups:
        raise ValueError(
            f"{path.name} has no {kind} group named '{name}' (it has {sorted(groups)}): name it in the geometry"
        )


def node_spacing(mesh: dmesh.Mesh) -> NDArray[np.float64]:
    """Spacing of the vertices in each local cell: the side of the square of which it is all or half. Local."""
    corners = mesh.geometry.x[compat.geometry_dofs(mesh)][:, :, :2]
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return np.asarray(np.sqrt(np.abs(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0])))
