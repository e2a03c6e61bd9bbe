"""Γ: canonical order, weights, several loops; the same whatever the element, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mpi4py import MPI
from solver_problems import GLL3, METHODS, P1, box, generate_plate, plate

from solvers.gamma.trace import Interface
from solvers.mesh.domain import Domain, cell_midpoints, zone_submesh
from solvers.space.assembly import Discretization, assemble_boundary_damping, function_space
from solvers.space.locate_gamma import locate_interface


def with_hole(domain: Domain, half_width: float) -> Domain:
    """The same domain, its zone without the cells near the origin."""
    middle = np.abs(cell_midpoints(domain.mesh)).max(axis=1)
    outside = middle[domain.zone_cells] > half_width
    return replace(domain, zone_cells=domain.zone_cells[outside])


def interface_of(domain: Domain, method: str) -> Interface:
    return locate_interface(function_space(domain.mesh, METHODS[method]), domain).curve


def signed_area(curve: Interface, loop: int) -> float:
    x, y = curve.points[curve.loop == loop].T
    return float(0.5 * np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)))


@pytest.mark.mpi
@pytest.mark.parametrize("method", METHODS)
def test_canonical_order_of_a_box(method: str, comm: MPI.Comm) -> None:
    curve = interface_of(box(comm, METHODS[method]), method)
    np.testing.assert_allclose(curve.points[0], (-0.25, -0.25), atol=1e-12)  # lowest, then leftmost
    assert curve.arc[0] == 0.0 and np.all(np.diff(curve.arc) > 0.0)
    assert np.all(curve.loop == 0)
    assert signed_area(curve, 0) == pytest.approx(0.25, rel=1e-12)  # positive: counter-clockwise
    assert curve.weights.sum() == pytest.approx(2.0, rel=1e-12)
    # arc length is that of the polygon, from the loop's start
    steps = np.linalg.norm(np.diff(curve.points, axis=0), axis=1)
    np.testing.assert_allclose(np.diff(curve.arc), steps, rtol=0.0, atol=1e-12)
    assert curve.num_nodes == 4 * 4 * METHODS[method].degree


@pytest.mark.parametrize("method", ["p1", "gll3"])
def test_weights_integrate_polynomials_along_a_side(method: str) -> None:
    """The lumped lengths are Gauss-Lobatto-Legendre weights: exact to degree 2p - 1."""
    curve = interface_of(box(MPI.COMM_SELF, METHODS[method]), method)
    degree = 2 * METHODS[method].degree - 1
    on_left = np.abs(curve.points[:, 0] + 0.25) < 1e-9
    y = curve.points[on_left, 1] + 0.25
    inside = curve.weights[on_left] * np.where((y < 1e-9) | (y > 0.5 - 1e-9), 0.5, 1.0)  # corners count half
    assert inside @ y**degree == pytest.approx(0.5 ** (degree + 1) / (degree + 1), rel=1e-12)


@pytest.mark.mpi
def test_a_zone_with_a_hole_has_two_loops(comm: MPI.Comm) -> None:
    domain = with_hole(box(comm, P1), 0.125)
    curve = interface_of(domain, "p1")
    assert len(curve.loops()) == 2
    assert curve.weights[curve.loop == 0].sum() == pytest.approx(2.0)
    assert curve.weights[curve.loop == 1].sum() == pytest.approx(1.0)
    np.testing.assert_allclose(curve.points[curve.loop == 1][0], (-0.125, -0.125), atol=1e-12)
    assert signed_area(curve, 0) == pytest.approx(0.25) and signed_area(curve, 1) == pytest.approx(0.0625)
    assert curve.arc[curve.loops()[1][0]] == 0.0


@pytest.mark.mpi
@pytest.mark.parametrize("quads", [False, True], ids=["triangles", "quads"])
def test_unstructured_interface(quads: bool, comm: MPI.Comm, shared_path: Path) -> None:
    method = "gll3" if quads else "p1"
    curve = interface_of(plate(comm, generate_plate(comm, shared_path, size=0.15, quads=quads)), method)
    lowest = np.lexsort((curve.points[:, 0], curve.points[:, 1]))[0]
    assert lowest == 0
    assert signed_area(curve, 0) == pytest.approx(0.36, rel=1e-9)  # a square of side 0.6, tilted
    assert curve.weights.sum() == pytest.approx(2.4, rel=1e-9)
    everywhere = comm.allgather(curve.points)
    assert all(np.array_equal(everywhere[0], other) for other in everywhere)


@pytest.mark.parametrize("how", [P1, GLL3], ids=["p1", "gll3"])
def test_damping_is_the_interface_weight_over_the_speed(how: Discretization, tmp_path: Path) -> None:
    """C of a zone mesh from a form over its boundary, against the weights of the walked curve: two ways, one number."""
    domain = zone_submesh(box(MPI.COMM_SELF, how))
    domain = replace(domain, speed=np.full(len(domain.speed), 0.5))
    V = function_space(domain.mesh, how)
    gamma = locate_interface(V, domain)
    damping = assemble_boundary_damping(V, domain, how)
    expected = np.zeros_like(damping)
    expected[gamma.dofs] = 2.0 * gamma.curve.weights[gamma.positions]
    np.testing.assert_allclose(damping, expected, rtol=0.0, atol=1e-14)


@pytest.mark.mpi
def test_an_empty_zone_is_refused(comm: MPI.Comm) -> None:
    domain = replace(box(comm, P1), zone_cells=np.empty(0, dtype=np.int32))
    with pytest.raises(ValueError, match="no boundary inside the domain"):
        interface_of(domain, "p1")


@pytest.mark.mpi
def test_zones_that_meet_at_a_corner_are_refused(comm: MPI.Comm) -> None:
    domain = box(comm, P1)
    x, y = cell_midpoints(domain.mesh)[domain.zone_cells].T
    domain = replace(domain, zone_cells=domain.zone_cells[x * y > 0.0])  # first and third quadrant
    with pytest.raises(ValueError, match="zone cells meet at a corner"):
        interface_of(domain, "p1")


def test_interfaces_are_compared_by_their_nodes() -> None:
    curve = interface_of(box(MPI.COMM_SELF, P1), "p1")
    assert curve.matches(replace(curve, points=curve.points + 1e-12))
    assert not curve.matches(replace(curve, points=curve.points + 1e-3))
    assert not curve.matches(interface_of(box(MPI.COMM_SELF, P1, 32), "p1"))
