"""The stability limit, the resolution warning, and what happens to a run that leaves every bound."""

from __future__ import annotations

import pickle
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from mpi4py import MPI
from numpy.typing import NDArray
from scipy.sparse.linalg import eigsh
from solver_problems import (
    GLL2,
    GLL3,
    P1,
    SOURCE,
    NoLoad,
    box,
    free_assembly,
    generate_plate,
    plate,
    time_grid,
)

from solvers.gamma.condition import Impedance, condition_named
from solvers.mesh.domain import Defect, node_spacing, with_defect, zone_submesh
from solvers.problems.full import FullModel
from solvers.problems.zone import ZoneModel
from solvers.space.assembly import Assembly, Discretization
from solvers.space.stability import ResolutionWarning, points_per_wavelength, stable_dt
from solvers.stepping.schemes import CentralDifference, DivergenceError, make_stepper, march
from solvers.time.grid import TimeGrid
from solvers.time.signals import PointSource, Ricker, Sine


def exact_limit(assembly: Assembly) -> float:
    """2 / sqrt(lambda_max) by ARPACK on the free dofs, where M is diagonal."""
    free = np.setdiff1d(np.arange(assembly.num_owned), assembly.fixed)
    scale = sp.diags(1.0 / np.sqrt(assembly.mass_diagonal[free]))
    matrix = scale @ (assembly.stiffness + assembly.diagonal(assembly.robin))[free][:, free] @ scale
    return float(2.0 / np.sqrt(eigsh(matrix, k=1, which="LA", tol=1e-10, return_eigenvectors=False)[0]))


@pytest.mark.mpi
@pytest.mark.parametrize("num_cells", [16, 64])
def test_limit_of_the_structured_mesh(num_cells: int, comm: MPI.Comm) -> None:
    """Lumped P1 on squares cut in two is the five-point stencil: lambda_max = (8/h²) sin²(pi (1 - h/2)/2), h = 2/n.

    The computed limit errs to the safe side, by a thousandth at most.
    """
    _, assembly = free_assembly(box(comm, P1, num_cells), P1)
    h = 2.0 / num_cells
    limit = h / np.sqrt(2.0) / np.cos(np.pi * h / 4.0)
    assert 0.999 * limit < stable_dt(assembly) < limit


@pytest.mark.parametrize("discretization", [P1, GLL2, GLL3], ids=["p1", "gll2", "gll3"])
def test_limit_agrees_with_arpack(discretization: Discretization, tmp_path: Path) -> None:
    """Unstructured and with c varying: within a thousandth, and not above."""
    path = generate_plate(MPI.COMM_SELF, tmp_path, size=0.15, quads=discretization.element == "gll")
    _, assembly = free_assembly(plate(MPI.COMM_SELF, path), discretization)
    limit = exact_limit(assembly)
    assert 0.999 * limit < stable_dt(assembly) <= limit


def test_alpha_lowers_the_limit() -> None:
    zone = zone_submesh(box(MPI.COMM_SELF, P1))
    limits = []
    for alpha in (0.0, 2.0, 1000.0):
        model = ZoneModel(zone, P1, TimeGrid(1.0, 401), condition=Impedance(alpha))
        limits.append(stable_dt(model.stepper.assembly))
        assert limits[-1] == pytest.approx(exact_limit(model.stepper.assembly), rel=0.01)
    assert limits[0] >= limits[1] > limits[2]


@pytest.mark.mpi
def test_a_larger_step_is_refused_and_the_limit_named(comm: MPI.Comm) -> None:
    """h/sqrt(2) = 0.0884 on 16 cells, a little more with u = 0 around, and the safe side of that."""
    domain = box(comm, P1)
    with pytest.raises(ValueError, match=r"time step 0.1 exceeds the explicit stability limit 0.088\d*: use more"):
        FullModel(domain, P1, TimeGrid(1.0, 11))
    FullModel(domain, P1, TimeGrid(1.0, 13))  # 0.083


