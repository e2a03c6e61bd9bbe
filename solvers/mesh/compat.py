"""Differences between the DOLFINx releases that the project supports (0.9 to 0.11), and nothing else."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dolfinx
import gmsh
import numpy as np
from dolfinx import graph as dgraph
from dolfinx import jit
from dolfinx import mesh as dmesh
from mpi4py import MPI
from numpy.typing import NDArray

from solvers.mesh.gmsh_faults import fault_of_file, fault_of_model, renumber
from solvers.mesh.partition import partition_cells

try:  # DOLFINx >= 0.10
    from dolfinx.io import gmsh as _gmsh_reader
except ImportError:  # DOLFINx 0.9
    from dolfinx.io import gmshio as _gmsh_reader

logging.captureWarnings(False)
"""FFCx, which DOLFINx imports, sends every warning of the process to a logger that shows nothing."""


@dataclass(frozen=True)
class GmshMesh:
    """A mesh read from a .msh file.

    Args:
        mesh: The distributed mesh.
        cell_tags: Physical tag of each local cell, ``(num_cells_local,)``, ghosts included; 0 where untagged.
        facet_tags: Tagged local facets, or ``None`` where the file has none.
        names: ``(dimension, name) -> tag`` of the file's named groups.
    """

    mesh: dmesh.Mesh
    cell_tags: NDArray[np.int32]
    facet_tags: dmesh.MeshTags | None
    names: dict[tuple[int, str], int]


def release() -> str:
    """The DOLFINx release in use, for provenance records. Local."""
    return str(dolfinx.__version__)


def form_cache_folder() -> Path:
    """The folder of compiled forms. Local."""
    return Path(jit.get_options()["cache_dir"])


def cell_partitioner() -> Any:
    """Partitioner of a new mesh's cells that divides them in the same way in every run. Local."""

    def part(comm: MPI.Intracomm, num_parts: int, graph: Any, _: bool) -> Any:
        parts = dgraph.adjacencylist(partition_cells(comm, num_parts, graph).reshape(-1, 1))
        return getattr(parts, "_cpp_object", parts)  # DOLFINx 0.9 returns that itself

    none = dmesh.GhostMode.none
    try:
        return dmesh.create_cell_partitioner(part, none, 2)
    except TypeError:  # DOLFINx 0.9 does not ask how many cells a facet may have
        return dmesh.create_cell_partitioner(part, none)


def create_submesh(mesh: dmesh.Mesh, cells: NDArray[np.int32]) -> tuple[dmesh.Mesh, NDArray[np.int32]]:
    """Submesh of cells, and the parent cell of each of its local cells. Collective on the mesh's comm."""
    created = dmesh.create_submesh(mesh, mesh.topology.dim, cells)
    submesh, entity_map = created[0], created[1]
    if isinstance(entity_map, np.ndarray):  # DOLFINx 0.9
        return submesh, entity_map.astype(np.int32)
    cells = np.arange(_num_cells(submesh), dtype=np.int32)
    return submesh, np.asarray(entity_map.sub_topology_to_topology(cells, False), dtype=np.int32)


def refine_uniformly(mesh: dmesh.Mesh) -> tuple[dmesh.Mesh, NDArray[np.int32]]:
    """Halve every edge of a triangle mesh; each new local cell's parent. Collective on the mesh's comm."""
    mesh.topology.create_entities(1)
    refined, parent, _ = dmesh.refine(mesh, None, partitioner=None, option=dmesh.RefinementOption.parent_cell)
    # parents are given in the order in which the cells were made, and those were renumbered; none left its rank
    made_before = mesh.comm.scan(len(parent)) - len(parent)
    return refined, np.asarray(parent[refined.topology.original_cell_index - made_before], dtype=np.int32)


def geometry_dofs(mesh: dmesh.Mesh) -> NDArray[np.int32]:
    """Nodes of each local cell, shape ``(num_cells_local, num_nodes)``. Local."""
    geometry = mesh.geometry
    return np.asarray(geometry.dofmaps[0] if hasattr(geometry, "dofmaps") else geometry.dofmap)


def facet_nodes(mesh: dmesh.Mesh, facets: NDArray[np.int32]) -> NDArray[np.int32]:
    """Geometry nodes at the ends of facets of a planar mesh, shape ``(num_facets, 2)``. Local.

    DOLFINx divides by the number of facets.
    """
    mesh.topology.create_connectivity(1, 2)
    if not len(facets):
        return np.empty((0, 2), np.int32)
    return np.asarray(dmesh.entities_to_geometry(mesh, 1, facets), dtype=np.int32).reshape(-1, 2)


def coordinate_map(mesh: dmesh.Mesh) -> Any:
    """The map from the reference cell, with its ``pull_back``. Local."""
    geometry = mesh.geometry
    return geometry.cmaps[0] if hasattr(geometry, "cmaps") else geometry.cmap


def read_gmsh(path: Path, comm: MPI.Comm) -> GmshMesh:
    """Read a planar gmsh mesh with its named groups. Collective on comm: rank 0 reads, all receive.

    Raises:
        ValueError: On every rank, if gmsh cannot read the file, or the mesh is none that can be run on.
    """
    names: dict[tuple[int, str], int] = {}
    fault: str | None = None
    if comm.rank == 0:
        gmsh.initialize(["gmsh"], readConfigFiles=False, interruptible=False)
        gmsh.option.setNumber("General.Terminal", 0)
        try:
            fault = fault_of_file(path)
            if fault is None:
                gmsh.merge(str(path))
                fault = fault_of_model(path.name)
            if fault is None:
                renumber()
                names = {
                    (dimension, gmsh.model.getPhysicalName(dimension, tag)): tag
                    for dimension, tag in gmsh.model.getPhysicalGroups()
                }
        except Exception as error:  # gmsh raises nothing narrower
            fault = f"gmsh cannot read {path} ({error}): make it again, see meshes/README.md"
        if fault is not None:
            gmsh.finalize()
    fault = comm.bcast(fault, root=0)
    if fault is not None:
        raise ValueError(fault)
    data = _gmsh_reader.model_to_mesh(gmsh.model, comm, 0, gdim=2, partitioner=cell_partitioner())
    if comm.rank == 0:
        gmsh.finalize()
    mesh, cells, facets = data[0], data[1], data[2]
    tags = np.zeros(_num_cells(mesh), dtype=np.int32)
    tags[cells.indices] = cells.values
    return GmshMesh(mesh, tags, facets, comm.bcast(names, root=0))


def _num_cells(mesh: dmesh.Mesh) -> int:
    index_map = mesh.topology.index_map(mesh.topology.dim)
    return int(index_map.size_local + index_map.num_ghosts)
