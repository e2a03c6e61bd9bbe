"""Several runs at once: the very numbers of plain steps, whatever the mesh, the width, the tiles and the ranks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from mpi4py import MPI
from numpy.typing import NDArray
from solver_problems import METHODS, P1, box, generate_plate, plate, relative_l2, time_grid

from solvers.batch import native_build as compiled
from solvers.batch.ensemble import Ensemble, Loads, Selection
from solvers.batch.in_turn import InTurn
from solvers.batch.native_build import CompileError, aligned, compiled_steps, lanes_of
from solvers.batch.stencils import DAMPED, DIFFERENT, LEAST, like_rows
from solvers.batch.tiles import last_coupled, skewed_tiles
from solvers.mesh.domain import Domain
from solvers.problems.full import FullModel
from solvers.problems.loads import NodalLoad, loads_of_runs
from solvers.space.assembly import Discretization
from solvers.stepping.schemes import CentralDifference, DivergenceError
from solvers.time.grid import TimeGrid
from solvers.time.signals import PointSource, Ricker, Sine

EXPLICIT = ("p1", "gll2", "gll3")
SOURCES = [
    PointSource((0.413, 0.321), Sine(5.0)),
    PointSource((-0.6, 0.7), Ricker(4.0)),
    PointSource((0.8, -0.45), Sine(3.0)),
]
ROUND_OFF = 1e-12  # some hundred steps, each of a sum of a dozen products, which PETSc may round in another way
SINGLE = 10 * 2.0**-24  # a step: each rounds the sum of its products, and slow modes raise it by 1 / (omega dt)
pytestmark = pytest.mark.filterwarnings("ignore::solvers.space.stability.ResolutionWarning")  # toy meshes are coarse


def nodal_loads(model: FullModel, sources: list[PointSource]) -> list[list[NodalLoad]]:
    """The loads of each source, as the model makes them. Collective."""
    grid = model.time
    return [
        [NodalLoad(*model.evaluator.load(s.position), s.signal(np.arange(grid.num_levels) * grid.dt))] for s in sources
    ]


def plain_final(model: FullModel, loads: list[NodalLoad], num_steps: int) -> NDArray[np.float64]:
    """The last level of plain steps, in the space's order of owned dofs. Collective."""
    final = Selection(np.argsort(model.stepper.order), np.where(np.arange(num_steps + 1) == num_steps, 0, -1))
    loads_of_run = loads_of_runs(model.stepper, [loads])
    return np.asarray(InTurn(model.stepper).run(num_steps, loads=loads_of_run, selection=final)[0, 0])


def ensemble_final(ensemble: Ensemble, model: FullModel, loads: list[list[NodalLoad]]) -> NDArray[Any]:
    """The last level of every run, ``(run, owned dof)``. Collective."""
    num_steps = model.time.num_levels
    slots = np.where(np.arange(num_steps + 1) == num_steps, 0, -1)
    rows = np.arange(len(ensemble.order))
    history = ensemble.run(num_steps, loads=loads_of_runs(model.stepper, loads), selection=Selection(rows, slots))
    out = np.empty((len(loads), len(rows)), dtype=ensemble.dtype)
    out[:, ensemble.order] = history[: len(loads), 0]
    return out


def norms(comm: MPI.Comm, difference: NDArray[Any], truth: NDArray[Any]) -> float:
    """Relative L2 over all ranks. Collective."""
    squares = comm.allreduce(np.array([np.sum(difference.astype(float) ** 2), np.sum(truth.astype(float) ** 2)]))
    return float(np.sqrt(squares[0] / squares[1]))


@pytest.mark.mpi
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("num_runs", [1, 3])
@pytest.mark.parametrize("method", EXPLICIT)
def test_runs_together_are_the_plain_runs(method: str, num_runs: int, dtype: type, comm: MPI.Comm) -> None:
    discretization = METHODS[method]
    model = FullModel(box(comm, discretization), discretization, time_grid(discretization))
    loads = nodal_loads(model, SOURCES[:num_runs])
    found = ensemble_final(Ensemble(model.stepper, num_runs, dtype), model, loads)  # type: ignore[arg-type]
    for run, each in zip(found, loads, strict=True):
        truth = plain_final(model, each, model.time.num_levels)
        tolerance = ROUND_OFF if dtype is np.float64 else SINGLE * model.time.num_levels
        assert norms(comm, run - truth, truth) < tolerance


