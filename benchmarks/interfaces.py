"""Which interface condition errs less: the zone's error under perturbed boundary data, a finer zone, and a defect.

The reference problem (design section 4) with a sine source at omega = 4 pi. Every figure is the relative L2 error of
the displacement over all zone nodes and levels, rms of a few random perturbations. Serial:

    ./run python3 benchmarks/interfaces.py
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

from solvers.gamma.condition import condition_named
from solvers.gamma.trace import Trace
from solvers.mesh.domain import Defect, Domain, box_domain, refined_zone_box, with_defect
from solvers.problems.full import FullModel, FullRun
from solvers.problems.zone import ZoneModel
from solvers.space.assembly import Discretization
from solvers.time.grid import TimeGrid
from solvers.time.signals import PointSource, Sine

RESULTS = Path(__file__).parent / "results" / "interfaces.json"
HOW = Discretization()
SOURCE = PointSource((0.513, 0.621), Sine(4.0 * np.pi))
LOWER, UPPER, NUM_CELLS = (-0.25, -0.25), (0.25, 0.25), 32
DEFECT = Defect((0.02, -0.03), 0.1, 0.5)
DT = 2.0 / 255.0
NUM_SEEDS = 5
LEVEL = 0.01

Perturbation = Callable[[Trace, np.random.Generator], Trace]


def grid(final: float) -> TimeGrid:
    """The reference time step up to another final time."""
    num_steps = round(final / DT)
    return TimeGrid(num_steps * DT, num_steps + 1)


def domain() -> Domain:
    """The reference problem's domain."""
    return box_domain(
        MPI.COMM_SELF, (-1.0, -1.0), (1.0, 1.0), (128, 128), LOWER, UPPER, cell="triangle", speed=1.0
    )


@cache
def full_run(final: float, defect: bool) -> tuple[NDArray[np.float64], FullRun]:
    """A full run, with or without the defect, and its zone nodes."""
    mesh = with_defect(domain(), DEFECT) if defect else domain()
    model = FullModel(mesh, HOW, grid(final))
    run = model.run(SOURCE)
    if run is None:
        raise RuntimeError("run this benchmark on one rank")
    return model.zone_points, run


@cache
def zone_model(
    final: float, condition: str, alpha: float | None = None, factor: int = 1, defect: bool = False
) -> ZoneModel:
    """The zone, as fine as asked for."""
    cells = (NUM_CELLS * factor, NUM_CELLS * factor)
    mesh = refined_zone_box(MPI.COMM_SELF, LOWER, UPPER, cells, cell="triangle", speed=1.0)
    return ZoneModel(
        mesh, HOW, grid(final), condition=condition_named(condition, alpha=alpha), defect=DEFECT if defect else None
    )


