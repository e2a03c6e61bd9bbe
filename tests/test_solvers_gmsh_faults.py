"""Meshes that users bring: each that cannot be run on ends in one sentence with file and remedy, on every rank."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import gmsh
import numpy as np
import pytest
from mpi4py import MPI

from solvers.mesh.domain import gmsh_domain, zone_submesh

COMMON = """
SetFactory("OpenCASCADE");
Rectangle(1) = {-1, -1, 0, 2, 2};
Rectangle(2) = {-.25, -.25, 0, .5, .5};
v() = BooleanFragments{Surface{1}; Delete;}{Surface{2}; Delete;};
b() = CombinedBoundary{Surface{:};};
Mesh.MeshSizeMax = .25;
"""
OUTER = 'Physical Curve("outer") = {b()};'
ZONE = 'Physical Surface("zone") = {2};'
REST = 'Physical Surface("rest") = {3};'
GROUPS = OUTER + ZONE + REST
WHOLE = COMMON + GROUPS
APART = """
SetFactory("OpenCASCADE");
Rectangle(1) = {-1, -1, 0, 2, 2};
Rectangle(2) = {-.25, -.25, 0, .5, .5};
Rectangle(3) = {-.25, -.25, 0, .5, .5};
v() = BooleanDifference{Surface{1}; Delete;}{Surface{2}; Delete;};
b() = Boundary{Surface{v()};};
Mesh.MeshSizeMax = .25;
Physical Curve("outer") = {b({0:3})};
Physical Surface("rest") = {v()};
Physical Surface("zone") = {3};
"""


def mesh(path: Path, geometry: str) -> Path:
    """Write the mesh of a geometry. Local."""
    source = path.with_suffix(".geo")
    source.write_text(geometry.replace(";", ";\n") + "\n")
    gmsh.initialize(["gmsh"], readConfigFiles=False, interruptible=False)
    gmsh.option.setNumber("General.Terminal", 0)
    gmsh.merge(str(source))
    gmsh.model.mesh.generate(2)
    gmsh.write(str(path))
    gmsh.finalize()
    return path


def edited(change: Callable[[list[str]], list[str]]) -> Callable[[Path], Path]:
    """A whole mesh in MSH 2.2, its lines changed."""

    def make(folder: Path) -> Path:
        path = mesh(folder / "mesh.msh", "Mesh.MshFileVersion = 2.2;" + WHOLE)
        path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")
        return path

    return make


def numbers_with_gaps(lines: list[str]) -> list[str]:
    """Node n is called 7 n + 48."""
    first, last = lines.index("$Nodes") + 2, lines.index("$EndNodes")
    for i in range(first, last):
        number, *rest = lines[i].split()
        lines[i] = " ".join([str(7 * int(number) + 48), *rest])
    for i in range(lines.index("$Elements") + 2, lines.index("$EndElements")):
        head = lines[i].split()
        start = 3 + int(head[2])
        lines[i] = " ".join([*head[:start], *(str(7 * int(node) + 48) for node in head[start:])])
    return lines


def a_node_that_is_none(lines: list[str]) -> list[str]:
    i = lines.index("$Nodes") + 10
    lines[i] = lines[i].split()[0] + " nan nan 0"
    return lines


def two_groups_of_one_name(lines: list[str]) -> list[str]:
    i = lines.index("$PhysicalNames")
    lines[i + 1 : i + 2] = [str(int(lines[i + 1]) + 1), '1 77 "outer"']
    j = next(k for k in range(lines.index("$Elements") + 2, len(lines)) if lines[k].split()[1] == "1")
    head = lines[j].split()
    lines[j] = " ".join([*head[:3], "77", "77", *head[5:]])
    return lines


def compressed(folder: Path) -> Path:
    path = folder / "mesh.msh.gz"
    path.write_bytes(gzip.compress(mesh(folder / "mesh.msh", WHOLE).read_bytes()))
    return path


def text(name: str, words: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_text(words)
        return folder / name

    return make


def meshed(geometry: str, name: str = "mesh.msh") -> Callable[[Path], Path]:
    return lambda folder: mesh(folder / name, geometry)


TURN = "Rotate{{1, 0, 0}, {0, 0, 0}, %s}{Surface{:};}"
FAULTS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "a surface in no group": (meshed(COMMON + OUTER + ZONE), "mesh.msh: surface 3 is in no physical group: .*add it"),
    "a surface in two groups": (
        meshed(WHOLE + 'Physical Surface("all") = {2, 3};'),
        r"surface \d is in several groups, \['all', '(zone|rest)'\]: every surface belongs to one",
    ),
    "no groups": (meshed(COMMON), "mesh.msh: no physical groups in it: name the outer curve"),
    "groups without names": (
        meshed(COMMON + OUTER + "Physical Surface(7) = {2}; Physical Surface(8) = {3};"),
        r"mesh.msh: the surface groups \[7, 8\] have numbers only: name them",
    ),
    "no curve group": (meshed(COMMON + ZONE + REST), r"mesh.msh has no curve group named 'outer' \(it has \[\]\)"),
    "two groups of one name": (edited(two_groups_of_one_name), "mesh.msh: two curve groups are named 'outer': make"),
    "triangles and quadrilaterals": (
        meshed(WHOLE + "Recombine Surface{2}; Mesh.Algorithm = 6;"),
        r"mesh.msh: \d+ triangles and \d+ quadrilaterals: recombine all",
    ),
    "order 2": (meshed(WHOLE + "Mesh.ElementOrder = 2;"), "mesh.msh: curved cells of order 2 .*Mesh.ElementOrder = 1"),
    "order 3": (meshed(WHOLE + "Mesh.ElementOrder = 3;"), "curved cells of order 3 .*set Mesh.ElementOrder = 1"),
    "curved quadrilaterals": (
        meshed(WHOLE + "Mesh.ElementOrder = 2; Recombine Surface{:}; Mesh.SubdivisionAlgorithm = 1;"),
        r"curved cells of order 2 \(Quadrilateral 9\)",
    ),
    "turned by 30 degrees": (meshed(WHOLE + TURN % "Pi/6"), "mesh.msh: the mesh does not lie in a plane z = const"),
    "in the plane y = const": (meshed(WHOLE + TURN % "Pi/2"), "does not lie in a plane z = const: turn it"),
    "a sphere": (
        meshed('SetFactory("OpenCASCADE"); Sphere(1) = {0, 0, 0, 1}; Physical Surface("zone") = {1};'),
        "does not lie in a plane z = const",
    ),
    "a node that is none": (edited(a_node_that_is_none), r"mesh.msh: node 9 is at \(nan, nan, 0\)"),
    "the geometry": (text("mesh.geo", WHOLE), r"mesh.geo: no triangles or quadrilaterals in it: .*Mesh it first"),
    "no mesh": (text("mesh.msh", "a recipe for bread\n"), "mesh.msh"),
    "an empty file": (text("mesh.msh", ""), "mesh.msh"),
    "a mesh cut off": (
        edited(lambda lines: lines[: lines.index("$Elements") + 40]),
        "mesh.msh",
    ),
    "an .stl": (meshed(COMMON, "mesh.stl"), "mesh.stl: no physical groups in it"),
    "a .vtk": (meshed(WHOLE, "mesh.vtk"), "mesh.vtk: "),
    "compressed": (compressed, r"mesh.msh.gz is compressed: unpack it \(gunzip mesh.msh.gz\)"),
    "zone and rest apart": (meshed(APART), r"mesh.msh: nodes are double along \d+ edges inside the domain, as at"),
}


@pytest.mark.mpi
@pytest.mark.parametrize("name", FAULTS)
def test_a_mesh_that_cannot_be_run_on(name: str, comm: MPI.Comm, shared_path: Path) -> None:
    make, message = FAULTS[name]
    path = Path(comm.bcast(str(make(shared_path)) if comm.rank == 0 else None))
    with pytest.raises(ValueError, match=message):
        gmsh_domain(comm, path, speed=1.0)
    assert not gmsh.isInitialized()


@pytest.mark.mpi
@pytest.mark.parametrize("name", ["whole", "gaps", "z = 5", "saved whole"])
def test_a_mesh_that_is_read(name: str, comm: MPI.Comm, shared_path: Path) -> None:
    """Numbers with gaps, a plane beside z = 0 and points that no cell uses change nothing."""
    geometry = WHOLE.replace(", 0,", ", 5,") if name == "z = 5" else WHOLE
    geometry += "Mesh.SaveAll = 1;" if name == "saved whole" else ""
    if comm.rank == 0:
        if name == "gaps":
            edited(numbers_with_gaps)(shared_path)
        else:
            mesh(shared_path / "mesh.msh", geometry)
    comm.Barrier()
    domain = gmsh_domain(comm, shared_path / "mesh.msh", speed=1.0)
    corners = domain.mesh.geometry.x[:, :2]
    low, high = comm.allreduce(corners.min(initial=9.0), MPI.MIN), comm.allreduce(corners.max(initial=-9.0), MPI.MAX)
    assert (low, high) == (-1.0, 1.0)
    inside = zone_submesh(domain).mesh.geometry.x[:, :2]
    assert comm.allreduce(np.abs(inside).max(initial=0.0), MPI.MAX) == 0.25
