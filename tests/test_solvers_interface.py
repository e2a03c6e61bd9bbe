"""Γ: canonical order, weights, several loops; the same whatever the element, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mpi4py import MPI
from solver_problems import GLL3, METHODS, P1, box, generate_plate, plate

from solvers.gamma.chart import ClosedLoops, gamma_arrays, gamma_document, gamma_from
from solvers.gamma.gamma import Gamma
from solvers.mesh.domain import Domain, cell_midpoints, zone_submesh
from solvers.space.assembly import Discretization, assemble_admittance, function_space
from solvers.space.locate_gamma import gamma_facets, locate_gamma


def with_hole(domain: Domain, half_width: float) -> Domain:
    """The same domain, its zone without the cells near the origin."""
    middle = np.abs(cell_midpoints(domain.mesh)).max(axis=1)
    outside = middle[domain.zone_cells] > half_width
    return replace(domain, zone_cells=domain.zone_cells[outside])


def gamma_of(domain: Domain, method: str) -> Gamma:
    return locate_gamma(function_space(domain.mesh, METHODS[method]), domain).gamma


def chart_of(gamma: Gamma) -> ClosedLoops:
    assert isinstance(gamma.chart, ClosedLoops)
    return gamma.chart


def signed_area(gamma: Gamma, loop: int) -> float:
    x, y = gamma.points[chart_of(gamma).loop == loop].T
    return float(0.5 * np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)))


@pytest.mark.mpi
@pytest.mark.parametrize("method", METHODS)
def test_canonical_order_of_a_box(method: str, comm: MPI.Comm) -> None:
    gamma = gamma_of(box(comm, METHODS[method]), method)
    np.testing.assert_allclose(gamma.points[0], (-0.25, -0.25), atol=1e-12)  # lowest, then leftmost
    assert chart_of(gamma).arc[0] == 0.0 and np.all(np.diff(chart_of(gamma).arc) > 0.0)
    assert np.all(chart_of(gamma).loop == 0)
    assert signed_area(gamma, 0) == pytest.approx(0.25, rel=1e-12)  # positive: counter-clockwise
    assert gamma.weights.sum() == pytest.approx(2.0, rel=1e-12)
    # arc length is that of the polygon, from the loop's start
    steps = np.linalg.norm(np.diff(gamma.points, axis=0), axis=1)
    np.testing.assert_allclose(np.diff(chart_of(gamma).arc), steps, rtol=0.0, atol=1e-12)
    assert gamma.num_nodes == 4 * 4 * METHODS[method].degree


@pytest.mark.parametrize("method", ["p1", "gll3"])
def test_normals_point_out_of_the_zone(method: str) -> None:
    """Along a side as long as the weights, shorter at corners; they add up to nothing on a closed curve."""
    gamma = gamma_of(with_hole(box(MPI.COMM_SELF, METHODS[method]), 0.125), method)
    outer = chart_of(gamma).loop == 0
    np.testing.assert_allclose(gamma.normals[outer].sum(axis=0), 0.0, atol=1e-15)
    assert ((gamma.normals * gamma.points).sum(axis=1) > 0.0)[outer].all()
    assert ((gamma.normals * gamma.points).sum(axis=1) < 0.0)[~outer].all()
    lengths = np.linalg.norm(gamma.normals, axis=1)
    corner = np.isclose(abs(gamma.points[:, 0]), abs(gamma.points[:, 1]))
    np.testing.assert_allclose(lengths, gamma.weights / np.where(corner, np.sqrt(2.0), 1.0), rtol=1e-12)


def test_gamma_of_linear_elements_follows_from_its_nodes_alone() -> None:
    gamma = gamma_of(with_hole(box(MPI.COMM_SELF, P1), 0.125), "p1")
    again = gamma_arrays(ClosedLoops.polygon(gamma.points, chart_of(gamma).loop))
    for name, array in gamma_arrays(gamma).items():
        np.testing.assert_allclose(again[name], array, rtol=0.0, atol=1e-15)


def test_gamma_survives_json_and_is_read_from_files_without_normals() -> None:
    gamma = gamma_of(box(MPI.COMM_SELF, P1), "p1")
    document = json.loads(json.dumps(gamma_document(gamma)))
    for name, array in gamma_arrays(gamma_from(document)).items():
        np.testing.assert_array_equal(array, gamma_arrays(gamma)[name])
    old = {name: array for name, array in gamma_arrays(gamma).items() if name != "normals"}
    np.testing.assert_array_equal(gamma_from(old).normals, gamma.normals)
    with pytest.raises(KeyError, match="sphere"):
        gamma_from(document | {"chart": "sphere"})


def test_convolutions_along_gamma_need_one_closed_loop() -> None:
    assert gamma_of(box(MPI.COMM_SELF, P1), "p1").closed_loop_size() == 16
    with pytest.raises(ValueError, match="one closed loop, got 2 curve"):
        gamma_of(with_hole(box(MPI.COMM_SELF, P1), 0.125), "p1").closed_loop_size()


@pytest.mark.parametrize("method", ["p1", "gll3"])
def test_weights_integrate_polynomials_along_a_side(method: str) -> None:
    """The lumped lengths are Gauss-Lobatto-Legendre weights: exact to degree 2p - 1."""
    gamma = gamma_of(box(MPI.COMM_SELF, METHODS[method]), method)
    degree = 2 * METHODS[method].degree - 1
    on_left = np.abs(gamma.points[:, 0] + 0.25) < 1e-9
    y = gamma.points[on_left, 1] + 0.25
    inside = gamma.weights[on_left] * np.where((y < 1e-9) | (y > 0.5 - 1e-9), 0.5, 1.0)  # corners count half
    assert inside @ y**degree == pytest.approx(0.5 ** (degree + 1) / (degree + 1), rel=1e-12)


@pytest.mark.mpi
def test_a_zone_with_a_hole_has_two_loops(comm: MPI.Comm) -> None:
    domain = with_hole(box(comm, P1), 0.125)
    gamma = gamma_of(domain, "p1")
    assert len(chart_of(gamma).loops()) == 2
    assert gamma.weights[chart_of(gamma).loop == 0].sum() == pytest.approx(2.0)
    assert gamma.weights[chart_of(gamma).loop == 1].sum() == pytest.approx(1.0)
    np.testing.assert_allclose(gamma.points[chart_of(gamma).loop == 1][0], (-0.125, -0.125), atol=1e-12)
    assert signed_area(gamma, 0) == pytest.approx(0.25) and signed_area(gamma, 1) == pytest.approx(0.0625)
    assert chart_of(gamma).arc[chart_of(gamma).loops()[1][0]] == 0.0


@pytest.mark.mpi
@pytest.mark.parametrize("quads", [False, True], ids=["triangles", "quads"])
def test_unstructured_interface(quads: bool, comm: MPI.Comm, shared_path: Path) -> None:
    method = "gll3" if quads else "p1"
    gamma = gamma_of(plate(comm, generate_plate(comm, shared_path, size=0.15, quads=quads)), method)
    lowest = np.lexsort((gamma.points[:, 0], gamma.points[:, 1]))[0]
    assert lowest == 0
    assert signed_area(gamma, 0) == pytest.approx(0.36, rel=1e-9)  # a square of side 0.6, tilted
    assert gamma.weights.sum() == pytest.approx(2.4, rel=1e-9)
    everywhere = comm.allgather(gamma.points)
    assert all(np.array_equal(everywhere[0], other) for other in everywhere)


@pytest.mark.parametrize("discretization", [P1, GLL3], ids=["p1", "gll3"])
def test_damping_is_the_interface_weight_over_the_speed(discretization: Discretization, tmp_path: Path) -> None:
    """C of a zone mesh from a form over its boundary, against the weights of the walked gamma: two ways, one number."""
    domain = zone_submesh(box(MPI.COMM_SELF, discretization))
    domain = replace(domain, speed=np.full(len(domain.speed), 0.5))
    V = function_space(domain.mesh, discretization)
    located = locate_gamma(V, domain)
    damping = assemble_admittance(V, domain, discretization, gamma_facets(domain))
    expected = np.zeros_like(damping)
    expected[located.dofs] = 2.0 * located.gamma.weights[located.positions]
    np.testing.assert_allclose(damping, expected, rtol=0.0, atol=1e-14)


@pytest.mark.mpi
def test_an_empty_zone_is_refused(comm: MPI.Comm) -> None:
    domain = replace(box(comm, P1), zone_cells=np.empty(0, dtype=np.int32))
    with pytest.raises(ValueError, match="no boundary inside the domain"):
        gamma_of(domain, "p1")


@pytest.mark.mpi
def test_zones_that_meet_at_a_corner_are_refused(comm: MPI.Comm) -> None:
    domain = box(comm, P1)
    x, y = cell_midpoints(domain.mesh)[domain.zone_cells].T
    domain = replace(domain, zone_cells=domain.zone_cells[x * y > 0.0])  # first and third quadrant
    with pytest.raises(ValueError, match="zone cells meet at a corner"):
        gamma_of(domain, "p1")


def test_interfaces_are_compared_by_their_nodes() -> None:
    gamma = gamma_of(box(MPI.COMM_SELF, P1), "p1")
    assert gamma.matches(replace(gamma, points=gamma.points + 1e-12))
    assert not gamma.matches(replace(gamma, points=gamma.points + 1e-3))
    assert not gamma.matches(gamma_of(box(MPI.COMM_SELF, P1, 32), "p1"))
