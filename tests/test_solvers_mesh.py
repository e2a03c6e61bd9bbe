"""Domains from boxes and gmsh files: groups, speeds, zones; every refusal; discretisations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mpi4py import MPI
from solver_problems import GLL2, P1, PLATE_SPEED, PLATE_ZONE, box, generate_plate, plate

from solvers.mesh import compat
from solvers.mesh.domain import (
    Defect,
    Domain,
    box_domain,
    cell_midpoints,
    gmsh_domain,
    refined,
    refined_zone_box,
    with_defect,
    zone_submesh,
)
from solvers.space.assembly import Discretization, assemble_mass, assemble_stiffness, function_space


def area(domain: Domain, *, zone: bool = False, discretization: Discretization = P1) -> float:
    """Sum of the mass matrix with c = 1: the area of all cells, or of the zone's. Collective."""
    unit = Domain(domain.mesh, np.ones(len(domain.speed)), domain.zone_cells, domain.outer_facets)
    V = function_space(domain.mesh, discretization)
    return float(domain.mesh.comm.allreduce(assemble_mass(V, unit, discretization, zone=zone).sum()))


@pytest.mark.mpi
def test_box_and_its_zone(comm: MPI.Comm) -> None:
    domain = box(comm, P1)
    assert area(domain) == pytest.approx(4.0) and area(domain, zone=True) == pytest.approx(0.25)
    assert area(zone_submesh(domain)) == pytest.approx(0.25)
    assert np.all(np.abs(cell_midpoints(zone_submesh(domain).mesh)) < 0.25)


@pytest.mark.mpi
@pytest.mark.parametrize("quads", [False, True], ids=["triangles", "quads"])
def test_plate_and_its_groups(quads: bool, comm: MPI.Comm, shared_path: Path) -> None:
    """Areas in closed form but for the polygons that stand for circles; the slow inclusion by its mass."""
    domain = plate(comm, generate_plate(comm, shared_path, size=0.1, quads=quads))
    discretization = GLL2 if quads else P1
    assert area(domain, discretization=discretization) == pytest.approx(4.0 - np.pi * 0.15**2, rel=0.005)
    assert area(domain, zone=True, discretization=discretization) == pytest.approx(0.36, rel=1e-9)
    V = function_space(domain.mesh, discretization)
    mass = comm.allreduce(assemble_mass(V, domain, discretization).sum())
    assert mass - area(domain, discretization=discretization) == pytest.approx(3.0 * np.pi * 0.15**2, rel=0.08)
    assert comm.allreduce(len(domain.outer_facets)) > 8


@pytest.mark.parametrize("discretization", [P1, GLL2, Discretization(stepper="newmark")], ids=str)
def test_stiffness_leaves_constants_alone_and_is_symmetric(discretization: Discretization) -> None:
    domain = box(MPI.COMM_SELF, discretization)
    K = assemble_stiffness(function_space(domain.mesh, discretization), domain, discretization)
    assert abs(K - K.T).max() < 1e-13 * abs(K).max()
    assert np.abs(K @ np.ones(K.shape[1])).max() < 1e-13 * abs(K).max()
    assert np.all(K.data != 0.0)  # no stored zeros: 5 entries a row for P1 on squares
    if discretization.element == "p1":
        assert np.diff(K.indptr).max() == 5


def test_a_box_says_what_it_cannot_take() -> None:
    def make(lower: float, upper: float, speed: float = 1.0, num_cells: int = 16) -> Domain:
        return box_domain(
            MPI.COMM_SELF,
            (-1.0, -1.0),
            (1.0, 1.0),
            (num_cells, num_cells),
            (lower, lower),
            (upper, upper),
            cell="triangle",
            speed=speed,
        )

    for lower, upper in ((-1.0, 0.25), (-0.25, 1.0), (-0.25, 1.5), (0.25, -0.25)):
        with pytest.raises(ValueError, match="zone must lie strictly inside the domain, along x it does not"):
            make(lower, upper)
    with pytest.raises(ValueError, match=r"corner x = -0.3 is not on a cell edge \(cell size 0.125\): move"):
        make(-0.3, 0.25)
    with pytest.raises(ValueError, match="wave speed must be positive, got 0"):
        make(-0.25, 0.25, speed=0.0)
    with pytest.raises(ValueError, match="wave speed must be positive, got -1"):
        refined_zone_box(MPI.COMM_SELF, (0.0, 0.0), (1.0, 1.0), (2, 2), cell="triangle", speed=-1.0)


