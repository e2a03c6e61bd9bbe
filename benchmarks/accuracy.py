"""How accurate the solvers are: exact replay, observed orders, and a point source in a square against its images.

The oracles are those of the tests (tests/test_solvers_wave.py, tests/solver_problems.py); here they print what they
measure, on the reference grid. Serial:

    ./run python3 benchmarks/accuracy.py
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import numpy as np
from mpi4py import MPI

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import solver_problems as toys
import test_solvers_wave as wave

from solvers.gamma.condition import condition_named
from solvers.mesh.domain import zone_submesh
from solvers.problems.full import FullModel
from solvers.problems.zone import ZoneModel
from solvers.space.assembly import Discretization
from solvers.time.grid import TimeGrid
from solvers.time.signals import PointSource, Sine

RESULTS = Path(__file__).parent / "results" / "accuracy.json"


def replay() -> dict[str, float]:
    """Relative L2 error of displacement (and velocity) in the zone, fed with the recorded float64 trace."""
    errors = {}
    for name, discretization in toys.METHODS.items():
        num_cells, num_levels = (
            (128, 256) if discretization.degree == 1 else (128 // discretization.degree // 8 * 8, 1025)
        )
        model = FullModel(toys.box(MPI.COMM_SELF, discretization, num_cells), discretization, TimeGrid(2.0, num_levels))
        trace, truth = toys.run_full(model, PointSource((0.513, 0.621), Sine(4.0 * np.pi)))
        for condition in ("dirichlet", "impedance"):
            zone = ZoneModel(
                zone_submesh(model.domain), discretization, model.time, condition=condition_named(condition)
            )
            u, v = toys.zone_errors(zone, trace, model.zone_points, truth)
            errors[f"{name}, {condition}, displacement"] = u
            errors[f"{name}, {condition}, velocity"] = v
    return errors


def orders() -> dict[str, float]:
    """Observed orders of the L2 error of a standing wave."""
    found = {}
    for discretization, cells in wave.SPACE_CASES:
        errors = [
            wave.standing_wave_error(discretization, n, wave.steps_for(discretization, n, cells[0])) for n in cells
        ]
        found[f"space, {discretization.element} degree {discretization.degree}, {discretization.stepper}"] = (
            wave.observed_order(1.0 / np.array(cells), errors)
        )
    for stepper, steps in wave.TIME_CASES.items():
        discretization = Discretization("gll", 7, stepper)
        errors = [wave.standing_wave_error(discretization, 3, k) for k in steps]
        found[f"time, {stepper}"] = wave.observed_order(1.0 / np.array(steps), errors)
    return found


def images() -> dict[str, float]:
    """Relative L2 error of P1 runs in the zone, for three grids and frequencies."""
    return {
        f"omega = {omega:g} pi, {n + 1} x {n + 1}": wave.image_error(n, levels, omega * np.pi)
        for omega in (2.0, 4.0, 6.0)
        for n, levels in ((64, 128), (128, 256), (256, 511))
    }


def single() -> dict[str, float]:
    """Relative L2 difference of float32 steps from float64 ones on the reference problem, over the trace."""
    model = FullModel(toys.box(MPI.COMM_SELF, toys.P1, 128), toys.P1, TimeGrid(2.0, 256))
    sources = [PointSource((0.513, 0.621), Sine(omega * np.pi)) for omega in (2.0, 4.0, 6.0)]
    found: dict[str, float] = {}
    double, rounded = model.run_many(sources) or [], model.run_many(sources, dtype=np.float32) or []
    for source, a, b in zip(sources, double, rounded, strict=True):
        for name in ("displacement", "velocity", "load"):
            error = toys.relative_l2(getattr(b.trace, name), getattr(a.trace, name))
            found[f"{name}, omega = {source.signal.highest_omega / np.pi:g} pi"] = error
    return found


def main() -> None:
    """Command line."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # coarse grids are meant
        results = {"replay": replay(), "orders": orders(), "images": images(), "single": single()}
    for name, figures in results.items():
        print(name)
        for what, value in figures.items():
            print(f"    {what:42s} {value:.3g}")
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
