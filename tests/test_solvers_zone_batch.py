"""Many zone runs at once: the numbers of single runs, whatever runs are beside them."""

from __future__ import annotations

import numpy as np
import pytest
from mpi4py import MPI
from numpy.typing import NDArray
from solver_problems import GLL2, NEWMARK, P1

from solvers.batch.ensemble import Ensemble, Selection
from solvers.gamma.condition import condition_named
from solvers.gamma.datum import Steps
from solvers.mesh.domain import refined_zone_box
from solvers.problems.boundary_drives import ManyRuns
from solvers.problems.zone import ZoneModel
from solvers.problems.zone_batch import ZoneBatch
from solvers.space.assembly import Discretization
from solvers.stepping.schemes import CentralDifference, DivergenceError
from solvers.time.grid import TimeGrid

CONDITIONS = ("dirichlet", "impedance")


def zone_of(
    discretization: Discretization, condition: str, cells: int = 8, comm: MPI.Comm = MPI.COMM_SELF
) -> ZoneModel:
    mesh = refined_zone_box(comm, (-0.25, -0.25), (0.25, 0.25), (cells, cells), cell=discretization.cell, speed=1.0)
    return ZoneModel(
        mesh,
        discretization,
        TimeGrid(2.0, 82 if discretization.degree == 1 else 162),
        condition=condition_named(condition),
    )


def histories(zone: ZoneModel, num_runs: int) -> NDArray[np.float64]:
    """Random walks, each with its own size."""
    rng = np.random.default_rng(num_runs)
    walks = rng.standard_normal((num_runs, zone.num_steps, zone.gamma.num_nodes)).cumsum(axis=1)
    return np.asarray(walks * rng.uniform(0.1, 10.0, (num_runs, 1, 1)))


def singles(zone: ZoneModel, data: NDArray[np.float64]) -> NDArray[np.float64]:
    found = [zone.gather(zone.run(Steps(each[:, zone.positions])).displacement) for each in data]
    return np.array(found)


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("discretization", [P1, GLL2, NEWMARK], ids=["p1", "gll2", "newmark"])
@pytest.mark.parametrize("num_runs", [1, 3, 8, 11])
def test_runs_at_once_are_single_runs(discretization: Discretization, condition: str, num_runs: int) -> None:
    zone = zone_of(discretization, condition)
    data = histories(zone, num_runs)
    np.testing.assert_array_equal(ZoneBatch(zone, np.float64).run(data), singles(zone, data))


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_data_may_lie_anyhow(dtype: str, condition: str) -> None:
    """Contiguous doubles are read where they lie, others are copied."""
    zone = zone_of(P1, condition)
    data = histories(zone, 3)
    found = ZoneBatch(zone, dtype).run(data)
    spread = np.zeros((*data.shape[:2], 2 * data.shape[2]))[:, :, ::2]
    spread[:] = data
    np.testing.assert_array_equal(ZoneBatch(zone, dtype).run(spread), found)
    alone = ZoneBatch(zone, dtype, num_runs=1)
    assert alone.lanes == 1
    np.testing.assert_array_equal(alone.run(data), found)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_divided_steps_keep_the_levels_of_the_data(condition: str) -> None:
    zone = zone_of(P1, condition, cells=24)
    assert zone.parts > 1
    data = histories(zone, 3)
    np.testing.assert_array_equal(ZoneBatch(zone, np.float64).run(data), singles(zone, data))


@pytest.mark.parametrize("condition", CONDITIONS)
def test_single_precision_is_close(condition: str) -> None:
    """2^-24 = 6e-8 a step, 81 steps: 5e-6 where errors add up, tenfold where slow modes enlarge them."""
    zone = zone_of(P1, condition)
    data = histories(zone, 19)
    found, wanted = ZoneBatch(zone).run(data), singles(zone, data)
    assert found.dtype == np.float32
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=0.0, atol=5e-5 * np.abs(other).max())


def test_a_run_that_diverges_is_named() -> None:
    zone = zone_of(P1, "impedance")
    data = histories(zone, 19)
    data[17, 40:] = np.nan
    with pytest.raises(DivergenceError, match="diverged: at level 64") as caught:
        ZoneBatch(zone).run(data)
    assert caught.value.run == 17


def test_a_history_of_another_shape_is_refused() -> None:
    zone = zone_of(P1, "impedance")
    assert isinstance(zone.stepper, CentralDifference)
    ensemble = Ensemble(zone.stepper, 2)
    nothing = Selection(np.arange(3), np.arange(5))
    for wrong in (np.empty((8, 5, 4)), np.empty((8, 5, 3), np.float32), np.empty((8, 3, 5)).transpose(0, 2, 1)):
        with pytest.raises(ValueError, match=r"contiguous float64 array of shape \(8, 5, 3\), got float"):
            ensemble.run(4, selection=nothing, history=wrong)


@pytest.mark.parametrize("num_runs", [1, 8])
def test_rates_are_those_of_the_history(num_runs: int) -> None:
    zone = zone_of(P1, "impedance")
    assert isinstance(zone.stepper, CentralDifference)
    ensemble = Ensemble(zone.stepper, num_runs)
    data = ManyRuns(histories(zone, num_runs), zone.energy_bound)
    recorded = Selection(np.array([5, 0, 40]), np.arange(zone.num_steps + 1))
    history = np.zeros((num_runs, zone.num_steps + 1, 3))
    rates = np.full((num_runs, zone.num_steps - 1, 3), np.nan)
    ensemble.run(zone.num_steps, boundary=data, selection=recorded, history=history, rates=rates)
    np.testing.assert_array_equal(rates, (history[:, 2:] - history[:, :-2]) * (0.5 / zone.stepper.dt))
    with pytest.raises(ValueError, match=r"the rates must be a contiguous float64 array of shape .*, got float64 "):
        ensemble.run(zone.num_steps, boundary=data, selection=recorded, history=history, rates=history)


@pytest.mark.mpi
def test_a_zone_that_ranks_share_is_refused(comm: MPI.Comm) -> None:
    zone = zone_of(P1, "impedance", comm=comm)
    if comm.size == 1:
        assert ZoneBatch(zone).lanes == 16
        return
    with pytest.raises(ValueError, match=f"this one is on {comm.size}: make one a rank"):
        ZoneBatch(zone)
