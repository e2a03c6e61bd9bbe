"""The zone's step against a C loop over the same matrix, and factorisations of Newmark's system.

The reference problem's zone (33 x 33 nodes, 256 levels, docs/numerics.md) is fed with boundary data that are there, in
turn by the product and by a loop written by hand, compiled with the same flags. Serial, one thread:

    OMP_NUM_THREADS=1 ./run python3 benchmarks/zone.py
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

import cffi
import numpy as np
from measure import Claim, Report, Table, least
from mpi4py import MPI
from numpy.typing import NDArray
from petsc4py import PETSc

from solvers.batch.ensemble import Ensemble, Selection
from solvers.batch.in_turn import Input
from solvers.batch.native_build import FLAGS
from solvers.gamma.condition import Impedance, condition_named
from solvers.gamma.datum import Steps
from solvers.mesh.domain import refined_zone_box
from solvers.problems.boundary_drives import OneRun
from solvers.problems.zone import ZoneModel
from solvers.space.assembly import Discretization, petsc_matrix
from solvers.stepping.direct_solver import factorised
from solvers.stepping.schemes import CentralDifference, march
from solvers.time.grid import TimeGrid

LOWER, UPPER = (-0.25, -0.25), (0.25, 0.25)
FINAL, NUM_LEVELS = 2.0, 256
SYSTEMS = (("p1", 1, 32), ("p1", 1, 64), ("p1", 1, 128), ("gll", 3, 42), ("p1", 1, 256))
"""Element, degree and cells along a side."""

DECLARATION = """
void loop(int64_t num_steps, int64_t num_rows, int64_t num_free, const int32_t *starts, const int32_t *columns,
          const double *values, const double *keep, const double *weight, const double *data, double *now,
          double *next, double *history);