@pytest.mark.mpi
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("num_runs", [1, 3])
@pytest.mark.parametrize("where", ["everywhere", "in a part", "row by row"])
def test_rows_that_are_damped(where: str, num_runs: int, dtype: type, comm: MPI.Comm) -> None:
    """C = 2 M, C = 2 M for x > 0, and another share of M in each row: u is the plain run's, and not the undamped."""
    model = FullModel(box(comm, P1, 32), P1, TimeGrid(0.8, 81))
    whole = model.stepper.assembly
    x = model.V.tabulate_dof_coordinates()[: len(whole.mass_diagonal), 0]
    share = {"everywhere": 1.0 + 0.0 * x, "in a part": 1.0 * (x > 0.0), "row by row": np.sin(40.0 * x) ** 2}[where]
    loads = nodal_loads(model, SOURCES[:num_runs])
    undamped = plain_final(model, loads[0], model.time.num_levels)
    model.stepper = stepper = CentralDifference(
        replace(whole, damping=whole.diagonal(2.0 * share * whole.mass_diagonal)), model.time.dt
    )
    found = ensemble_final(Ensemble(stepper, num_runs, dtype), model, loads)
    np.testing.assert_array_equal(
        found, ensemble_final(Ensemble(stepper, num_runs, dtype, stencils=False), model, loads)
    )
    np.testing.assert_array_equal(found, ensemble_final(Ensemble(stepper, num_runs, dtype, depth=1), model, loads))
    for run, each in zip(found, loads, strict=True):
        truth = plain_final(model, each, model.time.num_levels)
        assert norms(comm, run - truth, truth) < (ROUND_OFF if dtype is np.float64 else SINGLE * model.time.num_levels)
    assert norms(comm, found[0] - undamped, undamped) > 0.1


@pytest.mark.mpi
@pytest.mark.parametrize("quads", [False, True], ids=["p1", "gll2"])
def test_unstructured_meshes_with_two_speeds(quads: bool, comm: MPI.Comm, shared_path: Path) -> None:
    discretization = METHODS["gll2" if quads else "p1"]
    domain = plate(comm, generate_plate(comm, shared_path, size=0.12, quads=quads))
    model = FullModel(domain, discretization, TimeGrid(1.0, 161))
    sources = [PointSource((0.8, 0.8), Sine(5.0)), PointSource((-0.8, 0.7), Sine(4.0))]
    loads = nodal_loads(model, sources)
    found = ensemble_final(Ensemble(model.stepper, 2), model, loads)  # type: ignore[arg-type]
    for run, each in zip(found, loads, strict=True):
        truth = plain_final(model, each, model.time.num_levels)
        assert norms(comm, run - truth, truth) < ROUND_OFF


@pytest.mark.mpi
def test_a_run_does_not_depend_on_those_beside_it(comm: MPI.Comm) -> None:
    """To the last bit: alone in one lane, or among others in any lane."""
    model = FullModel(box(comm, P1), P1, time_grid(P1))
    alone = model.run(SOURCES[0])
    together = model.run_many([*SOURCES[1:], SOURCES[0]])
    many = model.run_many([*SOURCES] * 4)  # more than a line holds
    if alone is None or together is None or many is None:
        assert comm.rank > 0
        return
    for other in (together[2], many[0], many[9]):
        assert alone.trace.load is not None and other.trace.load is not None
        np.testing.assert_array_equal(alone.trace.load, other.trace.load)
        assert alone.displacement is not None and other.displacement is not None
        np.testing.assert_array_equal(alone.displacement, other.displacement)