@pytest.mark.mpi
def test_a_gmsh_domain_says_what_it_cannot_take(comm: MPI.Comm, shared_path: Path) -> None:
    path = generate_plate(comm, shared_path, size=0.2, quads=False)

    def make(outer: str = "outer", zone: str = "zone") -> Domain:
        return gmsh_domain(comm, path, speed=1.0, outer=outer, zone=zone)

    assert make().speed.min(initial=1.0) == 1.0
    with pytest.raises(ValueError, match="there is no mesh file .*nowhere.msh: make it with gmsh"):
        gmsh_domain(comm, shared_path / "nowhere.msh", speed=1.0)
    with pytest.raises(
        ValueError, match="has no surface group named 'core' .*'inclusion', 'plate'.*: name it"
    ):
        make(zone="core")
    with pytest.raises(ValueError, match=r"has no curve group named 'rim' \(it has \['outer'\]\)"):
        make(outer="rim")
    with pytest.raises(ValueError, match="has no surface group named 'air'"):
        gmsh_domain(comm, path, speed=PLATE_SPEED | {"air": 1.0})
    with pytest.raises(ValueError, match=r"\d+ cells have no wave speed; name a speed for each group"):
        gmsh_domain(comm, path, speed={"plate": 1.0, "zone": 1.0})
    with pytest.raises(ValueError, match="wave speed must be positive, got -2"):
        gmsh_domain(comm, path, speed=PLATE_SPEED | {"inclusion": -2.0}, zone=PLATE_ZONE)
    with pytest.raises(ValueError, match="wave speed must be positive, got nan"):
        gmsh_domain(comm, path, speed=float("nan"))


@pytest.mark.mpi
def test_an_outer_group_that_misses_facets_is_refused(comm: MPI.Comm, shared_path: Path) -> None:
    """The plate's file with the hole's curve taken out of the group 'outer'."""
    geometry = (Path(__file__).parents[1] / "meshes" / "plate.geo").read_text()
    path = shared_path / "partial.msh"
    if comm.rank == 0:
        import runpy

        source = shared_path / "partial.geo"
        source.write_text(geometry.replace("{boundary()};", "{boundary(0)};"))
        generate = runpy.run_path(str(Path(__file__).parents[1] / "meshes" / "generate.py"))["generate"]
        generate(source, path, size=0.2)
    comm.Barrier()
    with pytest.raises(
        ValueError, match=r"partial.msh: \d+ facets of the boundary are not in the group 'outer'"
    ):
        gmsh_domain(comm, path, speed=1.0)


def test_refinement_says_what_it_cannot_take(tmp_path: Path) -> None:
    zone = zone_submesh(box(MPI.COMM_SELF, P1))
    assert refined(zone, 1) is zone
    for factor in (0, 3, 6, -2):
        with pytest.raises(ValueError, match=f"refined by 1, 2, 4, 8, ...; got {factor}"):
            refined(zone, factor)
    with pytest.raises(ValueError, match="only a zone of triangles can be refined"):
        refined(zone_submesh(box(MPI.COMM_SELF, GLL2)), 2)


@pytest.mark.mpi
def test_a_defect_is_a_disc_of_another_speed(comm: MPI.Comm) -> None:
    zone = zone_submesh(box(comm, P1, 64))
    hit = with_defect(zone, Defect((0.05, 0.0), 0.1, 2.0))
    inside = np.linalg.norm(cell_midpoints(zone.mesh) - (0.05, 0.0), axis=1) < 0.1
    np.testing.assert_array_equal(hit.speed, np.where(inside, 2.0, 1.0))
    with pytest.raises(ValueError, match=r"the defect at \(0.5, 0.0\) with radius 0.1 covers no cell"):
        with_defect(zone, Defect((0.5, 0.0), 0.1, 2.0))
    for radius, speed in ((0.0, 1.0), (0.1, 0.0), (-0.1, 1.0)):
        with pytest.raises(ValueError, match="needs a positive radius and speed"):
            Defect((0.0, 0.0), radius, speed)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("p2",), r"element must be one of \('p1', 'gll'\), got 'p2'"),
        (("p1", 1, "leapfrog"), r"stepper must be one of \('explicit', 'newmark'\), got 'leapfrog'"),
        (("p1", 2), "element 'p1' cannot have degree 2: use gll, degree 1 to 8"),
        (("gll", 0), "element 'gll' cannot have degree 0"),
        (("gll", 9), "element 'gll' cannot have degree 9"),
    ],
)
def test_a_discretization_says_what_it_cannot_take(arguments: tuple[str, int, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Discretization(*arguments)


def test_an_element_needs_its_cells() -> None:
    triangles, quads = box(MPI.COMM_SELF, P1), box(MPI.COMM_SELF, GLL2)
    with pytest.raises(ValueError, match="element 'gll' needs quadrilateral cells, the mesh has triangles"):
        function_space(triangles.mesh, GLL2)
    with pytest.raises(ValueError, match="element 'p1' needs triangle cells, the mesh has quadrilaterals"):
        function_space(quads.mesh, P1)


def test_the_release_is_known() -> None:
    assert compat.release().split(".")[0].isdigit()
