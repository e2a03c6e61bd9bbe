"""Forms of generators that a build weighs: the wave table and the operator generator, by the same runs held out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from networks.core.device import select_device
from networks.table.data import CrossData, Times
from networks.table.fit.metric import Responses
from networks.training.plan import Progress
from submodel.case.case import Case
from submodel.data.cross import CrossDataset
from submodel.data.generator_file import GeneratorFile, Reached, TrainingRecord
from submodel.learn import operator
from submodel.learn.budget import Length
from submodel.learn.held_out import Estimate
from submodel.learn.table import Made, floor_of
from submodel.learn.train import training_record, with_training
from submodel.studies.build.bound import HeldOut

Complex = NDArray[np.complexfloating]

LONGEST = 30.0
"""Seconds of a training of the operator generator, at most."""


@dataclass(frozen=True)
class Candidate:
    """A generator that could be what a build gives.

    Args:
        name: Of its family.
        generator: The network.
        reached: Its form and error.
        held_out: Runs that it has not seen, with its predictions.
        num_stored: Numbers that its file holds.
        errors: Of u on Γ of these runs, (run,), without what the number of frequencies leaves.
        training: How it was trained, if it was.
    """

    name: str
    generator: Any
    reached: Reached
    held_out: HeldOut
    num_stored: int
    errors: NDArray[np.float64]
    training: TrainingRecord | None = None

    @property
    def upper(self) -> float:
        """Mean error and its standard error."""
        return self.reached.error + self.reached.spread

    def words(self) -> str:
        """One line."""
        return f"{self.reached.form}: {self.reached.words()}"

    def file(self, document: GeneratorFile, lines: tuple[str, ...], **making: Any) -> GeneratorFile:
        """Its file's document, with what else is to be said of its making."""
        reached = replace(self.reached, lines=(*lines, *self.reached.lines), **making)
        return replace(document, reached=reached, training=self.training)


def of_table(made: Made, runs: CrossData, tolerance: float) -> Candidate:
    """A wave table that was computed."""
    held_out = HeldOut(runs.places, runs.direct, made.solved.held_out, runs.times)
    return Candidate("table", made.generator, made.reached(tolerance), held_out, made.num_stored, made.estimate.errors)


def rays_are_known(case: Case, dataset: CrossDataset) -> bool:
    """True for a box of one speed, where the rays of all walls are known and the operator generator may win."""
    walls: bool = operator.rays_of(with_training(case, model="operator", rays="auto"), dataset.medium) == "walls"
    return walls


def train_operator(
    case: Case,
    dataset: CrossDataset,
    runs: CrossData,
    num_held_out: int,
    length: Length,
    progress: Callable[[Progress], None] | None = None,
) -> Candidate:
    """An operator generator trained on the first direct runs, its error taken on the others.

    Args:
        case: Of the runs.
        dataset: Whose Γ and medium are meant.
        runs: Direct ones.
        num_held_out: Last of them that it does not see.
        length: Of the training.
        progress: Called after every pass.

    Raises:
        TrainingError: The loss is not finite.
    """
    seen = len(runs.places) - num_held_out
    own = case if case.training.model == "operator" else with_training(case, model="operator")
    learnt = (runs.places[:seen], *_responses(runs.times, runs.direct[:seen]))
    ready = operator.of_responses(own, dataset, learnt, length)
    generator, history = ready.train(progress=progress)
    times, true = runs.times, runs.direct[seen:]
    predicted = amplitudes(generator, runs.places[seen:])
    num = max(predicted.shape[2], true.shape[2])
    omega: NDArray[np.float64] = float(times.omega[1] - times.omega[0]) * np.arange(num, dtype=np.float64)
    times = replace(times, omega=omega)
    held_out = HeldOut(runs.places[seen:], _padded(true, num), _padded(predicted, num), times)
    responses = Responses.of(times.signals, times.rate, times.dt, times.omega)
    signals = range(len(times.signals))
    pairs: Iterator[tuple[Complex, Complex]] = zip(held_out.true, held_out.predicted, strict=True)
    errors = np.array([np.mean([responses.errors(each, a, b)[0] for each in signals]) for a, b in pairs])
    estimate, floor = Estimate(errors), floor_of(dataset, len(runs.places))
    reached = Reached(
        form=f"operator generator, rays {generator.spec.rays}, {generator.num_parameters} numbers",
        tolerance=own.training.tolerance,
        error=float(np.hypot(estimate.mean, floor)),
        spread=estimate.spread,
        floor=floor,
        runs=(len(runs.places), 0),
        lines=(f"trained on {seen} runs, {num_held_out} held out", *history.remarks),
    )
    record = training_record(ready.plan, history)
    return Candidate("operator", generator, reached, held_out, generator.num_parameters, errors, record)


def amplitudes(generator: Any, places: NDArray[np.float64]) -> Complex:
    """Amplitudes (source, 2A, frequency) of an operator generator, in the convention of cross data."""
    import torch

    select_device("cpu")
    sources = torch.as_tensor(generator.spec.relative(places), dtype=torch.float32)
    with torch.inference_mode():
        both = generator.cpu().amplitudes(sources).double().numpy()  # (source, 2, coefficient, arc)
    num = (both.shape[2] + 1) // 2
    sines = np.zeros_like(both[:, :, :num])
    sines[:, :, 1:] = both[:, :, num:]
    values = both[:, :, :num] - 1j * sines
    return np.asarray(np.moveaxis(values, 2, 3).reshape(len(places), -1, num))


def _responses(times: Times, direct: Complex) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Low-passed responses of u and r at the levels, (run, time, arc) each, from amplitudes (run, 2A, K)."""
    turns = np.exp(1j * np.outer(times.dt * np.arange(times.num_levels), times.omega))
    values = np.stack([(turns @ each.T).real for each in direct]).astype(np.float32)
    u, r = np.split(values, 2, axis=2)
    return np.ascontiguousarray(u), np.ascontiguousarray(r)


def _padded(values: Complex, num: int) -> Complex:
    """Amplitudes with zeros at the frequencies up to a number that they lack."""
    return np.pad(values, ((0, 0), (0, 0), (0, num - values.shape[2])))