@pytest.mark.mpi
def test_single_precision_traces_are_close(comm: MPI.Comm) -> None:
    """The load takes second differences over dt², which raises the rounding by 1 / (omega dt)², a hundred here."""
    model = FullModel(box(comm, P1), P1, time_grid(P1))
    double, single = model.run_many(SOURCES), model.run_many(SOURCES, dtype=np.float32)
    if double is None or single is None:
        assert comm.rank > 0
        return
    for a, b in zip(double, single, strict=True):
        assert a.trace.load is not None and b.trace.load is not None
        tolerance = SINGLE * model.time.num_levels
        assert 0.0 < relative_l2(b.trace.displacement, a.trace.displacement) < tolerance
        assert relative_l2(b.trace.load, a.trace.load) < 100.0 * tolerance


def test_tiles_change_no_bit() -> None:
    """Sweeps of several steps over few rows, against one step over all rows at a time."""
    model = FullModel(box(MPI.COMM_SELF, P1, 32), P1, TimeGrid(0.8, 41))
    loads = nodal_loads(model, SOURCES)
    ensemble = Ensemble(model.stepper, 3)  # type: ignore[arg-type]
    ahead = last_coupled(ensemble_matrix(ensemble))
    finals = [ensemble_final(Ensemble(model.stepper, 3, depth=1), model, loads)]  # type: ignore[arg-type]
    for rows, depth in ((10**6, 1), (50, 4), (7, 16), (200, 3)):
        ensemble._ends = skewed_tiles(ahead, rows=rows, depth=depth)
        finals.append(ensemble_final(ensemble, model, loads))
    assert np.abs(finals[0]).max() > 0.01
    for other in finals[1:]:
        np.testing.assert_array_equal(other, finals[0])


@pytest.mark.mpi
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("num_runs", [1, 3])
def test_rows_that_are_alike_change_no_bit(num_runs: int, dtype: type, comm: MPI.Comm) -> None:
    model = FullModel(box(comm, P1, 64), P1, TimeGrid(0.8, 81))
    loads = nodal_loads(model, SOURCES[:num_runs])
    with_them = Ensemble(model.stepper, num_runs, dtype)  # type: ignore[arg-type]
    without = Ensemble(model.stepper, num_runs, dtype, stencils=False)  # type: ignore[arg-type]
    assert comm.allreduce(int((with_them._kept["stretch_counts"] > 0).any())) > 0
    assert not (without._kept["stretch_counts"] > 0).any()
    found = ensemble_final(with_them, model, loads)
    np.testing.assert_array_equal(found, ensemble_final(without, model, loads))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 14)), max_size=12), st.integers(0, 2))
