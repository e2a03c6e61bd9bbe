"""Calibration: zone runs for samples that no training has seen, and what they say of a generator's error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

from networks.response.signal_response import LowPass
from solvers.gamma.condition import served
from solvers.gamma.trace import Trace
from submodel.case.case import Case
from submodel.case.excitation import signals_of
from submodel.case.sampling import Split
from submodel.data.dataset import Dataset
from submodel.data.manifest import DatasetError
from submodel.geometry.metrics import error_indicator
from submodel.predict.error_bound import COVERAGE, Training, Trust
from submodel.predict.error_model import FEW, num_sorted, rank_of
from submodel.predict.generator import Generator, RecordedTraces
from submodel.predict.signal_error import ResidualSpectrum, RunPowers
from submodel.solve import from_case as build
from submodel.validate.accumulator import ValidationAccumulator
from submodel.validate.compare import Clock, compare, predict

SPLIT: Split = "calibration"
SAME = 1e-9  # of the zone's width: sources that are nearer to each other are one
LOW_PASS = 0.8
"""Rate of the low-pass of spectra, in highest angular frequencies of the band."""
MOST_SOURCES = 1000  # of the training that a file keeps; more say nothing new of the density


@dataclass(frozen=True)
class Calibrated:
    """A finished calibration.

    Args:
        trust: What was stored.
        num_runs: Calibration samples.
        epsilon: Mean ε of the displacement after the zoom over these, by interface condition.
        bound: Mean bound over these.
    """

    trust: Trust
    num_runs: int
    epsilon: dict[str, float]
    bound: dict[str, float]


def calibrate(
    case: Case,
    dataset: Dataset,
    path: Path,
    comm: MPI.Comm,
    *,
    coverage: float = COVERAGE,
    device: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> Calibrated | None:
    """Run the zone for the calibration split under each interface condition, and store what comes of it in the file of
    the generator. Collective on comm.

    Args:
        case: The case.
        dataset: Holds the calibration split, with its fields in the zone.
        path: File of the generator, which is rewritten.
        comm: Communicator that shares the zone.
        coverage: Of the bounds.
        device: Where the network runs.
        progress: Called on the root with the runs done and their number.

    Returns:
        The calibration on the root, ``None`` elsewhere.

    Raises:
        CaseError: Dataset or generator belong to another case.
        CheckpointError: The file cannot be read.
        DatasetError: There is no calibration split, or it holds no fields.
        DivergenceError: A zone run diverged.
        ValueError: The runs are too few for the coverage.
    """
    from networks import checkpoint

    dataset.require_case(case)
    parameters = dataset.parameters(SPLIT)
    if not len(parameters):
        raise DatasetError(
            f"{dataset.path} has no calibration samples: generate it with --calibration 100, or put calibration = 100 "
            "among the parameters of the case"
        )
    rank_of(coverage, num_sorted(len(parameters)))  # too few runs are told before the work
    generated = Generator.load(path, case, device)
    recorded = RecordedTraces(dataset, SPLIT)
    predictions = predict(generated, parameters, comm, Clock())
    conditions = served({*generated.fields, "velocity"})
    epsilon: dict[str, Any] = {}
    for number, name in enumerate(conditions):
        errors = ValidationAccumulator()
        compare(
            build.zone_model(case, comm, condition=name),
            recorded,
            predictions,
            errors,
            clock=Clock(),
            progress=_shifted(progress, number, len(conditions)),
        )
        epsilon[name] = errors.epsilon
    calibrated, failure = None, None
    if comm.rank == 0:
        try:
            truth = [recorded.trace(index).displacement for index in range(len(parameters))]
            powers = run_powers(generated, parameters, [trace.displacement for trace in predictions], truth)
            calibrated = _calibrated(generated, parameters, epsilon, powers, coverage)
            checkpoint.update_metadata(path, {"trust": calibrated.trust.to_json()})
        except (ValueError, OSError) as error:
            failure = error
    message = comm.bcast(None if failure is None else str(failure))
    if message is not None:
        raise failure or ValueError(message)
    return calibrated


def calibrate_held_out(
    case: Case,
    generated: Generator,
    parameters: NDArray[np.float64],
    pairs: Sequence[tuple[Trace, Trace]],
    residuals: ResidualSpectrum,
    comm: MPI.Comm,
    *,
    coverage: float = COVERAGE,
    progress: Callable[[int, int], None] | None = None,
) -> Calibrated:
    """Calibration from runs that a generator was made with, each predicted by a fit without it. Collective on comm.

    The zone is run with the predicted and with the true trace; what is stored in a file is ``trust.to_json()``. The
    runs of a fit on all are a little better than those held out, so that the bound errs on the safe side.

    Args:
        case: The generator's, whose mesh is at hand.
        generated: The generator.
        parameters: Of the runs, shape (sample, axis).
        pairs: Predicted and true trace of each run; needed on every rank.
        residuals: Spectrum of the held-out residuals of the same or of other runs.
        comm: Communicator that shares the zone.
        coverage: Of the bounds.
        progress: Called on the root with the zone runs done and their number.

    Returns:
        The calibration, on every rank.

    Raises:
        DivergenceError: A zone run diverged.
        ValueError: The runs are too few for the coverage.
    """
    rank_of(coverage, len(pairs) if len(pairs) < FEW else num_sorted(len(pairs)))
    conditions = served({*generated.fields, "velocity"})
    epsilon: dict[str, NDArray[np.float64]] = {}
    for number, name in enumerate(conditions):
        zone, tell = build.zone_model(case, comm, condition=name), _shifted(progress, number, len(conditions))
        errors = np.empty(len(pairs))
        for index, pair in enumerate(pairs):
            predicted, true = (zone.gather(zone.run(trace).displacement) for trace in pair)
            if predicted is not None and true is not None:
                errors[index] = np.nanmean(error_indicator(predicted, true))
                if tell is not None:
                    tell(index + 1, len(pairs))
        epsilon[name] = comm.bcast(errors)
    return _calibrated(generated, parameters, epsilon, residuals, coverage)


def run_powers(
    generated: Generator,
    parameters: NDArray[np.float64],
    predicted: Sequence[NDArray[np.float64]],
    true: Sequence[NDArray[np.float64]],
) -> RunPowers:
    """Powers of runs with the case's signal, from predicted and true u on Γ, (level, node) each."""
    case, highest = generated.case, generated.band[1]
    low_pass = LowPass(LOW_PASS * highest, case.time.dt)
    return RunPowers.of_traces(predicted, true, signals_of(case, parameters), low_pass, highest)


