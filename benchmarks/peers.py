"""Our step of the full problem beside NGSolve, scikit-fem, devito and deepwave, side by side on one core.

Installs nothing: peers that are missing are named and left out. A place for them outside the checkout is

    ./run python3 -m venv --system-site-packages PEERS
    ./run PEERS/bin/pip install ngsolve scikit-fem devito
    ./run PEERS/bin/pip install --no-deps deepwave
    ./run PEERS/bin/python benchmarks/peers.py

where deepwave takes the torch that is there. All codes are timed in turn; set-up drops out, as a step's time is the
difference between a long and a short run. Before that, their fields are compared.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import peer_codes
from measure import Claim, Report, Table, least
from mpi4py import MPI
from numpy.typing import NDArray
from peer_codes import FIVE_POINTS, MAX_STEPS, NINE_POINTS, Code, Problem

from solvers.batch.ensemble import Ensemble, Selection
from solvers.batch.in_turn import Input
from solvers.mesh.domain import box_domain
from solvers.problems.full import FullModel
from solvers.problems.loads import NodalLoad, loads_of_runs
from solvers.space.assembly import Discretization
from solvers.stepping.schemes import CentralDifference, march
from solvers.time.grid import TimeGrid

PEERS: dict[str, tuple[str, Callable[[Problem], list[Code]], str]] = {
    # name on the package index: module, how it is set up, options of pip
    "ngsolve": ("ngsolve", peer_codes.ngsolve, ""),
    "scikit-fem": ("skfem", peer_codes.scikit_fem, ""),
    "devito": ("devito", peer_codes.devito, ""),
    "deepwave": ("deepwave", peer_codes.deepwave, "--no-deps "),
}
CHECKED_SIZE, CHECKED_STEPS = 129, 320
MOVED = "moved nodes"
MATRIX = ", assembled matrix"  # how the names of our codes end that look for no stencil
SWEEPS = 128
# of the largest value. Codes of the same stencil differ by round-off, 1e-16 or 6e-8 a step, which adds up over the
# steps. Nine points, order 4, differ by the dispersion of both, most near the kink of the wave front; moved nodes by
# the interpolation to where they were, a tenth of h.
TOLERANCES = {"float64": 1e-11, "float32": 1e-4, NINE_POINTS: 0.1, MOVED: 0.05}


def ours(problem: Problem) -> list[Code]:
    """Our own steppers on the assembled matrix of the triangles: PETSc's product, and the compiled ensemble.

    Right angles leave five entries a row. With its nodes moved the same mesh has seven, as any other would.
    """
    model, moved = _model(problem), _model(problem, moved=0.1)
    dtypes = ("float64", "float32")
    cases = [(dtype, num_runs) for dtype in dtypes for num_runs in (1, 16)]
    stencils = [_ensemble(problem, model, num_runs, dtype) for dtype, num_runs in cases]
    matrices = [_ensemble(problem, model, num_runs, dtype, stencils=False) for dtype, num_runs in cases]
    general = [_ensemble(problem, moved, 16, dtype, scheme=MOVED) for dtype in dtypes]
    return [_petsc(problem, model, 0), *stencils, *matrices, *general]


def _petsc(problem: Problem, model: FullModel, sample: int) -> Code:
    """One sample with PETSc's product, the simple step that the ensemble is tested against."""
    points, stepper = model.V.tabulate_dof_coordinates()[:, :2], model.stepper
    drive = Input(stepper, loads_of_runs(stepper, [[_load(problem, model, sample, MAX_STEPS)]]))

    def run(num_steps: int) -> NDArray[np.float64]:
        for _, state in march(stepper, drive, num_steps):
            last = state
        u = np.empty_like(last)
        u[stepper.order] = last
        return u[:, None]

    return Code("ours", "fused matrix, PETSc", "float64", 1, run, partial(problem.nodal, points))


def _ensemble(
    problem: Problem,
    model: FullModel,
    num_runs: int,
    dtype: str,
    *,
    scheme: str = FIVE_POINTS,
    stencils: bool = True,
) -> Code:
    """As many samples as there are lanes with the compiled step; the last level is recorded.

    As it comes it finds rows that repeat, and steps them as a stencil; else it reads the assembled matrix.
    """
    stepper = cast(CentralDifference, model.stepper)  # that of the default discretisation
    ensemble = Ensemble(stepper, num_runs, dtype, stencils=stencils)
    points = model.V.tabulate_dof_coordinates()[ensemble.order, :2]
    history = np.empty((ensemble.lanes, 1, len(points)), dtype=dtype)

    def run(num_steps: int) -> NDArray[np.floating]:
        slots = np.full(num_steps + 1, -1)
        slots[num_steps] = 0
        loads = [[_load(problem, model, sample, num_steps)] for sample in range(ensemble.lanes)]
        recorded = Selection(np.arange(len(points)), slots)
        ensemble.run(num_steps, loads=loads_of_runs(stepper, loads), selection=recorded, history=history)
        return history[:, 0].T

    what = f"compiled, {ensemble.lanes} lane{'s' if ensemble.lanes > 1 else ''}, {dtype}"
    what += "" if scheme == FIVE_POINTS else f", {scheme}"
    what += "" if stencils else MATRIX
    return Code("ours", what, dtype, ensemble.lanes, run, partial(problem.nodal, points), scheme)