"""
LOOP = """
#include <stdint.h>
#include <string.h>
void loop(int64_t num_steps, int64_t num_rows, int64_t num_free, const int32_t *restrict starts,
          const int32_t *restrict columns, const double *restrict values, const double *restrict keep,
          const double *restrict weight, const double *restrict data, double *now, double *next, double *history) {
    int64_t num_driven = num_rows - num_free;
    for (int64_t n = 0; n < num_steps; n++) {
        const double *restrict u = now;
        double *restrict v = next;
        for (int64_t i = 0; i < num_rows; i++) {
            double sum = i < num_free ? -v[i] : keep[i - num_free] * v[i];
            for (int32_t k = starts[i]; k < starts[i + 1]; k++) sum += values[k] * u[columns[k]];
            v[i] = sum;
        }
        if (weight) for (int64_t i = 0; i < num_driven; i++) v[num_free + i] += weight[i] * data[n * num_driven + i];
        else memcpy(v + num_free, data + n * num_driven, num_driven * sizeof *data);
        if (history) memcpy(history + n * num_rows, v, num_rows * sizeof *v);
        next = now;
        now = v;
    }
}
"""


class HandWritten:
    """The loop, over the matrix of a stepper, in its order of rows."""

    def __init__(self, stepper: CentralDifference, folder: str) -> None:
        ffi = cffi.FFI()
        ffi.cdef(DECLARATION)
        ffi.set_source("_hand_written", LOOP, extra_compile_args=FLAGS)
        path = ffi.compile(tmpdir=folder)
        loader = ExtensionFileLoader("_hand_written", path)
        spec = spec_from_loader("_hand_written", loader)
        if spec is None:
            raise ValueError(f"{path} is no module")
        module = module_from_spec(spec)
        loader.exec_module(module)
        self._loop, self._ffi = module.lib.loop, ffi
        fused, order = stepper.fused, stepper.order
        matrix = fused.matrix[order][:, order]
        matrix.sort_indices()
        driven = stepper.assembly.held
        ratio = np.ones(len(order)) if fused.ratio is None else fused.ratio
        weight = fused.load_weight[driven]
        self._sizes = len(order), len(order) - len(driven)
        self._matrix = (
            matrix.indptr.astype(np.int32),
            matrix.indices.astype(np.int32),
            matrix.data,
            -ratio[driven],
            weight if weight.any() else None,
        )
        self._levels = np.zeros((2, len(order)))

    def run(self, data: NDArray[np.float64], history: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """Steps from rest; the last level."""
        self._levels[:] = 0.0
        arrays = [*self._matrix, data, *self._levels, history]
        self._loop(len(data), *self._sizes, *map(self._pointer, arrays))
        return self._levels[len(data) % 2]

    def _pointer(self, array: NDArray[Any] | None) -> Any:
        if array is None:
            return self._ffi.NULL
        return self._ffi.cast("int32_t *" if array.dtype == np.int32 else "double *", array.ctypes.data)


def reference_zone(condition: str) -> ZoneModel:
    """The zone of the reference problem."""
    mesh = refined_zone_box(MPI.COMM_SELF, LOWER, UPPER, (32, 32), cell="triangle", speed=1.0)
    return ZoneModel(mesh, Discretization(), TimeGrid(FINAL, NUM_LEVELS), condition=condition_named(condition))


def step_versions(condition: str) -> tuple[ZoneModel, dict[str, Callable[[], object]]]:
    """The zone, and runs of it by each version on the same data."""
    zone = reference_zone(condition)
    if not isinstance(zone.stepper, CentralDifference):
        raise ValueError("the loop takes explicit steps only")
    angle = np.arange(zone.gamma.num_nodes) * (2.0 * np.pi / zone.gamma.num_nodes)
    time = np.arange(zone.num_steps)[:, None] * zone.time.dt
    array = np.ascontiguousarray(time * np.sin(12.0 * time + np.cos(angle)))
    data = Steps(array)
    stepping, plainly = Ensemble(zone.stepper, 1), Ensemble(zone.stepper, 1, stencils=False)
    nothing = Selection(np.empty(0, dtype=np.int64), np.full(zone.num_steps + 1, -1))
    history = np.empty((zone.num_steps, len(zone.stepper.order)))
    with tempfile.TemporaryDirectory() as folder:
        hand = HandWritten(zone.stepper, folder)
    last = zone.run(data).displacement[-1]  # one step before the end
    if np.abs(hand.run(array[:-1])[np.argsort(zone.stepper.order)] - last).max() > 1e-12 * np.abs(last).max():
        raise ValueError("the loop and the zone's run differ")

    def plain() -> None:
        for _ in march(zone.stepper, Input(zone.stepper, boundary=OneRun(data, zone.energy_bound)), zone.num_steps):
            pass

    return zone, {
        "C loop": lambda: hand.run(array),
        "C loop that records": lambda: hand.run(array, history),
        "steps": lambda: stepping.run(zone.num_steps, boundary=OneRun(data, zone.energy_bound), selection=nothing),
        "steps, rows by entries": lambda: plainly.run(
            zone.num_steps, boundary=OneRun(data, zone.energy_bound), selection=nothing
        ),
        "run": lambda: zone.run(data),
        "PETSc, step by step": plain,
    }


def measure_steps(report: Report, repeats: int) -> None:
    """Steps and whole runs of either condition."""
    rows: list[list[str | float]] = []
    for condition in ("dirichlet", "impedance"):
        zone, versions = step_versions(condition)
        best = least(versions, repeats=repeats)
        each = {name: 1e6 * seconds / zone.num_steps for name, seconds in best.items()}
        loop, keeping = each["C loop"], each["C loop that records"]
        rows += [[condition, name, value, value / loop] for name, value in each.items()]
        said = f"zone of 33 x 33 nodes, {condition}"
        whole = f"{said}: a run, all levels and velocities kept"
        entries = each["steps, rows by entries"]
        for claim in (
            Claim(f"{said}: a step over that of a C loop", each["steps"] / loop, 1.5, at_least=False),
            Claim(f"{said}: the same, all rows by their entries as in the loop", entries / loop, 1.5, at_least=False),
            Claim(f"{said}: its cost beyond the C loop then", entries - loop, 2.0, "us", at_least=False),
            Claim(f"{whole}, over a C loop that keeps nothing", each["run"] / loop, 1.5, at_least=False),
            Claim(f"{whole}, over a C loop that keeps the levels", each["run"] / keeping, at_least=False),
        ):
            report.claim(claim)
    report.table(Table("A step of the zone", ("condition", "version", "us a step", "over the C loop"), rows))


def measure_factorisations(report: Report, repeats: int) -> None:
    """Solves of Newmark's system by each package, over the one that is chosen."""
    rows: list[list[str | float | int]] = []
    for element, degree, cells in SYSTEMS:
        discretization = Discretization(element, degree, "newmark")
        mesh = refined_zone_box(MPI.COMM_SELF, LOWER, UPPER, (cells, cells), cell=discretization.cell, speed=1.0)
        zone = ZoneModel(mesh, discretization, TimeGrid(FINAL, NUM_LEVELS), condition=Impedance())
        assembly, dt = zone.stepper.assembly, zone.time.dt
        left = assembly.mass / dt**2 + assembly.damping / (2.0 * dt) + assembly.diagonal(0.25 * assembly.robin)
        matrix = petsc_matrix(assembly, (left + 0.25 * assembly.stiffness).tocsr(), zone.stepper.order)
        solvers = {
            "PETSc LU": _petsc_lu(matrix.copy()),
            "PETSc Cholesky": factorised(matrix.copy(), package="petsc"),
            "CHOLMOD": factorised(matrix.copy(), package="cholmod"),
            "chosen": factorised(matrix.copy()),
        }
        solution, right = matrix.createVecs()
        right.array[:] = np.sin(np.arange(len(right.array)))
        times = max(1, 20000 // len(right.array))

        versions = {name: partial(_solve, solver, right, solution, times) for name, solver in solvers.items()}
        best = least(versions, repeats=repeats)
        name = f"{element.upper()}, degree {degree}, {len(right.array)} dofs"
        ratios = [best[key] / best["CHOLMOD"] for key in ("PETSc LU", "PETSc Cholesky")]
        rows.append([name, *ratios, best["chosen"] / min(best[key] for key in solvers if key != "chosen")])
    report.table(
        Table(
            "Newmark: a solve with each factorisation",
            ("system", "PETSc LU / CHOLMOD", "PETSc Cholesky / CHOLMOD", "chosen / fastest"),
            rows,
        )
    )


def _solve(solver: PETSc.KSP, right: PETSc.Vec, solution: PETSc.Vec, times: int) -> None:
    for _ in range(times):
        solver.solve(right, solution)


def _petsc_lu(matrix: PETSc.Mat) -> PETSc.KSP:
    solver = PETSc.KSP().create(matrix.comm)
    solver.setOperators(matrix)
    solver.setType("preonly")
    solver.getPC().setType("lu")
    solver.getPC().setFactorOrdering("nd")
    solver.setUp()
    return solver


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="where the figures go; with the others by default")
    parser.add_argument("--quick", action="store_true", help="fewer repeats")
    options = parser.parse_args()
    report = Report("zone", "OMP_NUM_THREADS=1 ./run python3 benchmarks/zone.py")
    measure_steps(report, 20 if options.quick else 200)
    measure_factorisations(report, 3 if options.quick else 10)
    report.write(options.output)


if __name__ == "__main__":
    main()
