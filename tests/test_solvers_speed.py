"""Wave speeds that vary from place to place: cells of any mesh take them at their midpoints, and replay stays exact."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mpi4py import MPI
from numpy.typing import NDArray
from solver_problems import (
    METHODS,
    P1,
    PLATE_SPEED,
    PLATE_ZONE,
    generate_plate,
    plate,
    run_full,
    time_grid,
    zone_errors,
)

from solvers.gamma.condition import condition_named
from solvers.mesh.domain import Domain, box_domain, cell_midpoints, gmsh_domain, refined, refined_zone_box, zone_submesh
from solvers.mesh.medium import sampled_speed
from solvers.mesh.speed import Speed
from solvers.problems.full import FullModel
from solvers.problems.zone import ZoneModel

pytestmark = pytest.mark.filterwarnings("ignore::solvers.space.stability.ResolutionWarning")  # toys are coarse
ZONE = ((-0.25, -0.25), (0.25, 0.25))


def wavy(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Between 0.6 and 1: no slower than the grids were made for, and no faster."""
    return 0.8 + 0.2 * np.sin(3.0 * points[:, 0]) * np.cos(4.0 * points[:, 1])


def wavy_domain(geometry: str, method: str, comm: MPI.Comm, folder: Path) -> Domain:
    """A box, or a plate whose inclusion has one speed. Collective on comm."""
    cell = METHODS[method].cell
    if geometry == "box":
        return box_domain(comm, (-1.0, -1.0), (1.0, 1.0), (16, 16), *ZONE, cell=cell, speed=wavy)
    path = generate_plate(comm, folder, size=0.15, quads=METHODS[method].element == "gll")
    speed: dict[str, Speed] = {"plate": wavy, "inclusion": 0.5, "zone": wavy, "zone-inclusion": 0.5}
    return gmsh_domain(comm, path, speed=speed, zone=PLATE_ZONE)


@pytest.mark.mpi
@pytest.mark.parametrize("condition", ["dirichlet", "impedance"])
@pytest.mark.parametrize("method", ["p1", "gll3", "newmark"])
@pytest.mark.parametrize("geometry", ["box", "plate"])
def test_replay_is_exact(geometry: str, method: str, condition: str, comm: MPI.Comm, shared_path: Path) -> None:
    domain = wavy_domain(geometry, method, comm, shared_path)
    model = FullModel(domain, METHODS[method], time_grid(METHODS[method]))
    trace, truth = run_full(model)
    zone = ZoneModel(zone_submesh(domain), model.discretization, model.time, condition=condition_named(condition))
    assert max(zone_errors(zone, trace, model.zone_points, truth)) < 1e-12
    if geometry == "box":  # the zone alone, as a user runs it
        cells = refined_zone_box(comm, *ZONE, (4, 4), cell=METHODS[method].cell, speed=wavy)
        zone = ZoneModel(cells, model.discretization, model.time, condition=condition_named(condition))
        assert max(zone_errors(zone, trace, model.zone_points, truth)) < 1e-12


@pytest.mark.mpi
def test_a_refined_zone_evaluates_its_own_cells(comm: MPI.Comm, shared_path: Path) -> None:
    domain = wavy_domain("plate", "p1", comm, shared_path)
    zone = zone_submesh(domain)
    fine = refined(zone, 4)
    assert zone.group is not None and fine.group is not None
    middle, slow = cell_midpoints(fine.mesh), np.unique(zone.group[zone.speed == 0.5])
    inclusion = np.isin(fine.group, slow)
    assert np.array_equal(fine.speed, np.where(inclusion, 0.5, wavy(middle)))
    num_values = len(np.unique(np.concatenate(comm.allgather(fine.speed))))
    assert num_values > 4 * len(np.unique(np.concatenate(comm.allgather(zone.speed))))
    box = refined_zone_box(comm, *ZONE, (16, 16), cell="triangle", speed=wavy)
    assert np.array_equal(box.speed, wavy(cell_midpoints(box.mesh)))


@pytest.mark.mpi
def test_a_function_that_knows_the_groups_is_the_groups(comm: MPI.Comm, shared_path: Path) -> None:
    path = generate_plate(comm, shared_path, size=0.1, quads=False)
    groups = plate(comm, path)

    def same(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(np.linalg.norm(points - (0.3, 0.1), axis=1) < 0.15, 0.5, 1.0)

    assert PLATE_SPEED["inclusion"] == 0.5
    domain = gmsh_domain(comm, path, speed=same, zone=PLATE_ZONE)
    assert np.array_equal(domain.speed, groups.speed)
    for mine, theirs in zip(sampled_speed(domain), sampled_speed(groups), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_the_map_of_the_medium_follows_the_cells() -> None:
    domain = wavy_domain("box", "p1", MPI.COMM_SELF, Path())
    x, y, speed = sampled_speed(domain)
    places = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    assert np.abs(speed.ravel() - wavy(places)).max() < 0.2 * 4.0 * 2.0 / 16  # slope times the size of a cell


@pytest.mark.mpi
@pytest.mark.parametrize("fault", [0.0, -1.0, np.nan, np.inf])
def test_a_speed_that_is_not_positive_somewhere_is_refused_on_all_ranks(fault: float, comm: MPI.Comm) -> None:
    def spoilt(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(np.linalg.norm(points - (0.9, 0.9), axis=1) < 0.1, fault, 1.0)

    with pytest.raises(ValueError, match=rf"wave speed must be positive, got {fault:g} at \(0\.[89]"):
        box_domain(comm, (-1.0, -1.0), (1.0, 1.0), (16, 16), *ZONE, cell=P1.cell, speed=spoilt)