def zoomed(zone: ZoneModel, trace: Trace, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Displacement of a zone run at the full model's zone nodes."""
    u = zone.at(zone.run(trace).displacement, points)
    if u is None:
        raise RuntimeError("run this benchmark on one rank")
    return u


def exact(trace: Trace, rng: np.random.Generator) -> Trace:
    """No perturbation."""
    return trace


def white(trace: Trace, rng: np.random.Generator) -> Trace:
    """Independent noise at every node and level, one per cent of each field's rms."""

    def noisy(field: NDArray[np.float64]) -> NDArray[np.float64]:
        return field + LEVEL * _rms(field) * rng.standard_normal(field.shape)

    return _each_field(trace, noisy)


def smooth(trace: Trace, rng: np.random.Generator) -> Trace:
    """An error as a network makes it: a few waves along Γ and in time, one per cent rms, different in each field."""
    length = trace.gamma.weights.sum()

    def noisy(field: NDArray[np.float64]) -> NDArray[np.float64]:
        error = np.zeros_like(field)
        for _ in range(40):
            along = 2.0 * np.pi * rng.integers(0, 7) / length
            omega = rng.uniform(0.0, 8.0 * np.pi)
            phase = rng.uniform(0.0, 2.0 * np.pi, 2)
            error += np.outer(
                np.sin(omega * trace.times + phase[0]), np.cos(along * trace.gamma.axis() + phase[1])
            )
        return field + LEVEL * _rms(field) / _rms(error) * error

    return _each_field(trace, noisy)


def worse_load(trace: Trace, rng: np.random.Generator) -> Trace:
    """The smooth error, five times as large in the load, which is the hardest field to learn."""
    perturbed = smooth(trace, rng)
    if trace.load is None or perturbed.load is None:
        return perturbed
    return replace(perturbed, load=trace.load + 5.0 * (perturbed.load - trace.load))


def resonant(trace: Trace, rng: np.random.Generator) -> Trace:
    """A tone at the closed zone's lowest eigenfrequency, the same along Γ, one per cent rms in each field."""
    omega = np.pi * np.sqrt(2.0) / (UPPER[0] - LOWER[0])
    phase = rng.uniform(0.0, 2.0 * np.pi)

    def noisy(field: NDArray[np.float64]) -> NDArray[np.float64]:
        tone = np.sqrt(2.0) * np.sin(omega * trace.times + phase)
        return field + LEVEL * _rms(field) * tone[:, None]

    return _each_field(trace, noisy)


def zone_error(
    final: float,
    condition: str,
    perturbation: Perturbation,
    *,
    alpha: float | None = None,
    factor: int = 1,
) -> float:
    """Relative L2 error of the zone, rms over the seeds."""
    points, run = full_run(final, False)
    zone = zone_model(final, condition, alpha, factor)
    truth = run.displacement
    if truth is None:
        raise RuntimeError("the full run recorded no fields")
    errors = []
    for seed in range(1 if perturbation is exact else NUM_SEEDS):
        u = zoomed(zone, perturbation(run.trace, np.random.default_rng(seed)), points)
        errors.append(np.linalg.norm(u - truth) / np.linalg.norm(truth))
    return _rms(np.array(errors))


def defect_error(final: float, condition: str, *, alpha: float | None = None) -> float:
    """Error of a zone with a defect under data from the model without it, relative to the scattered field."""
    points, without = full_run(final, False)
    truth, plain = full_run(final, True)[1].displacement, without.displacement
    if truth is None or plain is None:
        raise RuntimeError("the full run recorded no fields")
    u = zoomed(zone_model(final, condition, alpha, defect=True), without.trace, points)
    return float(np.linalg.norm(u - truth) / np.linalg.norm(truth - plain))


def measure() -> dict[str, dict[str, float]]:
    """Rows of the table: what was done to the data, and the error for each condition and final time."""
    cases: dict[str, Callable[[float, str], float]] = {
        "recorded trace": lambda final, c: zone_error(final, c, exact),
        "1 % white error": lambda final, c: zone_error(final, c, white),
        "1 % smooth error": lambda final, c: zone_error(final, c, smooth),
        "1 % smooth error, 5 % in the load": lambda final, c: zone_error(final, c, worse_load),
        "1 % resonant tone": lambda final, c: zone_error(final, c, resonant),
        "zone refined by 2": lambda final, c: zone_error(final, c, exact, factor=2),
        "zone refined by 2, 1 % smooth error": lambda final, c: zone_error(final, c, smooth, factor=2),
        "defect (of the scattered field)": lambda final, c: defect_error(final, c),
    }
    return {
        name: {
            f"{condition}, T = {final:g}": error(final, condition)
            for condition in ("dirichlet", "impedance")
            for final in (2.0, 10.0)
        }
        for name, error in cases.items()
    }


def sweep() -> dict[str, dict[str, float]]:
    """The impedance condition's errors for several alpha, T = 10."""
    return {
        f"alpha = {alpha:g}": {
            "1 % white": zone_error(10.0, "impedance", white, alpha=alpha),
            "1 % smooth": zone_error(10.0, "impedance", smooth, alpha=alpha),
            "defect, T = 2": defect_error(2.0, "impedance", alpha=alpha),
        }
        for alpha in (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
    }


def table(rows: dict[str, dict[str, float]]) -> str:
    """A Markdown table of percentages."""
    columns = list(next(iter(rows.values())))
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, row in rows.items():
        lines.append(f"| {name} | " + " | ".join(f"{100 * row[column]:.2g} %" for column in columns) + " |")
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, default=RESULTS, help="where the figures go")
    path = parser.parse_args().json
    conditions, alphas = measure(), sweep()
    print(table(conditions), table(alphas), sep="\n\n")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"conditions": conditions, "alpha": alphas}, indent=1) + "\n")


def _each_field(trace: Trace, change: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Trace:
    load = None if trace.load is None else change(trace.load)
    return replace(trace, displacement=change(trace.displacement), velocity=change(trace.velocity), load=load)


def _rms(values: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(values**2)))


if __name__ == "__main__":
    main()
