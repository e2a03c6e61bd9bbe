"""Exact replay: a zone run fed with the recorded trace of a full run is that run, restricted to the zone.

Every identity behind it holds to round-off. A hundred steps with entries of order one add up to a few 1e-14, and
velocities are differences over 2 dt: hence 1e-12.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from mpi4py import MPI
from solver_problems import (
    METHODS,
    P1,
    box,
    generate_plate,
    plate,
    relative_l2,
    rounded,
    run_full,
    time_grid,
    zone_errors,
)

from solvers.gamma.condition import Impedance, condition_named
from solvers.gamma.trace import Trace
from solvers.mesh.domain import Domain, cell_midpoints, refined_zone_box, zone_submesh
from solvers.problems.full import FullModel, FullRun
from solvers.problems.zone import ZoneModel
from solvers.time.grid import TimeGrid
from solvers.time.signals import PointSource, Ricker, Sine

pytestmark = pytest.mark.filterwarnings("ignore::solvers.space.stability.ResolutionWarning")  # toys are coarse

ROUND_OFF = 1e-12
# Rounding to float32 perturbs the data by 2^-25 = 3e-8 rms at most; the load is multiplied by no more than order one.
SINGLE = 1e-6
SIZE = 0.15  # edge length in the plate


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(MPI.COMM_WORLD.bcast(str(tmp_path_factory.mktemp("meshes"))))


@cache
def full(geometry: str, method: str, folder: Path) -> tuple[FullModel, Trace, FullRun | None]:
    """One full run for each geometry and method, shared by the tests. Collective on COMM_WORLD."""
    comm, discretization = MPI.COMM_WORLD, METHODS[method]
    domain: Domain
    if geometry == "box":
        domain = box(comm, discretization)
    else:
        domain = plate(comm, generate_plate(comm, folder, size=SIZE, quads=discretization.element == "gll"))
    model = FullModel(domain, discretization, time_grid(discretization))
    return model, *run_full(model)


@pytest.mark.mpi
@pytest.mark.parametrize("condition", ["dirichlet", "impedance"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("geometry", ["box", "plate"])
def test_replay_is_exact(geometry: str, method: str, condition: str, folder: Path) -> None:
    model, trace, truth = full(geometry, method, folder)
    zone = ZoneModel(zone_submesh(model.domain), model.discretization, model.time, condition=condition_named(condition))
    assert max(zone_errors(zone, trace, model.zone_points, truth)) < ROUND_OFF


@pytest.mark.parametrize("condition", ["dirichlet", "impedance"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("geometry", ["box", "plate"])
def test_replay_from_single_precision(geometry: str, method: str, condition: str, folder: Path) -> None:
    model, trace, truth = full(geometry, method, folder)
    zone = ZoneModel(zone_submesh(model.domain), model.discretization, model.time, condition=condition_named(condition))
    assert max(zone_errors(zone, rounded(trace), model.zone_points, truth)) < SINGLE


@pytest.mark.parametrize("alpha", [0.0, 0.5, 20.0])
@pytest.mark.parametrize("method", ["p1", "gll2", "newmark"])
def test_impedance_replay_is_exact_for_any_alpha(method: str, alpha: float, folder: Path) -> None:
    model, trace, truth = full("plate", method, folder)
    zone = ZoneModel(zone_submesh(model.domain), model.discretization, model.time, condition=Impedance(alpha))
    assert max(zone_errors(zone, trace, model.zone_points, truth)) < ROUND_OFF


def zone_cells_by_rank(domain: Domain) -> list[int]:
    """How many cells of the zone each rank owns. Collective."""
    num_cells_owned = domain.mesh.topology.index_map(2).size_local
    return domain.mesh.comm.allgather(int(np.count_nonzero(domain.zone_cells < num_cells_owned)))


@pytest.mark.mpi
@pytest.mark.parametrize("condition", ["dirichlet", "impedance"])
@pytest.mark.parametrize("method", ["p1", "gll3", "newmark"])
def test_replay_with_a_rank_that_owns_nothing_of_the_zone(
    method: str, condition: str, comm: MPI.Comm
) -> None:
    discretization = METHODS[method]
    # two cells by one; the cut between two ranks passes through one of these corners, not both
    corners = (((-0.875, -0.875), (-0.625, -0.75)), ((-0.875, 0.75), (-0.625, 0.875)))
    domains = [box(comm, discretization, zone=zone) for zone in corners]
    domain = min(domains, key=lambda candidate: min(zone_cells_by_rank(candidate)))
    assert comm.size == 1 or min(zone_cells_by_rank(domain)) == 0, "the problem must leave a rank without zone cells"
    model = FullModel(domain, discretization, time_grid(discretization))
    beside = 0.5 * float(np.sign(model.zone_points[0, 1]))
    trace, truth = run_full(model, PointSource((-0.4, beside), Sine(5.0)))
    zone = ZoneModel(zone_submesh(domain), discretization, model.time, condition=condition_named(condition))
    assert max(zone_errors(zone, trace, model.zone_points, truth)) < ROUND_OFF


@pytest.mark.mpi
@pytest.mark.parametrize("condition", ["dirichlet", "impedance"])
@pytest.mark.parametrize("method", ["p1", "gll2", "newmark"])
def test_replay_with_the_source_in_a_cell_at_the_interface(
    method: str, condition: str, comm: MPI.Comm
) -> None:
    discretization = METHODS[method]
    model = FullModel(box(comm, discretization), discretization, time_grid(discretization))
    trace, truth = run_full(model, PointSource((0.26, 0.04), Sine(5.0)))  # a tenth of a cell outside
    zone = ZoneModel(zone_submesh(model.domain), discretization, model.time, condition=condition_named(condition))
    assert max(zone_errors(zone, trace, model.zone_points, truth)) < ROUND_OFF


@pytest.mark.mpi
@pytest.mark.parametrize("condition", ["dirichlet", "impedance"])
@pytest.mark.parametrize("shape", ["ring", "corner"])
def test_replay_of_a_zone_with_a_hole_or_at_the_boundary(shape: str, condition: str, comm: MPI.Comm) -> None:
    """Γ in two loops; and a Γ that runs along ∂Ω, where u = 0 is part of the data."""
    domain = box(comm, P1)
    middle = cell_midpoints(domain.mesh)
    distance = np.abs(middle).max(axis=1)
    inside = (distance > 0.25) & (distance < 0.5) if shape == "ring" else np.all(middle < -0.5, axis=1)
    domain = replace(domain, zone_cells=np.flatnonzero(inside).astype(np.int32))
    model = FullModel(domain, P1, time_grid(P1, final=1.6))
    trace, truth = run_full(model, PointSource((-0.1, -0.1), Sine(5.0)))
    zone = ZoneModel(zone_submesh(domain), P1, model.time, condition=condition_named(condition))
    assert max(zone_errors(zone, trace, model.zone_points, truth)) < ROUND_OFF


def test_source_on_the_interface_itself_replays(comm: MPI.Comm) -> None:
    model = FullModel(box(comm, P1), P1, time_grid(P1))
    trace, truth = run_full(
        model, PointSource((0.25, 0.125), Sine(5.0))
    )  # a node of Γ: outside counts it as load
    for condition in ("dirichlet", "impedance"):
        zone = ZoneModel(zone_submesh(model.domain), P1, model.time, condition=condition_named(condition))
        assert max(zone_errors(zone, trace, model.zone_points, truth)) < ROUND_OFF


def test_replay_of_a_pulse(comm: MPI.Comm) -> None:
    model = FullModel(box(comm, P1), P1, TimeGrid(3.0, 129))
    trace, truth = run_full(model, PointSource((0.5, -0.4), Ricker(2.0)))
    for condition in ("dirichlet", "impedance"):
        zone = ZoneModel(zone_submesh(model.domain), P1, model.time, condition=condition_named(condition))
        assert max(zone_errors(zone, trace, model.zone_points, truth)) < ROUND_OFF


@pytest.mark.mpi
@pytest.mark.parametrize("condition", ["dirichlet", "impedance"])
@pytest.mark.parametrize("method", ["p1", "gll2", "newmark"])
def test_replay_on_a_zone_mesh_of_its_own(method: str, condition: str, folder: Path) -> None:
    """The same nodes, but made and distributed without Ω, and on one rank alone."""
    model, trace, truth = full("box", method, folder)
    for comm in (MPI.COMM_WORLD, MPI.COMM_SELF):
        mesh = refined_zone_box(comm, (-0.25, -0.25), (0.25, 0.25), (4, 4), cell=model.discretization.cell, speed=1.0)
        zone = ZoneModel(mesh, model.discretization, model.time, condition=condition_named(condition))
        known = truth if comm.size > 1 or MPI.COMM_WORLD.size == 1 else MPI.COMM_WORLD.bcast(truth)
        assert max(zone_errors(zone, trace, model.zone_points, known)) < ROUND_OFF


def test_a_trace_one_level_late_is_no_replay(folder: Path) -> None:
    """The time of the data matters: the tests above would notice."""
    model, trace, truth = full("box", "p1", folder)
    assert trace.load is not None
    late = replace(
        trace,
        displacement=np.vstack([trace.displacement[:1], trace.displacement[:-1]]),
        velocity=np.vstack([trace.velocity[:1], trace.velocity[:-1]]),
        load=np.vstack([trace.load[:1], trace.load[:-1]]),
    )
    for condition in ("dirichlet", "impedance"):
        zone = ZoneModel(zone_submesh(model.domain), P1, model.time, condition=condition_named(condition))
        assert min(zone_errors(zone, late, model.zone_points, truth)) > 0.02


@pytest.mark.mpi
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("geometry", ["box", "plate"])
def test_trace_is_the_same_on_any_number_of_ranks(geometry: str, method: str, folder: Path) -> None:
    """To round-off of sums in another order, which 1/dt (velocity) and 1/dt² (load) enlarge."""
    model, trace, truth = full(geometry, method, folder)
    discretization, world = model.discretization, MPI.COMM_WORLD
    failures: list[str] | None = None
    if world.rank == 0:
        assert truth is not None and truth.displacement is not None and trace.load is not None
        alone = MPI.COMM_SELF
        domain = (
            box(alone, discretization)
            if geometry == "box"
            else plate(
                alone, folder / f"plate-{SIZE:g}-{'quads' if discretization.element == 'gll' else 'triangles'}.msh"
            )
        )
        serial = FullModel(domain, discretization, model.time)
        reference = serial.run(PointSource((0.413, 0.321), Sine(5.0)))
        assert reference is not None and reference.displacement is not None
        assert reference.trace.load is not None
        pairs = {
            "points": (model.gamma.points, serial.gamma.points),
            "normals": (model.gamma.normals, serial.gamma.normals),
            "axis": (model.gamma.axis(), serial.gamma.axis()),
            "weights": (model.gamma.weights, serial.gamma.weights),
            "zone points": (model.zone_points, serial.zone_points),
            "displacement": (trace.displacement, reference.trace.displacement),
            "zone displacement": (truth.displacement, reference.displacement),
        }
        failures = [
            name
            for name, (ours, theirs) in pairs.items()
            if np.abs(np.subtract(ours, theirs)).max() > 1e-13 * np.abs(theirs).max()
        ]
        if relative_l2(trace.velocity, reference.trace.velocity) > 1e-12:
            failures.append("velocity")
        if relative_l2(trace.load, reference.trace.load) > 1e-12:
            failures.append("load")
    assert world.bcast(failures) == []


@pytest.mark.parametrize("method", ["p1", "gll3"])
def test_trace_alone_equals_trace_with_fields(method: str, folder: Path) -> None:
    model, trace, _ = full("plate", method, folder)
    alone, run = run_full(model, fields=False)
    assert run is None or (run.displacement is None and run.velocity is None)
    assert trace.load is not None and alone.load is not None
    np.testing.assert_array_equal(alone.displacement, trace.displacement)
    np.testing.assert_array_equal(alone.velocity, trace.velocity)
    # sums of products over other columns: round-off only
    np.testing.assert_allclose(alone.load, trace.load, rtol=0.0, atol=1e-13 * np.abs(trace.load).max())


@pytest.mark.mpi
@pytest.mark.parametrize("method", ["p1", "gll2", "newmark"])
def test_runs_repeat_bit_for_bit(method: str, comm: MPI.Comm) -> None:
    """Another model of the same problem distributes its cells and adds up in the same order."""
    discretization = METHODS[method]
    first, second = (
        run_full(FullModel(box(comm, discretization), discretization, time_grid(discretization)))[0] for _ in range(2)
    )
    for name in ("displacement", "velocity", "load"):
        assert np.array_equal(getattr(first, name), getattr(second, name)), name
