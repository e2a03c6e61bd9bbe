"""Steps of many runs at once against one run at a time in PETSc, and against what the memory gives.

All versions step the same model in turn, one core, sources and recording of the trace's dofs included, and the least
time of each counts. The limit is the bytes that a plain step must move at the triad bandwidth of the same footprint,
measured in the same run; a sweep of several steps reads memory once for all of them, and may pass it. Claims are for
the assembled matrix (CSR), as on any mesh; "stencils" is what a run takes by default, where rows repeat.

    OMP_NUM_THREADS=1 ./run python3 benchmarks/ensemble.py [--quick]
"""

from __future__ import annotations

import argparse
import runpy
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import ufl
from dolfinx import fem, la
from measure import Claim, Report, Table, least
from mpi4py import MPI

from solvers.batch.bandwidth import step_bytes, step_footprint, triad_bandwidth
from solvers.batch.ensemble import Ensemble, Selection
from solvers.batch.in_turn import Input
from solvers.mesh.domain import Domain, box_domain, gmsh_domain
from solvers.problems.full import FullModel
from solvers.problems.loads import NodalLoad, loads_of_runs
from solvers.space.assembly import Discretization, petsc_matrix
from solvers.space.stability import stable_dt
from solvers.stepping.schemes import CentralDifference
from solvers.time.grid import TimeGrid

COMMAND = "OMP_NUM_THREADS=1 ./run python3 benchmarks/ensemble.py"
P1, GLL3 = Discretization(), Discretization("gll", 3)
MESHES = Path(__file__).parent.parent / "meshes"
PLAIN = 1  # steps of a sweep
PLACES = ((0.513, 0.621), (-0.7, 0.31), (0.43, -0.77))


@dataclass(frozen=True)
class Version:
    """One way to step.

    Args:
        words: what the table calls it.
        runs: at once.
        dtype: of the numbers.
        depth: steps of a sweep, None for what is chosen.
        stencils: whether rows that are alike are stepped as such.
    """

    words: str
    runs: int
    dtype: type[np.floating]
    depth: int | None = None
    stencils: bool = False


VERSIONS = (
    Version("one run, float64", 1, np.float64),
    Version("one run, float32", 1, np.float32),
    Version("8 runs, float64", 8, np.float64),
    Version("16 runs, float32", 16, np.float32),
    Version("8 runs, float64, plain steps", 8, np.float64, PLAIN),
    Version("16 runs, float32, plain steps", 16, np.float32, PLAIN),
    Version("one run, float64, stencils", 1, np.float64, stencils=True),
    Version("8 runs, float64, stencils", 8, np.float64, stencils=True),
    Version("16 runs, float32, stencils", 16, np.float32, stencils=True),
)
BATCHES = {np.float64: VERSIONS[2], np.float32: VERSIONS[3]}
PETSC = "PETSc, one run"
SEPARATE, ASSEMBLED = "PETSc, a call for each operation", "assemble_vector of the form's action"
NUM_ASSEMBLED = 4  # steps, as they take long


def box(cells: int, how: Discretization) -> Domain:
    """The reference problem's square."""
    zone = ((-0.25, -0.25), (0.25, 0.25))
    return box_domain(
        MPI.COMM_SELF, (-1.0, -1.0), (1.0, 1.0), (cells, cells), *zone, cell=how.cell, speed=1.0
    )


