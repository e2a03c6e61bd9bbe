"""Signals and the point source's load: what is known of them in closed form, and by another method."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dolfinx import fem
from dolfinx.la import InsertMode
from mpi4py import MPI
from solver_problems import (
    GLL3,
    METHODS,
    NEWMARK,
    P1,
    box,
    generate_plate,
    plate,
    run_full,
    time_grid,
)

from solvers.problems.full import FullModel, averaged_signal
from solvers.space.assembly import Discretization, function_space
from solvers.space.points import PointEvaluator
from solvers.time.grid import TimeGrid
from solvers.time.signals import Chirp, PointSource, Ricker, Sine, Tabulated

PLACES = [
    (0.413, 0.621),
    (-0.5, 0.375),
    (0.125, -0.0625),
    (-0.999, -0.999),
]  # in a cell, at a node, on an edge, at ∂Ω


def test_sine_starts_at_zero_and_is_silent_before() -> None:
    t = np.linspace(-1.0, 3.0, 81)
    np.testing.assert_allclose(Sine(4.0)(t), np.where(t >= 0.0, np.sin(4.0 * t), 0.0))
    assert Sine(4.0).highest_omega == 4.0


def test_ricker_has_zero_mean_and_peaks_at_its_frequency() -> None:
    omega = 6.0
    t = np.arange(2**14) * 2e-3
    s = Ricker(omega)(t)
    assert abs(s.sum()) / np.abs(s).sum() < 1e-7  # what the start at t = 0 cuts off
    assert s.max() == pytest.approx(1.0, abs=1e-4)
    assert t[s.argmax()] == pytest.approx(3.0 * np.pi / omega, abs=2e-3)
    spectrum = np.abs(np.fft.rfft(s))
    frequencies = 2.0 * np.pi * np.fft.rfftfreq(len(t), 2e-3)
    assert frequencies[spectrum.argmax()] == pytest.approx(omega, abs=frequencies[1])
    assert abs(s[0]) < 1e-7
    beyond = spectrum[frequencies > Ricker(omega).highest_omega]
    assert beyond.max() < 0.011 * spectrum.max()
    assert np.all(Ricker(omega)(np.array([-1.0, -0.1])) == 0.0)


@pytest.mark.parametrize("signal", [Sine, Ricker])
@pytest.mark.parametrize("omega", [0.0, -1.0, float("nan")])
def test_a_frequency_must_be_positive(signal: type[Sine] | type[Ricker], omega: float) -> None:
    with pytest.raises(ValueError, match="omega must be positive, got"):
        signal(omega)


def test_a_chirp_sweeps_from_one_frequency_to_the_other() -> None:
    chirp, t = Chirp(4.0, 10.0, 3.0), np.linspace(-1.0, 5.0, 6001)
    s = chirp(t)
    assert np.all(s[t <= 0.0] == 0.0)
    assert chirp.highest_omega == 10.0 and Chirp(10.0, 4.0, 3.0).highest_omega == 10.0
    rising = np.flatnonzero((s[:-1] < 0.0) & (s[1:] >= 0.0))  # a period between two of them
    middle, period = t[rising].reshape(-1), np.diff(t[rising])
    centre = 0.5 * (middle[1:] + middle[:-1])
    omega = np.where(centre < 3.0, 4.0 + 2.0 * centre, 10.0)
    inside = np.abs(centre - 3.0) > 0.5  # a period that is half sweep has neither frequency
    np.testing.assert_allclose(2.0 * np.pi / period[inside], omega[inside], rtol=0.02)
    np.testing.assert_array_equal(Chirp(5.0, 5.0, 1.0)(t), Sine(5.0)(t))
    with pytest.raises(ValueError, match="omega must be positive, got 0"):
        Chirp(1.0, 0.0, 1.0)
    with pytest.raises(ValueError, match="duration of a chirp must be positive, got 0"):
        Chirp(1.0, 2.0, 0.0)


def test_a_table_goes_through_its_samples() -> None:
    t = np.linspace(0.0, 2.0, 41)
    table = Tabulated(tuple(t), tuple(np.sin(3.0 * t)))
    np.testing.assert_allclose(table(t), np.sin(3.0 * t), rtol=0.0, atol=1e-14)
    between = t[:-1] + 0.025
    np.testing.assert_allclose(
        table(between), np.sin(3.0 * between), rtol=0.0, atol=2e-5
    )  # (omega dt)^4 / 384 and ends
    line = Tabulated((0.0, 1.0), (0.0, 2.0), "linear")
    np.testing.assert_array_equal(line([-1.0, 0.25, 1.0, 7.0]), [0.0, 0.5, 2.0, 2.0])


def test_the_highest_frequency_of_a_table_is_that_of_its_spectrum() -> None:
    t = np.linspace(0.0, 20.0, 801)
    pulse = Tabulated(tuple(t), tuple(Ricker(6.0)(t)))
    # the energy (w/6)^4 exp(-2 (w/6)^2) below this frequency is 99 % of all, by its incomplete gamma function
    assert pulse.highest_omega == pytest.approx(6.0 * np.sqrt(0.5 * 7.5433), rel=0.01)
    uneven = np.concatenate([t[:400], t[400:] ** 2 / t[400]])
    assert Tabulated(tuple(uneven), tuple(Ricker(6.0)(uneven))).highest_omega == pytest.approx(11.65, rel=0.02)


@pytest.mark.parametrize(
    ("times", "samples", "kind", "words"),
    [
        ((0.0, 1.0), (0.0, 1.0), "cubic", "a cubic table needs 4 samples or more"),
        ((0.0, 1.0), (0.0,), "linear", r"got \(2,\) times and \(1,\) samples"),
        ((0.0, 1.0), (0.0, float("nan")), "linear", "must hold finite numbers"),
        ((0.0, 1.0, 1.0), (0.0, 1.0, 2.0), "linear", "sample 3 at t = 1 does not"),
        ((0.0, 1.0), (0.0, 0.0), "linear", "zeros only"),
        ((0.0, 1.0), (0.0, 1.0), "square", "must be one of"),
    ],
)
def test_tables_that_are_none(times: tuple[float, ...], samples: tuple[float, ...], kind: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Tabulated(times, samples, kind)  # type: ignore[arg-type]


def test_the_implicit_scheme_averages_the_signal() -> None:
    grid = TimeGrid(1.0, 11)
    s = np.sin(3.0 * grid.dt * np.arange(-1, 12))
    s[0] = 0.0  # silent before the start
    source = PointSource((0.5, 0.5), Sine(3.0))
    np.testing.assert_allclose(averaged_signal(source, grid, 0.0), s[1:-1])
    np.testing.assert_allclose(averaged_signal(source, grid, 0.25), 0.25 * (s[2:] + 2.0 * s[1:-1] + s[:-2]))


@pytest.mark.mpi
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("method", ["p1", "gll2", "gll3"])
def test_load_of_a_point_source(method: str, place: tuple[float, float], comm: MPI.Comm) -> None:
    """It sums to 1 and has its center at the source, once over all ranks; moments up to the degree are exact."""
    discretization = METHODS[method]
    V = function_space(box(comm, discretization).mesh, discretization)
    dofs, weights = PointEvaluator(V).load(place)
    assert np.all(dofs < V.dofmap.index_map.size_local)
    points = V.tabulate_dof_coordinates()[dofs, :2]
    for power in range(discretization.degree + 1):
        for axis in (0, 1):
            moment = comm.allreduce(float(weights @ points[:, axis] ** power))
            assert moment == pytest.approx(place[axis] ** power, abs=1e-13)


@pytest.mark.mpi
@pytest.mark.parametrize("method", ["p1", "gll3"])
def test_load_agrees_with_scifem(method: str, comm: MPI.Comm) -> None:
    """Another method: scifem compiles a kernel for the location and sums over the processes that find it."""
    scifem = pytest.importorskip("scifem")
    discretization = METHODS[method]
    V = function_space(box(comm, discretization, 8, zone=((-0.5, -0.5), (0.5, 0.5))).mesh, discretization)
    place = (0.413, 0.621)
    ours = fem.Function(V)
    dofs, weights = PointEvaluator(V).load(place)
    ours.x.array[dofs] = weights
    theirs = fem.Function(V)
    points = np.array([[*place, 0.0]]) if comm.rank == 0 else np.empty((0, 3))
    scifem.PointSource(V, points, magnitude=1.0).apply_to_vector(theirs)
    theirs.x.scatter_reverse(InsertMode.add)
    num_owned = V.dofmap.index_map.size_local
    np.testing.assert_allclose(ours.x.array[:num_owned], theirs.x.array[:num_owned], rtol=0.0, atol=1e-12)


@pytest.mark.mpi
def test_evaluation_of_a_field(comm: MPI.Comm, shared_path: Path) -> None:
    """A cubic on unstructured quadrilaterals of degree 3 is reproduced; each point is evaluated by one rank."""
    V = function_space(plate(comm, generate_plate(comm, shared_path, size=0.2, quads=True)).mesh, GLL3)

    def cubic(x: np.ndarray) -> np.ndarray:
        return np.asarray(x[0] ** 3 - 2.0 * x[0] * x[1] ** 2 + x[1])

    u = fem.Function(V)
    u.interpolate(cubic)
    points = np.random.default_rng(3).uniform(-0.9, 0.9, (40, 2))
    points = points[np.linalg.norm(points - (-0.55, 0.5), axis=1) > 0.16]  # not in the hole
    matrix = PointEvaluator(V).matrix(points)
    index_map = V.dofmap.index_map
    local = np.zeros(index_map.size_global)
    ghosts = np.arange(index_map.size_local + index_map.num_ghosts, dtype=np.int32)
    local[index_map.local_to_global(ghosts)] = u.x.array
    values = comm.allreduce(matrix @ local)
    np.testing.assert_allclose(values, cubic(points.T), rtol=0.0, atol=1e-12)


@pytest.mark.mpi
@pytest.mark.filterwarnings("ignore::solvers.space.stability.ResolutionWarning")
def test_sources_outside_the_domain_or_inside_the_zone_are_refused(comm: MPI.Comm) -> None:
    model = FullModel(box(comm, P1), P1, time_grid(P1))
    with pytest.raises(ValueError, match=r"the source at \(1.5, 0.0\) lies outside the domain"):
        model.run(PointSource((1.5, 0.0), Sine(5.0)))
    with pytest.raises(ValueError, match=r"the source at \(0.1, 0.1\) lies inside the zone"):
        model.run(PointSource((0.1, 0.1), Sine(5.0)))
    with pytest.raises(ValueError, match=r"1 point\(s\) lie outside the mesh, the first at \(2.0, 0.0\)"):
        PointEvaluator(function_space(model.domain.mesh, P1)).matrix([(0.0, 0.0), (2.0, 0.0)])


@pytest.mark.mpi
@pytest.mark.parametrize("discretization", [P1, NEWMARK], ids=["explicit", "newmark"])
def test_runs_are_independent(discretization: Discretization, comm: MPI.Comm) -> None:
    """The same source twice, with another run between, gives the same bits: nothing is left over from a run."""
    model = FullModel(box(comm, P1), discretization, time_grid(P1))
    first, _ = run_full(model, fields=False)
    run_full(model, PointSource((-0.6, 0.2), Sine(3.0)), fields=False)
    again, _ = run_full(model, fields=False)
    assert np.array_equal(again.displacement, first.displacement)
