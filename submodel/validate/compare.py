"""Zoomed runs beside full FE: those of a dataset, or fresh ones for any sources and signals."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

from solvers.gamma.trace import Trace
from solvers.problems.full import FullModel
from solvers.problems.zone import ZoneModel
from solvers.time.signals import PointSource
from submodel.case.case import Case
from submodel.case.excitation import Excitation
from submodel.predict.generator import Generator, RecordedTraces
from submodel.solve import from_case as build
from submodel.validate.accumulator import ValidationAccumulator
from submodel.validate.result import Motion, MotionErrors


class Clock:
    """Adds up what took how long."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def measure(self, what: str) -> Iterator[None]:
        """Count the time spent within."""
        start = time.perf_counter()
        yield
        self.seconds[what] = self.seconds.get(what, 0.0) + time.perf_counter() - start


def predict(generated: Generator | None, parameters: NDArray[np.float64], comm: MPI.Comm, clock: Clock) -> list[Trace]:
    """On the root the traces that a generator predicts, from one pass of the network; elsewhere none. Local.

    Raises:
        CaseError: On every rank, if a source lies in the zone, on its boundary or outside the domain.
    """
    if generated is None or not len(parameters):
        return []
    generated.source_region.require(generated.case.parameters.sources(parameters))
    if comm.rank > 0:
        return []
    with clock.measure("network, all samples"):
        return generated.predict_vectors(parameters).traces()


def compare(
    model: ZoneModel,
    recorded: RecordedTraces,
    predictions: list[Trace] | None,
    errors: ValidationAccumulator,
    *,
    clock: Clock,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Run the zone for every sample of a split and take in its errors, on the root. Collective on the zone's comm.

    Args:
        model: The zone.
        recorded: The truth.
        predictions: On the root what drives the zone, elsewhere empty; ``None`` replays what was recorded.
        errors: Gathers the errors, on the root.
        clock: Adds up the time of the runs.
        progress: Called on the root with the samples done and their number.

    Raises:
        DatasetError: The split holds no fields, or is damaged.
        DivergenceError: A zone run diverged.
    """
    dataset, split, comm = recorded.dataset, recorded.split, model.zone.mesh.comm
    parameters = dataset.parameters(split)
    for index in range(len(parameters)):
        truth = recorded.trace(index)
        trace = truth if predictions is None else comm.bcast(predictions[index] if predictions else None)
        data = model.boundary_source(trace)
        with clock.measure("zone runs, all samples"):
            run = model.run(data)
        displacement = model.at(run.displacement, dataset.zone_points)
        velocity = model.at(run.velocity, dataset.zone_points)
        if displacement is None or velocity is None:
            continue
        errors.add(
            index,
            parameters[index],
            predicted=Motion(trace.displacement, trace.velocity),
            recorded=Motion(truth.displacement, truth.velocity),
            zoomed=Motion(displacement, velocity),
            full=Motion(*dataset.zone_fields(split, index)),
        )
        if progress is not None:
            progress(index + 1, len(parameters))


def validate_excitations(
    case: Case,
    generated: Generator,
    excitations: Sequence[Excitation],
    *,
    comm: MPI.Comm,
    condition: str | None = None,
    refine: int = 1,
) -> list[tuple[MotionErrors, MotionErrors]] | None:
    """Compare zoomed runs with fresh full FE runs, for any sources and signals. Collective on comm.

    Args:
        case: The case.
        generated: Predicts the boundary data.
        excitations: What to run.
        comm: Communicator that shares domain and zone.
        condition: Kind of interface condition, the case's by default.
        refine: How many cells each cell's edge of the zone is divided into; errors are taken at the nodes of Ω's mesh.

    Returns:
        On the root the errors of u and v on Γ before, and in Ω' after the zoom, of each excitation; ``None`` elsewhere.

    Raises:
        CaseError: The generator lacks what the interface condition needs, or does not know a signal.
        ValueError: A source lies in the zone or outside Ω.
        DivergenceError: A run diverged.
    """
    kind = case.interface.kind if condition is None else condition
    generated.require(kind)
    full, zone = build.full_model(case, comm), build.zone_model(case, comm, condition=kind, refine=refine)
    errors = []
    for excitation in excitations:
        truth = _superposed(full, excitation)
        predicted = generated.predict([excitation]).trace() if comm.rank == 0 else None
        trace: Trace = comm.bcast(predicted)
        run = zone.run(trace)
        u, v = zone.at(run.displacement, full.zone_points), zone.at(run.velocity, full.zone_points)
        if truth is not None and u is not None and v is not None:
            on_curve, in_zone = truth
            before = MotionErrors.between(Motion(trace.displacement, trace.velocity), on_curve)
            errors.append((before, MotionErrors.between(Motion(u, v), in_zone)))
    return errors if comm.rank == 0 else None


def _superposed(full: FullModel, excitation: Excitation) -> tuple[Motion, Motion] | None:
    """Full runs of all sources of an excitation, added: on Γ and in Ω'. Collective; on the root."""
    sums: list[NDArray[np.float64]] | None = None
    for position, signal in zip(excitation.sources, excitation.signals, strict=True):
        run = full.run(PointSource(position, signal))
        if run is None or run.displacement is None or run.velocity is None:
            continue
        fields = [run.trace.displacement, run.trace.velocity, run.displacement, run.velocity]
        sums = fields if sums is None else [a + b for a, b in zip(sums, fields, strict=True)]
    return None if sums is None else (Motion(sums[0], sums[1]), Motion(sums[2], sums[3]))
