"""What differs between the DOLFINx releases that the project supports (0.9 to 0.11), and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import dolfinx
import numpy as np
from dolfinx import mesh as dmesh
from mpi4py import MPI
from numpy.typing import NDArray

try:  # DOLFINx >= 0.10
    from dolfinx.io import gmsh as _gmsh_reader
except ImportError:  # DOLFINx 0.9
    from dolfinx.io import gmshio as _gmsh_reader


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


def create_submesh(mesh: dmesh.Mesh, cells: NDArray[np.int32]) -> tuple[dmesh.Mesh, NDArray[np.int32]]:
    """Submesh of cells, and the parent cell of each of its local cells. Collective on the mesh's comm."""
    created = dmesh.create_submesh(mesh, mesh.topology.dim, cells)
    submesh, entity_map = created[0], created[1]
    if isinstance(entity_map, np.ndarray):  # DOLFINx 0.9
        return submesh, entity_map.astype(np.int32)
    topology = submesh.topology
    num_cells = _num_cells(submesh)
    return submesh, np.asarray(
        entity_map.sub_topology_to_topology(np.arange(num_cells, dtype=np.int32), False), dtype=np.int32
    ) if topology.dim else np.empty(0, dtype=np.int32)


def refine_uniformly(mesh: dmesh.Mesh) -> tuple[dmesh.Mesh, NDArray[np.int32]]:
    """Halve every edge of a triangle mesh; each new local cell's parent. Collective on the mesh's comm."""
    mesh.topology.create_entities(1)
    refined, parent, _ = dmesh.refine(
        mesh, None, partitioner=None, option=dmesh.RefinementOption.parent_cell
    )
    return refined, np.asarray(parent, dtype=np.int32)


def read_gmsh(path: Path, comm: MPI.Comm) -> GmshMesh:
    """Read a planar gmsh mesh with its named groups. Collective on comm: rank 0 reads, all receive."""
    data = _gmsh_reader.read_from_msh(str(path), comm, 0, gdim=2)
    mesh, cells, facets = data[0], data[1], data[2]
    tags = np.zeros(_num_cells(mesh), dtype=np.int32)
    tags[cells.indices] = cells.values
    return GmshMesh(mesh, tags, facets, _gmsh_group_names(path, comm))


def _num_cells(mesh: dmesh.Mesh) -> int:
    index_map = mesh.topology.index_map(mesh.topology.dim)
    return int(index_map.size_local + index_map.num_ghosts)


def _gmsh_group_names(path: Path, comm: MPI.Comm) -> dict[tuple[int, str], int]:
    """The $PhysicalNames section; the reader of DOLFINx 0.9 drops it. Collective on comm."""
    names: dict[tuple[int, str], int] | None = None
    if comm.rank == 0:
        names = {}
        with path.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if line.strip() == "$PhysicalNames":
                    for _ in range(int(next(lines))):
                        dimension, tag, name = next(lines).split(maxsplit=2)
                        names[int(dimension), name.strip().strip('"')] = int(tag)
                    break
    names = comm.bcast(names, root=0)
    return names if names is not None else {}
