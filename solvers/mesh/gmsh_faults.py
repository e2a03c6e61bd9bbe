"""Faults of a mesh that gmsh has read, each with its remedy; all are found before DOLFINx sees the mesh."""

from __future__ import annotations

from pathlib import Path

import gmsh
import numpy as np
from numpy.typing import NDArray

GZIP = b"\x1f\x8b"
FLAT = 1e-9  # of the mesh's extent: how far nodes may lie beside the plane z = const


def fault_of_file(path: Path) -> str | None:
    """Find what gmsh does not tell: a file about which it would ask on the terminal, names given twice. Root."""
    content = path.read_bytes()
    if content.startswith(GZIP):
        return f"{path.name} is compressed: unpack it (gunzip {path.name})"
    section = content.partition(b"$PhysicalNames")[2].partition(b"$EndPhysicalNames")[0]
    names = [(int(line.split()[0]), line.split(None, 2)[2]) for line in section.splitlines()[2:] if line.strip()]
    for dimension, name in names:
        if names.count((dimension, name)) > 1:
            kind = ("point", "curve", "surface", "volume")[dimension]
            word = name.decode("utf-8", "replace").strip().strip('"')
            return f"{path.name}: two {kind} groups are named '{word}': make them one group"
    return None


def fault_of_model(name: str) -> str | None:
    """The first fault of gmsh's current model as a planar mesh with named groups; ``None`` without one. Root.

    Args:
        name: The file's name.
    """
    for find in (_fault_of_cells, _fault_of_nodes, _fault_of_groups):
        fault = find()
        if fault is not None:
            return f"{name}: {fault}"
    return None


def renumber() -> None:
    """Number the nodes of gmsh's current model from 1 on where they have gaps. Root."""
    numbers = gmsh.model.mesh.getNodes()[0]
    if len(numbers) and int(numbers.max()) != len(numbers):
        gmsh.model.mesh.renumberNodes()


def _fault_of_cells() -> str | None:
    if len(gmsh.model.mesh.getElements(3)[0]):
        return "a volume mesh, the domain is planar: mesh a surface in the plane z = const (gmsh -2)"
    kinds, numbers, _ = gmsh.model.mesh.getElements(2)
    if not len(kinds):
        return "no triangles or quadrilaterals in it: is it a geometry? Mesh it first (gmsh -2) and name the .msh file"
    properties = [gmsh.model.mesh.getElementProperties(kind) for kind in kinds]
    orders = [order for _, _, order, *_ in properties]
    if max(orders) > 1:
        return (
            f"curved cells of order {max(orders)} ({properties[int(np.argmax(orders))][0]}): "
            "set Mesh.ElementOrder = 1 and mesh again"
        )
    if len(kinds) > 1:
        counts = " and ".join(
            f"{len(tags)} {'triangles' if nodes == 3 else 'quadrilaterals'}"
            for (_, _, _, nodes, *_), tags in zip(properties, numbers, strict=True)
        )
        return f"{counts}: recombine all surfaces or none (Mesh.SubdivisionAlgorithm = 1 leaves no triangle)"
    return None


def _fault_of_nodes() -> str | None:
    numbers, coordinates, _ = gmsh.model.mesh.getNodes()
    points = coordinates.reshape(-1, 3)
    wrong = np.flatnonzero(~np.isfinite(points).all(axis=1))
    if len(wrong):
        return f"node {numbers[wrong[0]]} is at {_place(points[wrong[0]])}: mesh the geometry again"
    kinds, _, nodes = gmsh.model.mesh.getElements(2)
    row = np.full(int(numbers.max()) + 1, -1)
    row[numbers] = np.arange(len(numbers))
    num_nodes = gmsh.model.mesh.getElementProperties(kinds[0])[3]
    cells: NDArray[np.int64] = row[nodes[0]].reshape(-1, num_nodes)
    if cells.min() < 0:
        return "a cell names a node that is not there: mesh the geometry again"
    used = points[np.unique(cells)]
    extent = np.ptp(used, axis=0)
    if extent[2] > FLAT * extent[:2].max():
        return "the mesh does not lie in a plane z = const: turn it into the plane z = 0"
    sides = points[cells[:, 1:]] - points[cells[:, :1]]
    area = np.abs(np.cross(sides[:, 0], sides[:, 1])[:, 2])
    if area.min() <= 1e-12 * area.max():
        return f"the cell at {_place(points[cells[area.argmin()]].mean(axis=0))} has no area: mesh the geometry again"
    return None


def _fault_of_groups() -> str | None:
    groups = gmsh.model.getPhysicalGroups()
    if not groups:
        return "no physical groups in it: name the outer curve and the surfaces (Physical Curve, Physical Surface)"
    surfaces = [tag for dimension, tag in groups if dimension == 2]
    if surfaces and not any(gmsh.model.getPhysicalName(2, tag) for tag in surfaces):
        return f'the surface groups {surfaces} have numbers only: name them, as in Physical Surface("zone") = {{2}}'
    for dimension, entity in gmsh.model.getEntities(2):
        of_entity = gmsh.model.getPhysicalGroupsForEntity(dimension, entity)
        if not len(of_entity):  # gmsh saves its cells only where it is told to save all
            return f"surface {entity} is in no physical group: every surface belongs to one, add it (Physical Surface)"
        if len(of_entity) > 1:
            both = sorted(gmsh.model.getPhysicalName(dimension, tag) for tag in of_entity)
            return f"surface {entity} is in several groups, {both}: every surface belongs to one"
    of_cells = np.unique(np.concatenate(gmsh.model.mesh.getElements(2)[2]))
    for dimension, tag in groups:
        if dimension == 1 and len(np.setdiff1d(gmsh.model.mesh.getNodesForPhysicalGroup(dimension, tag)[0], of_cells)):
            name = gmsh.model.getPhysicalName(dimension, tag)
            return f"the curve group '{name}' runs where no cell is: is a surface in no physical group?"
    return None


def _place(point: NDArray[np.float64]) -> str:
    return f"({point[0]:g}, {point[1]:g}, {point[2]:g})"
