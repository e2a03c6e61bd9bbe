"""A run from Γ gives what sources everywhere do to Γ: the same numbers as a run from each source."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from mpi4py import MPI
from numpy.typing import ArrayLike, NDArray
from solver_problems import METHODS, NEWMARK, P1, box, generate_plate, plate, relative_l2

from solvers.mesh.domain import Domain
from solvers.problems.full import FullModel
from solvers.problems.reciprocal import ReciprocalModel, preserves
from solvers.space.assembly import Discretization
from solvers.time.grid import TimeGrid
from solvers.time.signals import PointSource

POSITIONS = np.array([[0.413, 0.621], [-0.75, 0.11], [0.45, -0.4]])
TRANSPOSE = np.array([[0.0, 1.0], [1.0, 0.0]])
MIRROR = np.diag([-1.0, 1.0])


@dataclass(frozen=True)
class Samples:
    """A signal given at the levels; zero at the first and before."""

    values: NDArray[np.float64]
    dt: float

    @property
    def highest_omega(self) -> float:
        return 1.0

    def __call__(self, t: ArrayLike) -> NDArray[np.float64]:
        level = np.rint(np.asarray(t) / self.dt).astype(int)
        return np.asarray(np.where(level >= 0, self.values[level.clip(0, len(self.values) - 1)], 0.0))


def compare(model: FullModel, nodes: list[int]) -> None:
    """Convolve the responses with random samples and compare with runs from each source. Collective."""
    comm, num = model.domain.mesh.comm, model.time.num_levels
    samples = np.random.default_rng(0).standard_normal(num + 1)
    samples[0] = 0.0
    reciprocal = ReciprocalModel(model, POSITIONS)
    direct = [model.run(PointSource((x, y), Samples(samples, model.time.dt)), fields=False) for x, y in POSITIONS]
    errors = []
    for node in nodes:
        found = reciprocal.responses([("displacement", node), ("load", node)])
        displacement, load = (None, None) if found is None else (found[0][:, 1:], found[1])
        if displacement is None or load is None:
            continue
        assert displacement.shape == (3, num)
        assert load.shape == (3, num + 1)
        for source, run in enumerate(direct):
            assert run is not None
            assert run.trace.load is not None
            u = np.convolve(displacement[source], samples)[:num]
            r = np.convolve(load[source], samples)[1 : num + 1]
            errors += [relative_l2(u, run.trace.displacement[:, node]), relative_l2(r, run.trace.load[:, node])]
    assert (comm.bcast(max(errors, default=0.0))) < 1e-12


@pytest.mark.mpi
@pytest.mark.parametrize("method", METHODS)
def test_reciprocity_on_a_box(method: str, comm: MPI.Comm) -> None:
    discretization = METHODS[method]
    steps = {1: 41, 2: 97, 3: 193}[discretization.degree] if discretization.stepper == "explicit" else 41
    compare(FullModel(box(comm, discretization, 16), discretization, TimeGrid(0.8, steps)), [0, 3, 7])


@pytest.mark.mpi
@pytest.mark.parametrize("method", ["p1", "newmark", "gll2"])
def test_reciprocity_on_a_plate_of_two_speeds(method: str, comm: MPI.Comm, shared_path: Path) -> None:
    discretization = METHODS[method]
    quads = discretization.element == "gll"
    model = FullModel(
        plate(comm, generate_plate(comm, shared_path, size=0.1, quads=quads)), discretization, TimeGrid(1.2, 261)
    )
    compare(model, [0, 5, model.gamma.num_nodes - 1])


def test_newmark_feels_the_next_sample() -> None:
    """Its averaged step couples all nodes at once, so the load at a level answers the sample of the level after."""
    for discretization, leads in ((P1, False), (NEWMARK, True)):
        model = FullModel(box(MPI.COMM_SELF, discretization), discretization, TimeGrid(0.8, 41))
        found = ReciprocalModel(model, POSITIONS).responses([("load", 3)])
        assert found is not None
        assert found[0][:, 0].any() == leads


@pytest.mark.mpi
def test_a_place_outside_is_refused(comm: MPI.Comm) -> None:
    model = FullModel(box(comm, P1), P1, TimeGrid(0.8, 41))
    with pytest.raises(ValueError, match=r"1 point\(s\) lie outside the mesh, the first at \(3\.0, 0\.0\)"):
        ReciprocalModel(model, np.array([[0.5, 0.5], [3.0, 0.0]]))


@pytest.mark.mpi
@pytest.mark.parametrize(("method", "mirrors"), [("p1", False), ("gll2", True)])
def test_a_mesh_has_the_symmetries_of_its_cells(method: str, mirrors: bool, comm: MPI.Comm) -> None:
    domain, none = box(comm, METHODS[method], 8), np.zeros(2)
    assert preserves(domain, np.eye(2), none)
    assert preserves(domain, -np.eye(2), none)
    assert preserves(domain, TRANSPOSE, none)
    assert preserves(domain, MIRROR, none) == mirrors
    assert not preserves(domain, np.eye(2), np.array([0.25, 0.0]))


@pytest.mark.mpi
def test_speed_and_zone_belong_to_the_symmetry(comm: MPI.Comm) -> None:
    discretization = Discretization("gll", 1)
    domain, none = box(comm, discretization, 8), np.zeros(2)
    off_middle = box(comm, discretization, 8, zone=((-0.25, -0.25), (0.5, 0.25)))
    assert not preserves(off_middle, MIRROR, none)
    speed = domain.speed.copy()
    if comm.rank == 0 and len(speed):
        speed[0] = 2.0
    assert not preserves(Domain(domain.mesh, speed, domain.zone_cells, domain.outer_facets), MIRROR, none)