def _load(problem: Problem, model: FullModel, sample: int, num_steps: int) -> NodalLoad:
    i, j = problem.source(sample)
    place = (problem.coordinates[i], problem.coordinates[j])
    return NodalLoad(*model.evaluator.load(place), problem.signal(num_steps))


def _model(problem: Problem, moved: float = 0.0) -> FullModel:
    """The square, its inner nodes moved by up to that part of h."""
    num_cells = (problem.num_cells, problem.num_cells)
    square, zone = ((-1.0, -1.0), (1.0, 1.0)), ((-0.25, -0.25), (0.25, 0.25))
    domain = box_domain(MPI.COMM_SELF, *square, num_cells, *zone, cell="triangle", speed=1.0)
    x = domain.mesh.geometry.x
    inner = np.all(np.abs(x[:, :2]) < 1.0 - 0.5 * problem.h, axis=1)
    x[inner, :2] += moved * problem.h * np.random.default_rng(0).uniform(-1.0, 1.0, (inner.sum(), 2))
    return FullModel(domain, Discretization(), TimeGrid(MAX_STEPS * problem.dt, MAX_STEPS + 1))


def present(report: Report) -> list[str]:
    """The peers that can be imported; says how to get the others."""
    found = []
    for name, (module, _, options) in PEERS.items():
        if importlib.util.find_spec(module) is None:
            report.note(f"{name} is missing, and so are its claims: pip install {options}{name} in a venv (see --help)")
        else:
            found.append(name)
    return found


def set_up(problem: Problem, names: Sequence[str]) -> list[Code]:
    """Ours and the peers' codes for a problem."""
    return [*ours(problem), *(code for name in names for code in PEERS[name][1](problem))]


def check(names: Sequence[str], report: Report) -> None:
    """See that all codes compute the same wave, in every sample."""
    problem = Problem(CHECKED_SIZE)
    codes = set_up(problem, names)
    references = simple_fields(problem, max(code.num_samples for code in codes))
    rows: list[list[str | float | int]] = []
    for code in codes:
        difference = compare(code, references[: code.num_samples])
        rows.append([code.name, code.num_samples, code.dtype, difference, tolerance_of(code)])
    columns = ("code", "samples", "dtype", "largest difference from ours, of the largest value", "tolerance")
    report.table(Table(f"Fields at {CHECKED_SIZE}^2 nodes after {CHECKED_STEPS} steps", columns, rows))


def simple_fields(problem: Problem, num_samples: int) -> NDArray[np.float64]:
    """u of the simple step after CHECKED_STEPS steps, shape ``(num_samples, N, N)``."""
    model = _model(problem)
    singles = [_petsc(problem, model, sample) for sample in range(num_samples)]
    return np.concatenate([single.on_grid(single.march(CHECKED_STEPS)) for single in singles])


def compare(code: Code, expected: NDArray[np.float64]) -> float:
    """The largest difference of a code's fields from those expected, as a part of their largest value.

    Args:
        code: the code.
        expected: `simple_fields` of its samples.

    Raises:
        ValueError: If it is more than the code's scheme explains.
    """
    fields = code.on_grid(code.march(CHECKED_STEPS))
    difference = float(np.abs(fields - expected).max() / np.abs(expected).max())
    if not difference <= tolerance_of(code):
        raise ValueError(
            f"{code.name} differs by {difference:.2g} of the largest value after {CHECKED_STEPS} steps, more than "
            f"{tolerance_of(code):g}: see that it is set up for the same problem before its time counts"
        )
    return difference


def tolerance_of(code: Code) -> float:
    """What a code may differ by."""
    return TOLERANCES[code.dtype if code.scheme == FIVE_POINTS else code.scheme]


