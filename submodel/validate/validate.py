"""Validation: the zone is run for every sample of a split and compared with the full runs that the dataset holds."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

from solvers.mesh.compat import release
from submodel import __version__
from submodel.case.case import Case
from submodel.case.sampling import Split
from submodel.data.dataset import Dataset
from submodel.geometry.scene import Scene, outlines
from submodel.predict.generator import Generator, RecordedTraces
from submodel.solve import from_case as build
from submodel.validate.accumulator import ValidationAccumulator
from submodel.validate.compare import Clock, compare, predict
from submodel.validate.result import (
    Bounds,
    GeneratorInfo,
    Overview,
    SampleTrace,
    Setting,
    TrainingHistory,
    ValidationResult,
)

REFERENCE_GRID_NOTE = (
    "Errors are against full FE on the same grid. The grid of 128 × 128 squares is itself off the wave equation: by "
    "0.37 % at ω = 2π, 1.5 % at 4π and 4.3 % at 6π (relative L2 against the method of images, docs/numerics.md)."
)


def validate(
    case: Case,
    dataset: Dataset,
    generated: Generator | None,
    *,
    comm: MPI.Comm,
    condition: str | None = None,
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
        condition: Kind of interface condition, the case's by default.
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
    kind = case.interface.kind if condition is None else condition
    if generated is not None:
        generated.require(kind)
    recorded = RecordedTraces(dataset, split)
    parameters = dataset.parameters(split)
    clock = Clock()
    with clock.measure("set-up of the zone"):
        highest = max((case.signal(vector).highest_omega for vector in parameters), default=None)
        model = build.zone_model(case, comm, condition=kind, omega=highest)
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
    scene = Scene.of_case(case, dataset.gamma, dataset.zone_points, triangles=model.triangles())
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


def bounds(generated: Generator, parameters: NDArray[np.float64], condition: str) -> Bounds | None:
    """Bounds of some samples, where the generator was calibrated for the interface condition."""
    trust, values = generated.trust, generated.bounds(parameters, condition)
    if trust is None or values is None:
        return None
    model = trust.models[condition]
    expected = values / model.factor(trust.coverage) * float(np.mean(model.quotients))
    return Bounds(trust.coverage, values, expected, trust.basis(condition))


def _overview(case: Case, parameters: NDArray[np.float64], comm: MPI.Comm) -> Overview | None:
    """The full run of one sample at the last level, for the picture of the whole. Collective on comm."""
    level = case.time.levels - 1
    model = build.full_model(case, comm)
    snapshot = model.snapshot(build.point_source(case, parameters), level)
    return None if snapshot is None else Overview(level, snapshot.points, snapshot.values, snapshot.triangles)


def generator_info(generated: Generator) -> GeneratorInfo:
    """Facts of a generator for the report."""
    from networks import family

    training, reached = generated.file.training, generated.file.reached
    facts = family.of(generated.generator).facts(generated.generator.spec) | ({} if reached is None else reached.facts)
    return GeneratorInfo(
        name=generated.path.name,
        model=generated.generator.spec.model,
        num_parameters=generated.generator.num_parameters,
        fields=generated.fields,
        num_bytes=Path(generated.path).stat().st_size,
        details=tuple(facts.items()),
        history=None if training is None else TrainingHistory(train=training.train, validation=training.validation),
    )


def _training_parameters(dataset: Dataset, generated: Generator | None) -> Any:
    if generated is None:
        return dataset.parameters("train") if dataset.num_samples("train") else None
    return generated.file.parameters


def _is_reference_grid(case: Case) -> bool:
    """True for the grid that the figure of the method of images was measured for."""
    physics = case.physics()
    domain, scheme = physics["domain"], physics["discretization"]
    return (
        domain.get("cells") == [128, 128]
        and domain.get("lower") == [-1.0, -1.0]
        and domain.get("upper") == [1.0, 1.0]
        and (scheme["element"], scheme["stepper"]) == ("p1", "explicit")
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