def test_a_step_below_the_limit_stays_bounded_and_one_above_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The limit means what it says: 1000 steps from a random start, without the check that refuses the second."""
    _, assembly = free_assembly(box(MPI.COMM_SELF, P1, 8, zone=((-0.5, -0.5), (0.5, 0.5))), P1)
    limit = exact_limit(assembly)
    rng = np.random.default_rng(0)
    start = rng.standard_normal(assembly.num_owned)
    start[assembly.fixed] = 0.0
    stepper = make_stepper(P1.stepper, assembly, 0.99 * limit)
    *_, (_, last) = march(stepper, NoLoad(), 1000, previous=start, current=start)
    assert np.abs(last).max() < 20.0 * np.abs(start).max()
    monkeypatch.setattr("solvers.stepping.fused_step.require_stable", lambda assembly, dt: dt)
    unstable = make_stepper(P1.stepper, assembly, 1.01 * limit)
    *_, (_, last) = march(unstable, NoLoad(), 1000, previous=start, current=start)
    assert np.abs(last).max() > 1e10 * np.abs(start).max()


def test_the_implicit_stepper_takes_any_step() -> None:
    model = FullModel(box(MPI.COMM_SELF, P1), Discretization(stepper="newmark"), TimeGrid(20.0, 41))
    run = model.run(PointSource(SOURCE.position, Sine(0.5)))
    assert run is not None and run.displacement is not None
    assert np.abs(run.displacement).max() < 10.0


@pytest.mark.mpi
def test_coarse_waves_are_warned_about_once(comm: MPI.Comm) -> None:
    model = FullModel(box(comm, P1), P1, time_grid(P1))
    points = 2.0 * np.pi / 5.0 / 0.125
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.run(PointSource(SOURCE.position, Sine(5.0)))  # 10.05 points
        assert not caught
        model.run(PointSource(SOURCE.position, Sine(10.0)))
        model.run(PointSource(SOURCE.position, Sine(12.0)))
    assert len(caught) == (1 if comm.rank == 0 else 0)
    if comm.rank == 0:
        assert caught[0].category is ResolutionWarning
        assert "omega = 10 a wavelength has 5.0 points, fewer than 10" in str(caught[0].message)
    assert points_per_wavelength(model.domain, 1, 5.0) == pytest.approx(points)
    assert points_per_wavelength(model.domain, 3, 5.0) == pytest.approx(3.0 * points)


def test_a_pulse_is_judged_by_its_highest_frequency() -> None:
    model = FullModel(box(MPI.COMM_SELF, P1), P1, time_grid(P1))
    with pytest.warns(ResolutionWarning, match="omega = 8.31"):
        model.run(PointSource(SOURCE.position, Ricker(3.0)))


def test_slow_cells_count_for_the_resolution(tmp_path: Path) -> None:
    domain = box(MPI.COMM_SELF, P1)
    slow = with_defect(domain, Defect((0.5, 0.5), 0.2, 0.25))
    assert points_per_wavelength(slow, 1, 5.0) == pytest.approx(0.25 * points_per_wavelength(domain, 1, 5.0))
    np.testing.assert_allclose(node_spacing(domain.mesh), 0.125)


class _Poisoned:
    """Boundary data that turn bad at a level."""

    def __init__(self, num_dofs: int, level: int, value: float) -> None:
        self._data, self._level, self._value = np.zeros(num_dofs), level, value

    def from_step(self, n: int) -> NDArray[np.float64]:
        return (self._data if n < self._level else np.full_like(self._data, self._value))[None]

    def magnitude(self) -> float:
        return 1.0


@pytest.mark.mpi
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e9], ids=str)
@pytest.mark.parametrize("condition", ["dirichlet", "impedance"])
@pytest.mark.parametrize("stepper", ["explicit", "newmark"])
def test_bad_data_stop_a_zone_run_on_every_rank(stepper: str, condition: str, value: float, comm: MPI.Comm) -> None:
    """Checked every 32 levels and at the end: data bad from level 40 on are noticed at level 64."""
    discretization = Discretization(stepper=stepper)
    zone = ZoneModel(
        zone_submesh(box(comm, discretization)),
        discretization,
        TimeGrid(2.0, 101),
        condition=condition_named(condition),
    )
    num_dofs = len(zone.stepper.assembly.held)
    with pytest.raises(DivergenceError, match=r"diverged: at level 64 \(t = 1.28\)") as caught:
        zone.run(_Poisoned(num_dofs, 40, value))
    assert caught.value.step == 64 and caught.value.time == pytest.approx(1.28)
    assert not caught.value.norm < 1e3
    assert zone.run(_Poisoned(num_dofs, 1000, 0.0)).displacement.shape[0] == 101  # the model is usable still


@pytest.mark.mpi
def test_an_unstable_interface_diverges(comm: MPI.Comm) -> None:
    """A negative alpha is an energy source: what ZoneModel refuses is built by hand, driven by one bad datum."""
    model = ZoneModel(zone_submesh(box(comm, P1)), P1, TimeGrid(8.0, 401), condition=Impedance())
    assembly = model.stepper.assembly
    model.stepper = CentralDifference(replace(assembly, robin=-20.0 * assembly.robin), model.time.dt)
    num_dofs = len(assembly.held)

    class Pulse(_Poisoned):
        def from_step(self, n: int) -> NDArray[np.float64]:
            return np.full((1, len(self._data)), 1.0 if n < 5 else 0.0)

    with pytest.raises(DivergenceError, match="check the time step, the wave speeds and the boundary data"):
        model.run(Pulse(num_dofs, 0, 0.0))


def test_divergence_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(DivergenceError(64, 1.28, 1e9)))
    assert (error.step, error.time, error.norm) == (64, 1.28, 1e9)


@pytest.mark.parametrize("unit", [1e-6, 1e6])
def test_the_bound_does_not_depend_on_the_unit_of_time(unit: float) -> None:
    """The same run with time counted in another unit must not be taken for a divergent one."""
    domain = box(MPI.COMM_SELF, P1)
    domain = replace(domain, speed=np.full(len(domain.speed), 1.0 / unit))
    model = FullModel(domain, P1, TimeGrid(1.6 * unit, 65))
    run = model.run(PointSource(SOURCE.position, Sine(5.0 / unit)))
    assert run is not None
    for condition in ("dirichlet", "impedance"):
        zone = ZoneModel(zone_submesh(domain), P1, model.time, condition=condition_named(condition))
        assert np.isfinite(zone.run(run.trace).displacement).all()
