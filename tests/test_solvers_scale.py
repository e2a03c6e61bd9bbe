"""Units do not matter: lengths times L and times times T leave u as it is, to the bit where both are powers of two."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mpi4py import MPI
from numpy.typing import NDArray
from solver_problems import METHODS, generate_plate, plate

from solvers.gamma.condition import condition_named
from solvers.gamma.trace import Trace
from solvers.mesh.domain import Domain, box_domain, zone_submesh
from solvers.mesh.medium import sampled_speed
from solvers.problems.full import FullModel
from solvers.problems.zone import ZoneModel
from solvers.space.assembly import Discretization, function_space
from solvers.space.points import PointEvaluator
from solvers.time.grid import TimeGrid
from solvers.time.signals import PointSource, Sine

SCALES = [(2.0**-40, 2.0**-31), (2.0**-13, 2.0**-20), (2.0**30, 2.0**13)]  # of length and time
SOURCES = [(0.413, 0.621), (0.75, -0.125), (0.1250001, -0.7062), (-0.97, -0.99)]
pytestmark = pytest.mark.filterwarnings("ignore::solvers.space.stability.ResolutionWarning")  # toy meshes are coarse


def scaled_box(cell: str, length: float, time: float = 1.0, num_cells: int = 16) -> Domain:
    """The box [-1, 1]² times a length, with the speed that leaves u as it is."""
    lower, upper, zone = (-length, -length), (length, length), 0.25 * length
    cells, speed = (num_cells, num_cells), length / time
    return box_domain(MPI.COMM_SELF, lower, upper, cells, (-zone, -zone), (zone, zone), cell=cell, speed=speed)


def histories(domain: Domain, discretization: Discretization, length: float, time: float) -> list[NDArray[Any]]:
    """u, v T and r of runs of some sources, u of the zone under both conditions, and the medium's map."""
    levels = TimeGrid(0.4 * time, 61)
    model = FullModel(domain, discretization, levels)
    runs = model.run_many([PointSource((x * length, y * length), Sine(5.0 / time)) for x, y in SOURCES])
    assert runs is not None
    traces: list[Trace] = [run.trace for run in runs]
    out: list[NDArray[Any]] = []
    for trace in traces:
        assert trace.load is not None
        out += [trace.displacement, trace.velocity * time, trace.load]
    for condition in ("dirichlet", "impedance"):
        zone = ZoneModel(zone_submesh(domain), discretization, levels, condition=condition_named(condition))
        out.append(zone.run(traces[0]).displacement)
    with pytest.raises(ValueError, match="the trace has 61 levels"):
        zone.run(replace(traces[0], times=1.001 * traces[0].times))
    return [*out, sampled_speed(domain)[2] / np.float32(length / time)]


@pytest.mark.parametrize("method", ["p1", "gll2", "newmark", "newmark-gll2"])
def test_units_change_no_bit_on_a_box(method: str) -> None:
    discretization = METHODS[method]
    truth = histories(scaled_box(discretization.cell, 1.0), discretization, 1.0, 1.0)
    assert all(np.abs(field[np.isfinite(field)]).max() > 0.0 for field in truth)
    for length, time in SCALES:
        for found, expected in zip(
            histories(scaled_box(discretization.cell, length, time), discretization, length, time), truth, strict=True
        ):
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("method", ["p1", "gll2", "newmark"])
def test_units_change_no_bit_on_a_mesh_from_gmsh(method: str, tmp_path: Path) -> None:
    discretization = METHODS[method]
    path = generate_plate(MPI.COMM_SELF, tmp_path, size=0.2, quads=discretization.cell == "quadrilateral")
    truth = histories(plate(MPI.COMM_SELF, path), discretization, 1.0, 1.0)
    for length, time in SCALES:
        domain = plate(MPI.COMM_SELF, path)
        domain.mesh.geometry.x[:] *= length
        domain = replace(domain, speed=domain.speed * (length / time))
        for found, expected in zip(histories(domain, discretization, length, time), truth, strict=True):
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("cell", ["triangle", "quadrilateral"])
@pytest.mark.parametrize("length", [1e-12, 1e-9, 1e-4, 1e-2, 1.0, 1e9])
def test_a_source_lies_in_the_cell_around_it(length: float, cell: str) -> None:
    """The basis of degree 1 is nowhere negative in a cell, and a unit source has its center at its place."""
    domain = scaled_box(cell, length, num_cells=128)
    V = function_space(domain.mesh, Discretization("p1" if cell == "triangle" else "gll"))
    nodes, evaluator = V.tabulate_dof_coordinates()[:, :2], PointEvaluator(V)
    for place in np.random.default_rng(0).uniform(-0.9 * length, 0.9 * length, (50, 2)):
        dofs, weights = evaluator.load((float(place[0]), float(place[1])))
        assert weights.min() >= 0.0
        np.testing.assert_allclose(weights @ nodes[dofs], place, rtol=0.0, atol=1e-13 * length)
    edge = PointEvaluator(V).matrix(np.array([(length, 0.3 * length), (length * (1.0 + 1e-12), length)]))
    np.testing.assert_allclose(edge.sum(axis=1), 1.0, atol=1e-9)
    for outside in (1.0 + 1e-6, 1.5):
        with pytest.raises(ValueError, match="outside the mesh"):
            evaluator.load((outside * length, 0.0))


@pytest.mark.parametrize("cell", ["triangle", "quadrilateral"])
def test_points_far_from_the_origin_are_found(cell: str) -> None:
    """On a grid of coordinates that double precision rounds to 1e-6 of a cell, nodes and middles are found."""
    center = np.array([5e5, 4.5e6]) * 2000.0
    domain = scaled_box(cell, 16.0)
    domain.mesh.geometry.x[:, :2] += center
    V = function_space(domain.mesh, Discretization("p1" if cell == "triangle" else "gll"))
    places = center + np.random.default_rng(1).uniform(-15.0, 15.0, (40, 2))
    values = PointEvaluator(V).matrix(np.concatenate([places, V.tabulate_dof_coordinates()[:, :2]]))
    assert values.min() > -1e-5
    x = (values @ (V.tabulate_dof_coordinates()[:, 0] - center[0]))[: len(places)]
    np.testing.assert_allclose(x, places[:, 0] - center[0], atol=1e-5)