def microseconds(codes: Sequence[Code], *, seconds: float, repeats: int) -> dict[str, float]:
    """Least time of each code a sample and step.

    Args:
        codes: timed in turn.
        seconds: of the long run of each; the short one takes a quarter of its steps.
        repeats: rounds.
    """
    steps = {}
    for code in codes:
        code.march(8)
        starts = [time.perf_counter()]
        for num_steps in (8, 24):
            code.march(num_steps)
            starts.append(time.perf_counter())
        rate = max(starts[2] - 2.0 * starts[1] + starts[0], 1e-5) / 16.0
        wanted = seconds / rate
        # ours goes by sweeps of 16 steps: both runs take whole ones, where that does not last too long
        steps[code.name] = max(int(wanted), 16) if wanted < SWEEPS / 2 else SWEEPS * round(wanted / SWEEPS + 0.5)
        steps[code.name] = min(steps[code.name], MAX_STEPS)
    runs = {
        f"{code.name}, {part}": partial(code.march, steps[code.name] // part) for code in codes for part in (1, 4)
    }
    best = least(runs, repeats=repeats)
    times = {}
    for code in codes:
        num_steps = steps[code.name] - steps[code.name] // 4
        difference = best[f"{code.name}, 1"] - best[f"{code.name}, 4"]
        times[code.name] = difference / num_steps / code.num_samples * 1e6
    return times


def claims(codes: Sequence[Code], times: dict[str, float], size: int, report: Report) -> None:
    """Hold ours against each peer that is there, by the fastest of its formulations. Targets are set for 513^2."""

    def timed(
        library: str, dtype: str, most_samples: int = MAX_STEPS, scheme: str = FIVE_POINTS, ending: str = ""
    ) -> list[float]:
        wanted = (library, dtype, scheme)
        among = [code for code in codes if (code.library, code.dtype, code.scheme) == wanted]
        among = [code for code in among if code.name.endswith(ending)]
        return [times[code.name] for code in among if code.num_samples <= most_samples]

    def claim(what: str, measured: float, target: float | None, at_least: bool = True) -> None:
        report.claim(Claim(f"{what}, {size}^2", measured, target if size == 513 else None, at_least=at_least))

    mine, single = min(timed("ours", "float64", ending=MATRIX)), min(timed("ours", "float32"))
    matrix = min(timed("ours", "float32", ending=MATRIX))
    general = min(timed("ours", "float32", scheme=MOVED))
    for library, target in (("ngsolve", 2.0), ("scikit-fem", 3.0)):
        if theirs := timed(library, "float64", 1):
            what = f"{library} one sample at a time, its time over ours, assembled matrix, float64"
            claim(what, min(theirs) / mine, target)
        if theirs := timed(library, "float64"):
            what = f"{library} at its fastest, samples at once, its time over ours, assembled matrix, float64"
            claim(what, min(theirs) / mine, target)
    if theirs := timed("deepwave", "float32"):
        claim("deepwave's time over ours, float32", min(theirs) / single, 1.0)
        claim("deepwave's time over ours with the assembled matrix, float32", min(theirs) / matrix, None)
        claim("deepwave's time over ours on a mesh of moved nodes, float32", min(theirs) / general, None)
    if theirs := timed("devito", "float32"):
        claim("our time over devito's, float32", single / min(theirs), 1.3, at_least=False)
        claim("our time with the assembled matrix over devito's, float32", matrix / min(theirs), None, at_least=False)
        claim("our time on a mesh of moved nodes over devito's, float32", general / min(theirs), None, at_least=False)


def main() -> None:
    """Command line."""
    if os.environ.get("OMP_NUM_THREADS") != "1":  # read when libraries are loaded, so it has to stand before them
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "OMP_NUM_THREADS": "1"})
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="where the JSON file goes")
    parser.add_argument("--quick", action="store_true", help="fewer repeats and the smaller size only")
    arguments = parser.parse_args()
    report = Report("peers", "./run PEERS/bin/python benchmarks/peers.py")
    names = present(report)
    check(names, report)
    sizes = (129,) if arguments.quick else (129, 513)
    figures: dict[str, list[float]] = {}
    for size in sizes:
        codes = set_up(Problem(size), names)
        seconds, repeats = (0.05, 3) if arguments.quick else ((0.04, 10) if size < 200 else (0.1, 8))
        times = microseconds(codes, seconds=seconds, repeats=repeats)
        for code in codes:
            figures.setdefault(code.name, []).append(times[code.name])
    rows: list[list[str | float | int]] = [
        [code.name, code.dtype, code.num_samples, *figures[code.name]] for code in codes
    ]
    columns = ("code", "dtype", "samples at once", *(f"{size}^2" for size in sizes))
    report.table(Table("Microseconds a sample and step, one core", columns, rows))
    claims(codes, times, sizes[-1], report)
    if names:
        report.note("versions: " + ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names))
    print(report.write(arguments.output))


if __name__ == "__main__":
    main()
