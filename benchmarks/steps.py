"""What a time step costs: our fused step against less careful ones, and the zone's step against its bare product.

All versions are repeated in turn within one run and compared by their least times, so that a busy machine disturbs
the ratios little. Serial, one thread:

    OMP_NUM_THREADS=1 ./run python3 benchmarks/steps.py
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import ufl
from dolfinx import fem
from dolfinx.fem import petsc as fem_petsc
from mpi4py import MPI
from petsc4py import PETSc

from solvers.full import FullModel
from solvers.loads import NodalLoad, PointLoads
from solvers.mesh import box_domain, refined_zone_box
from solvers.operators import Discretization, assemble_mass, function_space, petsc_matrix
from solvers.points import PointEvaluator
from solvers.stepping import march
from solvers.time import TimeGrid
from solvers.trace import Trace
from solvers.zone import ZoneModel

RESULTS = Path(__file__).parent / "results" / "steps.json"
HOW = Discretization()
NUM_STEPS = 256
REPETITIONS = 40

Steps = Callable[[], object]


def full_versions(num_cells: int) -> dict[str, tuple[Steps, int]]:
    """Versions of the full problem's step, and how many steps each call takes."""
    domain = box_domain(
        MPI.COMM_SELF,
        (-1.0, -1.0),
        (1.0, 1.0),
        (num_cells, num_cells),
        (-0.25, -0.25),
        (0.25, 0.25),
        cell="triangle",
        speed=1.0,
    )
    grid = TimeGrid(NUM_STEPS * 1.0 / num_cells, NUM_STEPS + 1)
    model = FullModel(domain, HOW, grid)
    V = function_space(domain.mesh, HOW)
    dofs, weights = PointEvaluator(V).load((0.513, 0.621))
    signal = np.sin(5.0 * grid.times)
    drive = PointLoads(model.stepper, [NodalLoad(dofs, weights, signal)])

    def fused() -> None:
        for _ in march(model.stepper, drive, NUM_STEPS):
            pass

    u_h = fem.Function(V)
    test = ufl.TestFunction(V)
    stiffness = fem_petsc.assemble_matrix(
        fem.form(ufl.inner(ufl.grad(ufl.TrialFunction(V)), ufl.grad(test)) * ufl.dx)
    )
    stiffness.assemble()
    mass = assemble_mass(V, domain, HOW).diagonal()
    fixed = model.stepper.operators.fixed
    inverse_mass = stiffness.createVecLeft()
    inverse_mass.array[:] = grid.dt**2 / mass
    u, u_before, u_after, force, work = (stiffness.createVecLeft() for _ in range(5))

    def naive() -> None:
        """Product, load, scaling, sum and boundary condition, each a call of its own on full vectors."""
        nonlocal u, u_before, u_after
        u.set(0.0)
        u_before.set(0.0)
        for n in range(NUM_STEPS):
            stiffness.mult(u, work)
            force.set(0.0)
            force.array[dofs] = weights * signal[n]
            work.aypx(-1.0, force)
            u_after.pointwiseMult(inverse_mass, work)
            u_after.axpy(2.0, u)
            u_after.axpy(-1.0, u_before)
            u_after.array[fixed] = 0.0
            u_before, u, u_after = u, u_after, u_before

    action = fem.form(ufl.inner(ufl.grad(u_h), ufl.grad(test)) * ufl.dx)
    image = stiffness.createVecLeft()
    num_assembled = 8

    def assembled() -> None:
        """K u by assembling the form's action in each step."""
        for n in range(num_assembled):
            image.set(0.0)
            fem_petsc.assemble_vector(image, action)
            image.ghostUpdate(addv=PETSc.InsertMode.ADD, mode=PETSc.ScatterMode.REVERSE)
            image.array[dofs] -= weights * signal[n]
            u_h.x.array[:] -= grid.dt**2 / mass * image.array
            u_h.x.array[fixed] = 0.0

    return {
        "ours": (fused, NUM_STEPS),
        "naive calls": (naive, NUM_STEPS),
        "assemble_vector(action)": (assembled, num_assembled),
    }


def zone_versions(num_cells: int) -> dict[str, tuple[Steps, int]]:
    """The zone's step under both conditions, and the product that it cannot do without."""
    mesh = refined_zone_box(
        MPI.COMM_SELF, (-0.25, -0.25), (0.25, 0.25), (num_cells, num_cells), cell="triangle", speed=1.0
    )
    grid = TimeGrid(NUM_STEPS * 0.25 / num_cells, NUM_STEPS + 1)
    versions: dict[str, tuple[Steps, int]] = {}
    for condition in ("dirichlet", "impedance"):
        zone = ZoneModel(mesh, HOW, grid, interface=condition)
        shape = (NUM_STEPS + 1, zone.interface.num_nodes)
        data = zone.boundary_source(Trace(grid.times, zone.interface, *np.zeros((3, *shape))))
        drive = zone.drive(data)

        def steps(zone: ZoneModel = zone, drive: object = drive) -> None:
            for _ in march(zone.stepper, drive, NUM_STEPS):  # type: ignore[arg-type]
                pass

        def run(zone: ZoneModel = zone, data: object = data) -> None:
            zone.run(data)  # type: ignore[arg-type]

        versions[f"march, {condition}"] = (steps, NUM_STEPS)
        versions[f"run with recording, {condition}"] = (run, NUM_STEPS)
    matrix = petsc_matrix(zone.stepper.operators, zone.stepper.operators.stiffness)
    x, y = matrix.createVecs()

    def product() -> None:
        for _ in range(NUM_STEPS):
            matrix.multAdd(x, y, y)

    return {"multAdd alone": (product, NUM_STEPS), **versions}


def microseconds(versions: dict[str, tuple[Steps, int]]) -> dict[str, float]:
    """Least time of a step of each version, all repeated in turn."""
    best = dict.fromkeys(versions, np.inf)
    for _ in range(REPETITIONS):
        for name, (call, num_steps) in versions.items():
            start = time.perf_counter()
            call()
            best[name] = min(best[name], (time.perf_counter() - start) / num_steps * 1e6)
    return best


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, default=RESULTS, help="where the figures go")
    path = parser.parse_args().json
    results = {
        **{f"full {n + 1} x {n + 1}": microseconds(full_versions(n)) for n in (128, 256)},
        "zone 33 x 33": microseconds(zone_versions(32)),
    }
    for name, times in results.items():
        first, base = next(iter(times.items()))
        print(f"{name}: {first} {base:.1f} microseconds a step")
        for version, value in times.items():
            print(f"    {version:36s} {value / base:6.2f} times that")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
