"""Validation: the zone is run for every sample of a split and compared with the full runs that the dataset holds."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

from solvers.compat import release
from solvers.full import FullModel
from solvers.source import PointSource
from solvers.trace import Trace
from solvers.zone import ZoneModel
from submodel import __version__, build
from submodel.boundary import Generated, Recorded, curve
from submodel.case import Case
from submodel.dataset import Dataset
from submodel.excitation import Excitation
from submodel.info import of_model
from submodel.sampling import Split
from submodel.scene import Scene, outlines
from submodel.validation import (
    Bounds,
    GeneratorInfo,
    Motion,
    MotionErrors,
    Overview,
    SampleTrace,
    Setting,
    TrainingHistory,
    ValidationAccumulator,
    ValidationResult,
)

REFERENCE_GRID_NOTE = (
    "Errors are against full FE on the same grid. The grid of 128 × 128 squares is itself off the wave equation: by "
    "0.37 % at ω = 2π, 1.5 % at 4π and 4.3 % at 6π (relative L2 against the method of images, docs/numerics.md)."
)


def validate(
    case: Case,
    dataset: Dataset,
    generated: Generated | None,
    *,
    comm: MPI.Comm,
    interface: str | None = None,
    split: Split = "test",
    commands: tuple[str, ...] = (),
    progress: Callable[[int, int], None] | None = None,
) -> ValidationResult | None:
    """Compare zoomed runs with full FE, on Γ before and in Ω' after the zoom. Collective on comm.

    Args:
        case: The case.
        dataset: Holds the truth.
        generated: Predicts the boundary data; ``None`` replays those of the dataset.
        comm: Communicator that shares the zone.
        interface: Interface condition, the case's by default.
        split: Which samples.
        commands: Command lines that reproduce the result, for the report.
        progress: Called on the root with the samples done and their number.

    Returns:
        The result on the root, ``None`` elsewhere.

    Raises:
        CaseError: Dataset or generator belong to another case, or lack what the interface condition needs.
        DatasetError: The split is empty, holds no fields, or is damaged.
        DivergenceError: A zone run diverged.
    """
    dataset.require_case(case)
    kind = case.interface.kind if interface is None else interface
    if generated is not None:
        generated.require(kind)
    recorded = Recorded(dataset, split)
    parameters = dataset.parameters(split)
    clock = Clock()
    with clock.measure("set-up of the zone"):
        model = build.zone_model(case, comm, interface=kind)
    predictions = predict(generated, parameters, comm, clock)
    errors = ValidationAccumulator()
    compare(model, recorded, predictions if generated is not None else None, errors, clock=clock, progress=progress)
    setting = Setting(
        case=case,
        dataset=dataset.path.name,
        split=split,
        boundary="recorded" if generated is None else "generator",
        interface=kind,
        generator=None if generated is None else generator_info(generated),
        training_parameters=_training_parameters(dataset, generated),
        grid_note=REFERENCE_GRID_NOTE if _is_reference_grid(case) else None,
        commands=commands,
        versions=_versions(generated is not None),
        elapsed=clock.seconds,
    )
    scene = Scene.of_case(case, curve(dataset.interface), dataset.zone_points)
    result = errors.result(setting, scene, dataset.times) if comm.rank == 0 else None
    if result is not None:
        median = result.median_index
        truth = recorded.trace(median).displacement
        shown = SampleTrace(median, predictions[median].displacement if predictions else truth, truth)
        result = replace(
            result, median=shown, bounds=None if generated is None else bounds(generated, parameters, kind)
        )
    worst = comm.bcast(result.worst.index if result is not None else None)
    overview = _overview(case, parameters[worst], comm)
    if result is None or overview is None:
        return None
    if not scene.domain_outline and overview.triangles is not None:
        scene = replace(scene, domain_outline=outlines(overview.points, overview.triangles))
    return replace(result, overview=overview, scene=scene)


def predict(generated: Generated | None, parameters: NDArray[np.float64], comm: MPI.Comm, clock: Clock) -> list[Trace]:
    """On the root the traces that a generator predicts, from one pass of the network; elsewhere none. Local."""
    if generated is None or comm.rank > 0 or not len(parameters):
        return []
    with clock.measure("network, all samples"):
        return generated.traces(parameters)


def compare(
    model: ZoneModel,
    recorded: Recorded,
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


def bounds(generated: Generated, parameters: NDArray[np.float64], interface: str) -> Bounds | None:
    """What a generator promised for some samples, if it was calibrated for the interface condition."""
    trust = generated.trust
    if trust is None or interface not in trust.models:
        return None
    return Bounds(trust.coverage, trust.bound(parameters, interface), trust.models[interface].num_runs)


def validate_excitations(
    case: Case,
    generated: Generated,
    excitations: Sequence[Excitation],
    *,
    comm: MPI.Comm,
    interface: str | None = None,
    refine: int = 1,
) -> list[tuple[MotionErrors, MotionErrors]] | None:
    """Compare zoomed runs with fresh full FE runs, for any sources and signals. Collective on comm.

    Args:
        case: The case.
        generated: Predicts the boundary data.
        excitations: What to run.
        comm: Communicator that shares domain and zone.
        interface: Interface condition, the case's by default.
        refine: How many cells each cell's edge of the zone is divided into; errors are taken at the nodes of Ω's mesh.

    Returns:
        On the root the errors of u and v on Γ before, and in Ω' after the zoom, of each excitation; ``None`` elsewhere.

    Raises:
        CaseError: The generator lacks what the interface condition needs, or does not know a signal.
        ValueError: A source lies in the zone or outside Ω.
        DivergenceError: A run diverged.
    """
    kind = case.interface.kind if interface is None else interface
    generated.require(kind)
    full, zone = build.full_model(case, comm), build.zone_model(case, comm, interface=kind, refine=refine)
    found = []
    for excitation in excitations:
        truth = _superposed(full, excitation)
        predicted = generated.playback(excitation).trace() if comm.rank == 0 else None
        trace: Trace = comm.bcast(predicted)
        run = zone.run(trace)
        u, v = zone.at(run.displacement, full.zone_points), zone.at(run.velocity, full.zone_points)
        if truth is not None and u is not None and v is not None:
            on_curve, in_zone = truth
            before = MotionErrors.between(Motion(trace.displacement, trace.velocity), on_curve)
            found.append((before, MotionErrors.between(Motion(u, v), in_zone)))
    return found if comm.rank == 0 else None


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


def _overview(case: Case, parameters: NDArray[np.float64], comm: MPI.Comm) -> Overview | None:
    """The full run of one sample at the last level, for the picture of the whole. Collective on comm."""
    omega, x, y = map(float, parameters)
    level = case.time.levels - 1
    model = build.full_model(case, comm)
    snapshot = model.snapshot(build.point_source(case, omega, x, y), level)
    return None if snapshot is None else Overview(level, snapshot.points, snapshot.values, snapshot.triangles)


def generator_info(generated: Generated) -> GeneratorInfo:
    """What the report says of a generator."""
    history = generated.metadata.get("history")
    return GeneratorInfo(
        name=generated.path.name,
        model=generated.generator.spec.model,
        num_parameters=generated.generator.num_parameters,
        fields=generated.fields,
        num_bytes=Path(generated.path).stat().st_size,
        details=tuple(of_model(generated.generator.spec).items()),
        history=None
        if not history
        else TrainingHistory(train=tuple(history["train"]), validation=tuple(history.get("validation", ()))),
    )


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


def _training_parameters(dataset: Dataset, generated: Generated | None) -> Any:
    if generated is None:
        return dataset.parameters("train") if dataset.num_samples("train") else None
    return np.asarray(generated.metadata["parameters"])


def _is_reference_grid(case: Case) -> bool:
    """Whether the figure of the method of images was measured for this grid."""
    said = case.physics()
    domain, how = said["domain"], said["discretization"]
    return (
        domain.get("cells") == [128, 128]
        and domain.get("lower") == [-1.0, -1.0]
        and domain.get("upper") == [1.0, 1.0]
        and (how["element"], how["stepper"]) == ("p1", "explicit")
    )


def _versions(with_torch: bool) -> dict[str, str]:
    versions = {
        "submodel": __version__,
        "Python": platform.python_version(),
        "DOLFINx": release(),
        "NumPy": np.__version__,
    }
    if with_torch:
        import torch

        versions["torch"] = torch.__version__
    return versions
