"""Edges of the zone's own: a hole, a notch, a slit or ∂Ω itself in the zone is no part of Γ, and replay stays exact."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import basix.ufl
import numpy as np
import pytest
from dolfinx import mesh as dmesh
from mpi4py import MPI
from numpy.typing import NDArray
from solver_problems import METHODS, P1, box, run_full, time_grid, zone_errors

from solvers.gamma.chart import ClosedLoops
from solvers.gamma.condition import condition_named
from solvers.mesh import compat
from solvers.mesh.containment import containment
from solvers.mesh.domain import Domain, cell_midpoints, exterior_facets, refined, zone_submesh
from solvers.problems.full import FullModel
from solvers.problems.zone import ZoneModel
from solvers.space.assembly import Discretization
from solvers.time.signals import PointSource, Sine

EXACT = 1e-12
SOURCE = PointSource((0.613, 0.421), Sine(5.0))
Where = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.bool_]]
CUTS: dict[str, Where] = {
    "hole": lambda x, y: (abs(x - 0.0625) < 0.0625) & (abs(y - 0.0625) < 0.0625),
    "notch": lambda x, y: (abs(x - 0.25) < 0.125) & (abs(y) < 0.125),  # half in the zone
    "corner": lambda x, y: (abs(x - 0.25) < 0.125) & (abs(y - 0.25) < 0.125),
    "wall": lambda x, y: x < -0.25,  # the zone's left side is ∂Ω
}


def cut(domain: Domain, where: Where) -> Domain:
    """The domain without some cells, u = 0 on all of its boundary. Collective on the mesh's comm."""
    mesh = domain.mesh
    x, y = cell_midpoints(mesh).T
    left = np.flatnonzero(~where(x, y)).astype(np.int32)
    submesh, parents = compat.create_submesh(mesh, left[left < mesh.topology.index_map(2).size_local])
    zone = np.flatnonzero(np.isin(parents, domain.zone_cells)).astype(np.int32)
    return Domain(submesh, domain.speed[parents], zone, exterior_facets(submesh))


def slit(comm: MPI.Comm, begin: float, end: float) -> Domain:
    """A box of 16 x 16 squares that is slit along y = 0 from begin to end. Collective on comm."""
    num = 16
    along = np.linspace(-1.0, 1.0, num + 1)
    points = np.stack(np.meshgrid(along, along), axis=-1).reshape(-1, 2)
    corner = np.arange(num)[:, None] * (num + 1) + np.arange(num)
    squares: NDArray[np.int64] = np.stack([corner, corner + 1, corner + num + 1, corner + num + 2], axis=-1)
    squares = squares.reshape(-1, 4)
    cells: NDArray[np.int64] = np.concatenate([squares[:, [0, 1, 3]], squares[:, [0, 2, 3]]])
    on = np.flatnonzero((abs(points[:, 1]) < 1e-9) & (points[:, 0] > begin + 1e-9) & (points[:, 0] < end - 1e-9))
    twin = np.arange(len(points))
    twin[on] = len(points) + np.arange(len(on))
    above = points[cells].mean(axis=1)[:, 1] > 0.0
    cells[above] = twin[cells[above]]
    num_mine = 0 if comm.rank else len(cells)
    nodes = np.vstack([points, points[on]]) if comm.rank == 0 else points[:0]
    element = basix.ufl.element("Lagrange", "triangle", 1, shape=(2,))
    mesh = dmesh.create_mesh(
        comm,
        cells=cells[:num_mine].astype(np.int64),
        x=nodes,
        e=element,
        partitioner=compat.cell_partitioner(),
    )
    middle = cell_midpoints(mesh)
    zone = np.flatnonzero((abs(middle) < 0.25).all(axis=1)).astype(np.int32)
    return Domain(mesh, np.ones(len(middle)), zone, exterior_facets(mesh))


def require_exact(domain: Domain, discretization: Discretization, condition: str) -> ZoneModel:
    """The zone's run, fed with the full run's trace, is the full run. Collective on the mesh's comm."""
    model = FullModel(
        domain, discretization, time_grid(discretization, final=1.2 if discretization.degree == 1 else 0.8)
    )
    trace, truth = run_full(model, SOURCE)
    zone = ZoneModel(zone_submesh(domain), discretization, model.time, condition=condition_named(condition))
    assert zone.gamma.num_nodes == model.gamma.num_nodes and zone.gamma.matches(model.gamma)
    run = zone.run(trace)
    u = zone.gather(run.displacement)
    fault = None
    if truth is not None and u is not None:
        assert truth.displacement is not None
        fault = np.linalg.norm(u - truth.displacement) / np.linalg.norm(truth.displacement)
        assert np.abs(truth.displacement).max() > 0.0
    assert zone.zone.mesh.comm.bcast(fault) < EXACT
    return zone


@pytest.mark.mpi
@pytest.mark.parametrize("condition", ["dirichlet", "impedance"])
@pytest.mark.parametrize("method", ["p1", "gll2", "newmark"])
@pytest.mark.parametrize("kind", sorted(CUTS))
def test_a_cut_zone_replays_exactly(kind: str, method: str, condition: str, comm: MPI.Comm) -> None:
    discretization = METHODS[method]
    zone = require_exact(cut(box(comm, discretization), CUTS[kind]), discretization, condition)
    chart = zone.gamma.chart
    assert isinstance(chart, ClosedLoops) and len(chart.loops()) == 1
    assert chart.joined.all() == (kind == "hole")
    length = {"hole": 2.0, "notch": 1.75, "corner": 1.75, "wall": 1.5}[kind]
    assert zone.gamma.weights.sum() == pytest.approx(length, rel=1e-12)


