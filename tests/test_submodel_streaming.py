"""Boundary data streamed chunk by chunk: the numbers of one shot, on any number of ranks."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mpi4py import MPI
from numpy.typing import NDArray
from solver_problems import NEWMARK, P1, box, generate_plate, plate, run_full, time_grid

from solvers.gamma.condition import Dirichlet, Impedance, condition_named
from solvers.gamma.trace import Trace
from solvers.mesh.domain import Domain, refined, zone_submesh
from solvers.problems.full import FullModel
from solvers.problems.zone import ZoneModel, ZoneRun
from solvers.space.assembly import Discretization
from solvers.time.grid import TimeGrid
from submodel.predict.prediction import Prediction
from submodel.zoom.streaming import StreamedBoundary

EXACT = 1e-12  # of the largest value; the arithmetic is that of one shot, in another order


@dataclass
class Player:
    """Plays a trace as the only set; keeps which levels it was asked for."""

    trace: Trace
    fields: tuple[str, ...] = ("displacement", "velocity", "load")
    asked: list[tuple[int, int]] = field(default_factory=list)
    combines: bool = False
    fails_at: int | None = None
    error: Exception = field(default_factory=lambda: ValueError("the network gave up"))

    @property
    def num_levels(self) -> int:
        return len(self.trace.times)

    def levels(self, start: int, stop: int, weights: Any = None) -> NDArray[np.float64]:
        if weights is not None:
            return np.asarray(weights.of(self.trace)[None, start:stop])
        self.asked.append((start, stop))
        if self.fails_at is not None and stop > self.fails_at:
            raise self.error
        return np.array([[getattr(self.trace, name)[start:stop] for name in self.fields]])


def prediction(player: Player) -> Prediction:
    return Prediction(player.trace.times, player.trace.gamma, player)


def streamed(zone: ZoneModel, player: Player, chunk: int) -> tuple[ZoneRun, StreamedBoundary]:
    """A run fed chunk by chunk; only the root holds the data."""
    on_root = zone.zone.mesh.comm.rank == 0
    data = StreamedBoundary(zone, prediction(player) if on_root else None, chunk=chunk)
    return zone.run(data), data


def one_shot(zone: ZoneModel, player: Player) -> ZoneRun:
    return zone.run(prediction(player).trace())


def require_same(run: ZoneRun, other: ZoneRun) -> None:
    for name in ("displacement", "velocity"):
        mine, theirs = getattr(run, name), getattr(other, name)
        scale = np.abs(theirs).max(initial=1e-300)
        np.testing.assert_allclose(mine, theirs, rtol=0.0, atol=EXACT * scale)


def problem(comm: MPI.Comm, discretization: Discretization) -> tuple[Domain, Trace]:
    domain = box(comm, discretization)
    trace, _ = run_full(FullModel(domain, discretization, time_grid(discretization)), fields=False)
    return domain, trace


pytestmark = pytest.mark.filterwarnings("ignore::solvers.space.stability.ResolutionWarning")


@pytest.mark.mpi
@pytest.mark.parametrize("block", [1, 7, 20, 41, 1000])
@pytest.mark.parametrize("interface", ["dirichlet", "impedance"])
@pytest.mark.parametrize("discretization", [P1, NEWMARK], ids=["explicit", "newmark"])
def test_a_streamed_run_has_the_numbers_of_one_shot(
    discretization: Discretization, interface: str, block: int, comm: MPI.Comm
) -> None:
    domain, trace = problem(comm, discretization)
    zone = ZoneModel(
        zone_submesh(domain), discretization, time_grid(discretization), condition=condition_named(interface)
    )
    run, data = streamed(zone, Player(trace), block)
    require_same(run, one_shot(zone, Player(trace)))
    assert data.num_chunks == -(-41 // block)


@pytest.mark.mpi
@pytest.mark.parametrize("interface", ["dirichlet", "impedance"])
@pytest.mark.parametrize("discretization", [P1, NEWMARK], ids=["explicit", "newmark"])
def test_so_has_one_whose_network_combines_the_fields(
    discretization: Discretization, interface: str, comm: MPI.Comm
) -> None:
    domain, trace = problem(comm, discretization)
    zone = ZoneModel(
        zone_submesh(domain), discretization, time_grid(discretization), condition=condition_named(interface)
    )
    player = Player(trace, combines=True)
    run, _ = streamed(zone, player, 7)
    require_same(run, one_shot(zone, Player(trace)))
    assert not player.asked
    weights = zone.datum_weights()
    assert weights is not None
    np.testing.assert_allclose(prediction(player).data(weights)[0], zone.datum(trace), rtol=0.0, atol=1e-9)


@pytest.mark.mpi
@pytest.mark.parametrize("block", [5, 32, 64])
@pytest.mark.parametrize("interface", ["dirichlet", "impedance"])
def test_so_has_one_on_a_refined_zone_with_divided_steps(interface: str, block: int, comm: MPI.Comm) -> None:
    """The trace has more levels than the splines reach, so that what lies far away is left out indeed."""
    domain = box(comm, P1)
    grid = TimeGrid(6.0, 161)
    trace, _ = run_full(FullModel(domain, P1, grid), fields=False)
    zone = ZoneModel(refined(zone_submesh(domain), 4), P1, grid, condition=condition_named(interface))
    assert zone.parts > 1
    player = Player(trace)
    run, _ = streamed(zone, player, block)
    require_same(run, one_shot(zone, Player(trace)))
    if comm.rank == 0:
        assert player.asked[0][1] < grid.num_levels
        assert all(stop == start for (_, stop), (start, _) in zip(player.asked[:-1], player.asked[1:], strict=True))


@pytest.mark.mpi
def test_so_has_one_on_a_foreign_zone_of_an_unstructured_mesh(comm: MPI.Comm, shared_path: Path) -> None:
    domain = plate(comm, generate_plate(comm, shared_path, size=0.15, quads=False))
    grid = TimeGrid(1.0, 101)
    trace, _ = run_full(FullModel(domain, P1, grid), fields=False)
    zone = ZoneModel(refined(zone_submesh(domain), 2), P1, grid, condition=Impedance())
    run, _ = streamed(zone, Player(trace), 16)
    require_same(run, one_shot(zone, Player(trace)))


@pytest.mark.parametrize("block", [1, 9])
def test_a_velocity_that_is_not_predicted_is_the_same_rate_of_change(block: int) -> None:
    domain, trace = problem(MPI.COMM_SELF, P1)
    zone = ZoneModel(zone_submesh(domain), P1, time_grid(P1), condition=Dirichlet())
    run, _ = streamed(zone, Player(trace, ("displacement",)), block)
    require_same(run, one_shot(zone, Player(trace, ("displacement",))))


def test_a_chunk_is_predicted_when_the_zone_comes_to_it() -> None:
    domain, trace = problem(MPI.COMM_SELF, P1)
    zone = ZoneModel(zone_submesh(domain), P1, time_grid(P1))
    player = Player(trace)
    data = StreamedBoundary(zone, prediction(player), chunk=10)
    assert not player.asked
    counts = []
    for n in range(40):
        data.from_step(n)
        counts.append(len(player.asked))
    assert counts == [1 + n // 10 for n in range(40)]


def test_data_can_be_run_again() -> None:
    domain, trace = problem(MPI.COMM_SELF, P1)
    zone = ZoneModel(zone_submesh(domain), P1, time_grid(P1))
    data = StreamedBoundary(zone, prediction(Player(trace)), chunk=10)
    first, second = zone.run(data), zone.run(data)
    assert np.array_equal(first.displacement, second.displacement)


@pytest.mark.mpi
@pytest.mark.parametrize("error", [ValueError("the network gave up"), OSError("the network gave up")])
@pytest.mark.parametrize("fails_at", [0, 25])
def test_a_prediction_that_fails_is_told_to_all_ranks(
    fails_at: int, error: Exception, comm: MPI.Comm
) -> None:
    domain, trace = problem(comm, P1)
    zone = ZoneModel(zone_submesh(domain), P1, time_grid(P1))
    kinds = ValueError if isinstance(error, ValueError) else (OSError, RuntimeError)
    with pytest.raises(kinds, match="the network gave up"):
        streamed(zone, Player(trace, fails_at=fails_at, error=error), 10)


@pytest.mark.mpi
def test_a_divergence_is_noticed_though_the_largest_value_is_not_known_yet(comm: MPI.Comm) -> None:
    from solvers.stepping.schemes import DivergenceError

    domain, trace = problem(comm, P1)
    zone = ZoneModel(zone_submesh(domain), P1, time_grid(P1), condition=Impedance())
    broken = trace.load.copy() if trace.load is not None else np.empty(0)
    broken[25:] = np.nan
    player = Player(Trace(trace.times, trace.gamma, trace.displacement, trace.velocity, broken))
    with pytest.raises(DivergenceError, match="the run diverged"):
        streamed(zone, player, 10)


@pytest.mark.mpi
def test_what_cannot_be_streamed_is_refused(comm: MPI.Comm) -> None:
    domain, trace = problem(comm, P1)
    zone = ZoneModel(zone_submesh(domain), P1, time_grid(P1), condition=Impedance())
    with pytest.raises(ValueError, match="a block holds one level at least, got 0"):
        streamed(zone, Player(trace), 0)
    short = Trace(trace.times[:20], trace.gamma, trace.displacement[:20], trace.velocity[:20])
    with pytest.raises(ValueError, match="the prediction has 20 levels up to t = .*, the zone expects 41"):
        streamed(zone, Player(short), 10)
    with pytest.raises(RuntimeError, match="the root was given none"):
        zone.run(StreamedBoundary(zone, None))
    with pytest.raises(ValueError, match="needs the load"):
        streamed(zone, Player(trace, ("displacement", "velocity")), 10)


@pytest.mark.parametrize("interface", ["dirichlet", "impedance"])
@pytest.mark.parametrize("discretization", [P1, NEWMARK], ids=["explicit", "newmark"])
def test_weights_of_a_zones_data_are_those_of_its_datum(discretization: Discretization, interface: str) -> None:
    domain = box(MPI.COMM_SELF, discretization)
    zone = ZoneModel(
        zone_submesh(domain), discretization, time_grid(discretization), condition=condition_named(interface)
    )
    fields = np.random.default_rng(0).standard_normal((3, 41, zone.gamma.num_nodes))
    trace = Trace(zone.time.times, zone.gamma, *fields)
    weights = zone.datum_weights()
    assert weights is not None
    expected = zone.datum(trace)
    np.testing.assert_allclose(weights.of(trace), expected, rtol=0.0, atol=EXACT * np.abs(expected).max())
    without = Trace(trace.times, trace.gamma, *fields[:2])
    if interface == "dirichlet":
        assert np.array_equal(weights.of(without), weights.of(trace))
    else:
        with pytest.raises(ValueError, match="needs the load"):
            weights.of(without)


def test_divided_steps_have_no_weights() -> None:
    zone = ZoneModel(refined(zone_submesh(box(MPI.COMM_SELF, P1)), 4), P1, TimeGrid(6.0, 161))
    assert zone.parts > 1 and zone.datum_weights() is None