def test_stretches_hold_rows_that_are_alike(kinds: list[tuple[int, int]], damped: int) -> None:
    """Rows of four kinds, some of them repeated: every stretch that is called alike is, and the long ones are found."""
    patterns = ([-1, 0, 1, 2], [-1, 0, 1, 3], [-1, 0, 1, 2], [0])
    kind_of_row = np.repeat([kind for kind, _ in kinds], [num for _, num in kinds]).astype(int)
    num = len(kind_of_row)
    entries = [(i, i + offset, 1.0 + kind + offset) for i, kind in enumerate(kind_of_row) for offset in patterns[kind]]
    rows, columns, values = np.array(entries, dtype=float).reshape(-1, 3).T
    matrix = sp.csr_matrix((values, (rows, columns + 1)), shape=(num, num + 5))
    block = 10 * damped  # rows in turn with and without damping, none at all for 0
    ratio = np.where((np.arange(num) // block) % 2 == 1, 0.9, 1.0) if block else np.ones(num)
    ends, counts = like_rows(matrix, ratio)
    if num == 0:
        assert len(ends) == len(counts) == 0
        return
    assert ends[-1] == num
    assert (np.diff(ends) > 0).all()
    alike = np.zeros(num, dtype=bool)
    for begin, end, count in zip([0, *ends[:-1]], ends, counts, strict=True):
        assert count != DIFFERENT or (ratio[begin:end] == 1.0).all()
        if count > 0:
            assert len(set(kind_of_row[begin:end])) == 1 and count == len(patterns[kind_of_row[begin]])
            assert len(set(ratio[begin:end])) == 1
            assert end - begin >= LEAST
            alike[begin:end] = True
    for begin in range(num - LEAST + 1):
        stretch = slice(begin, begin + LEAST)
        if len(set(kind_of_row[stretch])) == len(set(ratio[stretch])) == 1 and kind_of_row[begin] != 3:
            assert alike[stretch].all()
    ends, counts = like_rows(matrix, ratio, stencils=False)
    kind_of_stretch = np.repeat(counts, np.diff(ends, prepend=0))
    np.testing.assert_array_equal(kind_of_stretch, np.where(ratio == 1.0, DIFFERENT, DAMPED))


def ensemble_matrix(ensemble: Ensemble) -> sp.csr_matrix:
    """The matrix that an ensemble steps with, on one rank."""
    kept = ensemble._kept
    return sp.csr_matrix((kept["values"], kept["columns"], kept["starts"]), shape=(len(ensemble.order),) * 2)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 60), st.integers(1, 20), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_tiles_have_what_they_need_and_overwrite_nothing_needed(
    num_rows: int, rows: int, depth: int, seed: int
) -> None:
    """Replays the order of the steps and asks of each row whether its neighbours are at the level that it needs."""
    rng = np.random.default_rng(seed)
    matrix = sp.random(num_rows, num_rows, density=0.05, random_state=rng, format="csr") + sp.identity(num_rows)
    coupled = [np.flatnonzero(row) for row in (abs(matrix) + abs(matrix).T).toarray()]
    ends = skewed_tiles(last_coupled(matrix.tocsr()), rows=rows, depth=depth)
    level: NDArray[np.int64] = np.zeros(num_rows, dtype=np.int64)
    done = np.zeros(ends.shape[1], dtype=np.int64)
    for tile in ends:
        for step, end in enumerate(tile):
            for row in range(done[step], end):
                assert level[row] == step, "each row takes its steps in turn"
                # a neighbour is at this level, or one ahead: then the level is still there beside the new one
                assert all(level[other] in (step, step + 1) for other in coupled[row])
                level[row] += 1
            done[step] = max(done[step], end)
    np.testing.assert_array_equal(level, ends.shape[1])


def test_a_wide_matrix_is_stepped_plainly() -> None:
    far = sp.csr_matrix((np.ones(1), ([0], [29_999])), shape=(30_000, 30_000))
    assert skewed_tiles(last_coupled(far)).shape == (1, 1)


@pytest.mark.mpi
def test_a_run_that_diverges_is_named(comm: MPI.Comm) -> None:
    model = FullModel(box(comm, P1), P1, time_grid(P1))
    loads = nodal_loads(model, SOURCES)
    bad = loads[1][0]
    loads[1] = [NodalLoad(bad.dofs, bad.weights, np.where(np.arange(len(bad.samples)) == 3, np.inf, bad.samples))]
    record = model._recorder.record(False)
    slots = np.arange(model.time.num_levels + 1)
    with pytest.raises(DivergenceError, match=r"diverged: at level 32") as caught:
        model.runs.make(loads, record, slots)
    assert caught.value.run == 1
    loads = [loads[0]] * 9 + [loads[1]]
    with pytest.raises(DivergenceError) as caught:
        model.runs.make(loads, record, slots)
    assert caught.value.run == 9
    assert model.run(SOURCES[0]) is not None or comm.rank > 0  # the model is usable still


def test_large_histories_are_made_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the same compiled steps, and with the same numbers."""
    model = FullModel(box(MPI.COMM_SELF, P1), P1, time_grid(P1))
    together = model.run_many(SOURCES)
    monkeypatch.setattr("solvers.problems.engine.MOST_BYTES", 1000)
    monkeypatch.setattr("solvers.batch.in_turn.march", None)
    assert model.batch_size() == 1
    alone = model.run_many(SOURCES)
    assert together is not None and alone is not None
    for a, b in zip(together, alone, strict=True):
        np.testing.assert_array_equal(a.trace.displacement, b.trace.displacement)


def test_implicit_runs_are_made_in_turn() -> None:
    discretization = Discretization(stepper="newmark")
    model = FullModel(box(MPI.COMM_SELF, discretization), discretization, time_grid(discretization))
    assert model.batch_size() == 1
    many, one = model.run_many(SOURCES), model.run(SOURCES[2])
    assert many is not None and one is not None
    np.testing.assert_array_equal(many[2].trace.displacement, one.trace.displacement)


@pytest.mark.mpi
def test_ranks_without_rows(comm: MPI.Comm) -> None:
    """Fewer cells than two ranks can share evenly: some ranks may own nothing."""
    domain: Domain = box(comm, P1, 4, zone=((-0.5, -0.5), (0.5, 0.5)))
    model = FullModel(domain, P1, TimeGrid(0.8, 41))
    found = model.run_many([PointSource((0.8, 0.8), Sine(2.0))] * 2)
    serial = FullModel(box(MPI.COMM_SELF, P1, 4, zone=((-0.5, -0.5), (0.5, 0.5))), P1, TimeGrid(0.8, 41)).run(
        PointSource((0.8, 0.8), Sine(2.0))
    )
    assert serial is not None
    if found is not None:
        assert relative_l2(found[1].trace.displacement, serial.trace.displacement) < ROUND_OFF


@pytest.mark.mpi
def test_a_matrix_that_cannot_be_counted_is_refused(comm: MPI.Comm, monkeypatch: pytest.MonkeyPatch) -> None:
    model = FullModel(box(comm, P1), P1, time_grid(P1))
    monkeypatch.setattr("solvers.batch.row_order.MOST_ENTRIES", 50)
    with pytest.raises(ValueError, match="entries, 50 at most can be stepped: share the run over more ranks"):
        Ensemble(model.stepper, 2)  # type: ignore[arg-type]


def test_widths() -> None:
    assert lanes_of(np.float64, 1) == lanes_of("float32", 1) == 1
    assert lanes_of(np.float64, 2) == 8 and lanes_of(np.float32, 30) == 16
    with pytest.raises(ValueError, match="compiled for float64 and float32, got int64"):
        lanes_of(np.int64, 3)
    for shape in ((3, 8), (0, 8), (5,)):
        assert aligned(shape, np.float64).ctypes.data % 64 == 0 or 0 in shape


def test_runs_without_loads_stay_at_rest() -> None:
    model = FullModel(box(MPI.COMM_SELF, P1), P1, time_grid(P1))
    ensemble = Ensemble(model.stepper, 2)  # type: ignore[arg-type]
    empty: Any = np.empty(0, np.int32)
    loads = Loads(empty, empty, empty, np.empty(0), np.zeros((20, 1)), np.zeros(2))
    history = ensemble.run(20, loads=loads, selection=Selection(np.arange(5), np.arange(21)))
    assert history.shape == (8, 21, 5) and not history.any()


def test_what_cannot_be_compiled_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(compiled, "FLAGS", ["-this-is-no-flag"])
    compiled._module.cache_clear()
    with pytest.raises(CompileError, match="install a C compiler"):
        compiled_steps(MPI.COMM_SELF)
    place = tmp_path / "file"
    place.write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(place))
    with pytest.raises(CompileError, match="set XDG_CACHE_HOME"):
        compiled_steps(MPI.COMM_SELF)
    monkeypatch.undo()
    compiled._module.cache_clear()
    assert compiled_steps(MPI.COMM_SELF).lib is not None


def test_a_damaged_build_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    compiled._module.cache_clear()
    path = compiled._path()
    path.parent.mkdir()
    path.write_bytes(b"no library")
    with pytest.raises(CompileError, match="delete it, it is built again"):
        compiled_steps(MPI.COMM_SELF)
    compiled._module.cache_clear()