@pytest.mark.mpi
@pytest.mark.parametrize("condition", ["dirichlet", "impedance"])
@pytest.mark.parametrize("reach", [(-0.125, 0.125), (0.0, 0.5)], ids=["inside", "across"])
def test_a_slit_zone_replays_exactly(reach: tuple[float, float], condition: str, comm: MPI.Comm) -> None:
    zone = require_exact(slit(comm, *reach), P1, condition)
    assert zone.gamma.weights.sum() == pytest.approx(2.0, rel=1e-12)
    assert comm.allreduce(len(zone.stepper.assembly.fixed)) > 0


@pytest.mark.mpi
@pytest.mark.parametrize("kind", sorted(CUTS))
def test_a_refined_zone_keeps_its_edges(kind: str, comm: MPI.Comm) -> None:
    model = FullModel(cut(box(comm, P1), CUTS[kind]), P1, time_grid(P1, final=1.2))
    trace, truth = run_full(model, SOURCE)
    errors = []
    for factor in (1, 2):
        zone = ZoneModel(refined(zone_submesh(model.domain), factor), P1, model.time)
        assert zone.gamma.weights.sum() == pytest.approx(model.gamma.weights.sum(), rel=1e-12)
        errors.append(zone_errors(zone, trace, model.zone_points, truth)[0])
    assert errors[0] < EXACT < errors[1] < 0.1  # another mesh of the same zone


@pytest.mark.parametrize("condition", ["dirichlet", "impedance"])
def test_a_hole_that_the_zone_alone_has_is_fixed_or_free(condition: str) -> None:
    """The trace knows nothing of it: Γ stays that of the whole zone, and the hole's condition is its own."""
    model = FullModel(box(MPI.COMM_SELF, P1), P1, time_grid(P1, final=1.2))
    trace, _ = run_full(model, SOURCE)
    whole = zone_submesh(model.domain)
    plain = ZoneModel(whole, P1, model.time, condition=condition_named(condition)).run(trace)
    for kind in ("hole", "notch"):
        holed = cut(whole, CUTS[kind])
        x, y = dmesh.compute_midpoints(holed.mesh, 1, holed.outer_facets)[:, :2].T
        inner = holed.outer_facets[(abs(x) < 0.25 - 1e-9) & (abs(y) < 0.25 - 1e-9)]
        peaks = {}
        for name, edges in {
            "fixed": {"outer_facets": inner, "free_facets": inner[:0]},
            "free": {"outer_facets": inner[:0], "free_facets": inner},
        }.items():
            zone = ZoneModel(replace(holed, **edges), P1, model.time, condition=condition_named(condition))
            fine = refined(zone.zone, 2)
            assert [len(each) for each in (fine.outer_facets, fine.free_facets)] == [
                2 * len(each) for each in edges.values()
            ]
            assert ZoneModel(fine, P1, model.time).gamma.weights.sum() == pytest.approx(zone.gamma.weights.sum())
            run = zone.run(trace)
            at_edge = np.isin(zone.nodes, zone.stepper.assembly.fixed)
            assert at_edge.any() == (name == "fixed") and not run.displacement[:, at_edge].any()
            at_hole = np.isclose(abs(zone.points - 0.0625), 0.0625).all(axis=1) if kind == "hole" else at_edge
            peaks[name] = np.abs(run.displacement[:, at_hole]).max(initial=0.0)
            assert 0.0 < np.abs(run.displacement).max() < 4.0 * np.abs(plain.displacement).max()
        assert peaks["fixed"] == 0.0 and (kind != "hole" or peaks["free"] > 0.1 * np.abs(plain.displacement).max())


def test_places_are_sought_in_a_mesh_without_outer_facets() -> None:
    """As on a rank that has none: DOLFINx divides by their number."""
    inside, in_zone = containment(zone_submesh(box(MPI.COMM_SELF, P1)), np.array([[0.1, 0.1], [0.6, 0.0]]))
    np.testing.assert_array_equal(inside, [True, False])
    np.testing.assert_array_equal(in_zone, [True, False])


@pytest.mark.mpi
@pytest.mark.parametrize("kind", sorted(CUTS))
def test_pictures_leave_the_cut_out(kind: str, comm: MPI.Comm) -> None:
    zone = ZoneModel(zone_submesh(cut(box(comm, P1), CUTS[kind])), P1, time_grid(P1))
    triangles = zone.triangles()
    assert triangles is not None
    first, second = (zone.points[triangles[:, i]] - zone.points[triangles[:, 0]] for i in (1, 2))
    area = 0.5 * np.abs(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]).sum()
    removed = {"hole": 0.125**2, "notch": 0.125 * 0.25, "corner": 0.125**2, "wall": 0.0}[kind]
    assert area == pytest.approx(0.25 - removed, rel=1e-12)
    assert ZoneModel(zone_submesh(box(comm, P1)), P1, time_grid(P1)).triangles() is None