def plate(size: float) -> Domain:
    """The plate with a hole and an inclusion, triangles of any shape."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plate.msh"
        runpy.run_path(str(MESHES / "generate.py"))["generate"](MESHES / "plate.geo", path, size=size, quads=False)
        speed = {"plate": 1.0, "inclusion": 0.5, "zone": 1.0, "zone-inclusion": 0.5}
        return gmsh_domain(MPI.COMM_SELF, path, speed=speed, zone=("zone", "zone-inclusion"))


def naive_versions(model: FullModel, load: NodalLoad, num_steps: int) -> dict[str, Callable[[], object]]:
    """The step as one would write it down: product, load, scaling, sum and boundary condition on full vectors."""
    V, stepper = model.V, model.stepper
    assembly, dt = stepper.assembly, stepper.dt
    stiffness = petsc_matrix(assembly, assembly.stiffness)
    fixed, mass = assembly.fixed, assembly.mass_diagonal
    u, before, after, force, work, inverse_mass = (stiffness.createVecLeft() for _ in range(6))
    inverse_mass.array[:] = dt**2 / mass

    def separate() -> None:
        nonlocal u, before, after
        u.set(0.0)
        before.set(0.0)
        for n in range(num_steps):
            stiffness.mult(u, work)
            force.set(0.0)
            force.array[load.dofs] = load.weights * load.samples[n]
            work.aypx(-1.0, force)
            after.pointwiseMult(inverse_mass, work)
            after.axpy(2.0, u)
            after.axpy(-1.0, before)
            after.array[fixed] = 0.0
            before, u, after = u, after, before

    u_h = fem.Function(V)
    action = fem.form(ufl.inner(ufl.grad(u_h), ufl.grad(ufl.TestFunction(V))) * ufl.dx)
    image = la.vector(V.dofmap.index_map, 1)

    def assembled() -> None:
        for n in range(NUM_ASSEMBLED):
            image.array[:] = 0.0
            fem.assemble_vector(image.array, action)
            image.array[load.dofs] -= load.weights * load.samples[n]
            u_h.x.array[:] -= dt**2 / mass * image.array
            u_h.x.array[fixed] = 0.0

    return {SEPARATE: separate, ASSEMBLED: assembled}


def measure(
    domain: Domain, how: Discretization, num_steps: int, repeats: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Microseconds per run and step of each version, and the share of the limit that it reaches, by version."""
    coarse = FullModel(domain, how, TimeGrid(1e-3, 11))
    dt = 0.7 * stable_dt(coarse.stepper.assembly)
    model = FullModel(domain, how, TimeGrid(dt * num_steps, num_steps + 1))
    stepper = model.stepper
    assert isinstance(stepper, CentralDifference)
    signal = np.sin(5.0 * model.time.times)
    loads = [[NodalLoad(*model.evaluator.load(PLACES[k % len(PLACES)]), signal)] for k in range(16)]
    strip = Selection(model._recorder.record(False).local, np.arange(num_steps + 1))
    calls: dict[str, Callable[[], object]] = {}
    drive = Input(stepper, loads_of_runs(stepper, [loads[0]]))

    def in_petsc() -> None:
        stepper.reset(None, None)
        for n in range(num_steps):
            stepper.step(drive, n)

    calls[PETSC] = in_petsc
    calls |= naive_versions(model, loads[0][0], num_steps)
    for version in VERSIONS:
        ensemble = Ensemble(stepper, version.runs, version.dtype, depth=version.depth, stencils=version.stencils)
        together = loads_of_runs(stepper, loads[: version.runs])

        def step(ensemble: Ensemble = ensemble, together: object = together) -> None:
            ensemble.run(num_steps, loads=together, selection=strip)  # type: ignore[arg-type]

        calls[version.words] = step
    best = least(calls, repeats=repeats)
    num_rows, num_entries = stepper.fused.matrix.shape[0], stepper.fused.matrix.nnz
    times, shares = {name: best[name] / num_steps * 1e6 for name in (PETSC, SEPARATE)}, {}
    times[ASSEMBLED] = best[ASSEMBLED] / NUM_ASSEMBLED * 1e6
    for version in VERSIONS:
        seconds = best[version.words] / num_steps
        times[version.words] = seconds / version.runs * 1e6
        size = (num_rows, num_entries, version.runs, np.dtype(version.dtype).itemsize)
        shares[version.words] = step_bytes(*size) / triad_bandwidth(step_footprint(*size)) / seconds
    return times, shares


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="JSON file; that of the repository by default")
    parser.add_argument("--quick", action="store_true", help="fewer repeats, no mesh above 513 x 513 nodes")
    asked = parser.parse_args()
    repeats = 3 if asked.quick else 7
    report = Report("ensemble", COMMAND)
    problems: list[tuple[str, Callable[[], Domain], Discretization, int]] = [
        ("129 x 129 nodes", lambda: box(128, P1), P1, 256),
        ("513 x 513 nodes", lambda: box(512, P1), P1, 64),
        ("1025 x 1025 nodes", lambda: box(1024, P1), P1, 32),
        ("unstructured plate, two speeds", lambda: plate(0.01), P1, 128),
        ("GLL degree 3, 49 x 49 cells", lambda: box(48, GLL3), GLL3, 128),
    ]
    rows: list[list[str | float | int]] = []
    found: dict[str, tuple[dict[str, float], dict[str, float]]] = {}
    for words, domain, how, num_steps in problems:
        if asked.quick and words.startswith("1025"):
            continue
        made = domain()
        times, shares = found[words] = measure(made, how, num_steps, repeats)
        for name, value in times.items():
            share = f"{100 * shares[name]:.0f} %" if name in shares else ""
            rows.append([words, name, value, times[PETSC] / value, share])
    for words, least_double, least_single in (("129 x 129 nodes", 4, 8), ("513 x 513 nodes", 3, 6)):
        times = found[words][0]
        for dtype, target in ((np.float64, least_double), (np.float32, least_single)):
            version = BATCHES[dtype].words
            ratio = times[PETSC] / times[version]
            report.claim(Claim(f"{words}, {version}: faster per run and step than one run in PETSc", ratio, target))
    for words, (_, shares) in found.items():
        if words.startswith(("513", "1025")):
            worst = 100 * min(shares[version.words] for version in BATCHES.values())
            what = f"{words}: of the triad's bandwidth, bytes of a plain step, slower batch"
            report.claim(Claim(what, worst, 60, "%"))
    report.table(
        Table(
            "Time of a step for each run",
            ["problem", "version", "us per run and step", "times faster than PETSc", "of the plain step's limit"],
            rows,
        )
    )
    report.write(asked.output)


if __name__ == "__main__":
    main()