def _calibrated(
    generated: Generator,
    parameters: NDArray[np.float64],
    epsilon: dict[str, NDArray[np.float64]],
    residuals: RunPowers | ResidualSpectrum,
    coverage: float,
) -> Calibrated:
    training, signals = training_of(generated.case, generated), signals_of(generated.case, parameters)
    trust = Trust.calibrate(training, parameters, epsilon, signals=signals, residuals=residuals, coverage=coverage)
    mean = {name: float(errors.mean()) for name, errors in epsilon.items()}
    bound = {name: float(trust.bound(parameters, name, signals=signals).mean()) for name in epsilon}
    return Calibrated(trust, len(parameters), mean, bound)


def training_of(case: Case, generated: Generator) -> Training:
    """Where a generator's training samples lie; where it folds by symmetries, each source stands for its images."""
    sources = case.parameters.sources(generated.file.parameters)
    images = getattr(generated.generator.spec, "images", None)
    every = np.concatenate([sources, *([] if images is None else images(sources))], dtype=np.float64)
    unit = SAME * float(np.ptp(generated.gamma.points, axis=0).max())
    distinct = every[np.unique(np.rint((every - every.min(axis=0)) / unit), axis=0, return_index=True)[1]]
    training = Training(case.parameters, distinct, generated.gamma.points)
    if len(distinct) <= MOST_SOURCES:
        return training
    chosen = np.linspace(0, len(distinct) - 1, MOST_SOURCES).astype(int)
    return replace(training, sources=np.random.default_rng(0).permutation(distinct)[chosen])


def _shifted(progress: Callable[[int, int], None] | None, number: int, parts: int) -> Callable[[int, int], None] | None:
    """Progress of one of several parts of equal length, as that of all."""
    if progress is None:
        return None
    tell = progress
    return lambda done, total: tell(number * total + done, parts * total)
