"""Preparation of trainings of the operator generator: impulse responses, rays, symmetries and sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from networks.operator.spec import OperatorSpec
from networks.operator.task import operator_plan
from networks.operator.training_data import ResponseData, TravelTimes
from networks.response.signal_response import LowPass, impulse_responses
from networks.response.symmetry import SymmetryMap
from networks.training.plan import TrainingPlan
from solvers.gamma.gamma import Gamma
from submodel.case.case import NO_WALLS, Case, CaseError
from submodel.case.spectrum import RATE as RATE
from submodel.case.spectrum import band as band
from submodel.data.dataset import Dataset, ReciprocalDataset
from submodel.geometry.arrays import MediumMap
from submodel.geometry.symmetry import Symmetry, find
from submodel.geometry.travel_time import travel_table
from submodel.learn.budget import Length
from submodel.learn.preparation import Preparation

RATES = {"none": 5e-3, "direct": 5e-3, "walls": 1e-3}
"""Learning rates by rays; all rays of a box leave so little that large steps lose more than they find."""
PERIOD = 1.25
"""Period of the slowest amplitude, in durations of a run."""
HIGHEST = 10.67
"""Highest frequency of the amplitudes, in multiples of that of the band: the onset of a signal is steep."""
MOST_FREQUENCIES = 200
"""Amplitudes at most: with more the fit of the rays of a long run takes longer than the training."""
FEW, HELD = 50, 0.2
"""Sources below which, where the rays leave almost nothing, that share is held out: the network stops before it fits
what is peculiar to those that it sees, at the rays alone if need be."""
RECIPROCAL_WIDTH = 160
"""Channels of a network whose data never end."""
SINE = 1e-9
"""Largest part of a signal that is no sine where the formula for sines serves."""
LEARNS_RESPONSES = True
"""It takes reciprocal data, see `submodel.learn.preparation.Preparer`."""
FINE_TUNING_RATES = (1e-3, 1e-6)
"""First and last learning rate after compression: factors bear more than the weights that they stand for."""
PART = 64  # sources that are filtered at once


Array = NDArray[np.floating[Any]]


class Problem(Protocol):
    """Γ and the medium, for example a dataset of any kind."""

    @property
    def gamma(self) -> Gamma: ...

    @property
    def medium(self) -> MediumMap: ...


def prepare(case: Case, dataset: Dataset | ReciprocalDataset, length: Length) -> Preparation:
    """Read a dataset's impulse responses, and what is known of the problem.

    Raises:
        CaseError: Rays or symmetries are asked for that the problem does not have.
        DatasetError: The dataset is damaged.
        ValueError: Numbers are out of range.
    """
    low_pass = LowPass(RATE * band(case)[1], case.time.dt)
    if not isinstance(dataset, ReciprocalDataset):
        places = case.parameters.sources(dataset.parameters("train"))
        return of_responses(case, dataset, (places, *responses(case, dataset, low_pass)), length)
    ready = of_responses(case, dataset, (dataset.sources, *_reciprocal(dataset, low_pass)), length)
    if case.training.size is None or case.training.size.width is None:
        return replace(ready, spec=replace(ready.spec, width=RECIPROCAL_WIDTH))
    return ready


def of_responses(case: Case, problem: Problem, learnt: tuple[Array, Array, Array], length: Length) -> Preparation:
    """The training on responses that are known.

    Args:
        case: What is trained.
        problem: Γ and medium.
        learnt: Places (source, 2), and low-passed responses of displacement and load, each (source, time, arc).
        length: Of the training.

    Raises:
        CaseError: Rays or symmetries are asked for that the problem does not have.
        ValueError: Numbers are out of range.
    """
    spec, travel = specification(case, problem.gamma, problem.medium)
    maps = find(problem.gamma, problem.medium, case.symmetry.maps)
    spec = replace(spec, symmetries=symmetry_maps(maps, spec.origin))
    plan = operator_plan(
        validation=validation(case, spec, len(learnt[0])),
        epochs=length.epochs,
        seconds=length.seconds,
        learning_rate=RATES[spec.rays],
        seed=length.seed,
        device=length.device,
        threads=length.threads,
    )
    return Preparation(spec, plan, ResponseData(*learnt, travel))


def validation(case: Case, spec: OperatorSpec, num_sources: int) -> float:
    """Share of the sources that is held out, where the case leaves it open."""
    if case.training.validation is not None:
        return case.training.validation
    return HELD if spec.rays == "walls" and 2.0 / HELD <= num_sources < FEW else 0.0


def fine_tuning(plan: TrainingPlan) -> TrainingPlan:
    """The plan of a compressed generator's fine-tuning, from that of its training."""
    first, last = FINE_TUNING_RATES
    return replace(plan, learning_rate=first, final_learning_rate=last)


def specification(case: Case, gamma: Gamma, medium: MediumMap) -> tuple[OperatorSpec, TravelTimes | None]:
    """The case's operator generator without symmetries, and the travel times that it is given.

    Raises:
        CaseError: Rays reflected by walls are asked for, and the domain is no box of one speed.
    """
    rays = rays_of(case, medium)
    table = travel_table(medium, gamma.points) if rays == "direct" else None
    travel = None if table is None else TravelTimes(table.x, table.y, table.time)
    low, high = band(case)
    speed = medium.uniform
    left, bottom = gamma_middle(gamma)
    corners = [(float(medium.x[end]) - left, float(medium.y[end]) - bottom) for end in (0, -1)]
    spec = OperatorSpec(
        num_levels=case.time.levels,
        dt=case.time.dt,
        rate=RATE * high,
        band=(low, high),
        **nodes_of(gamma),
        speed=float(np.nanmedian(medium.speed)) if speed is None else speed,
        num_frequencies=min(MOST_FREQUENCIES, round(HIGHEST * high * PERIOD * case.time.final / (2.0 * np.pi))),
        period=PERIOD,
        rays=rays,
        walls=(corners[0], corners[1]) if rays == "walls" else None,
        travel=None if travel is None else (len(travel.y), len(travel.x)),
    )
    size = {} if case.training.size is None else case.training.size.model_dump(exclude_none=True)
    if "frequencies" in size:
        size["num_frequencies"] = size.pop("frequencies")
    return replace(spec, **size), travel


def nodes_of(gamma: Gamma) -> dict[str, Any]:
    """The entries of an operator generator's specification that say where Γ is."""
    middle = gamma_middle(gamma)
    return {
        "origin": middle,
        "points": tuple((float(x), float(y)) for x, y in gamma.points - np.array(middle)),
        "normals": tuple((float(x), float(y)) for x, y in gamma.normals),
        "weights": tuple(map(float, gamma.weights)),
    }


def symmetry_maps(maps: Sequence[Symmetry], origin: tuple[float, float]) -> tuple[SymmetryMap, ...]:
    """Symmetries of a problem as a generator takes them: of places that are counted from its origin."""
    converted = []
    for each in maps:
        x, y = each.apply(origin) - np.array(origin)
        converted.append(SymmetryMap(_rows(each.matrix), (float(x), float(y)), tuple(map(int, each.images))))
    return tuple(converted)


def gamma_middle(gamma: Gamma) -> tuple[float, float]:
    """The middle of the bounding box of Γ, from which a generator counts places."""
    x, y = 0.5 * (gamma.points.min(axis=0) + gamma.points.max(axis=0))
    return float(x), float(y)


def rays_of(case: Case, medium: MediumMap) -> Literal["none", "direct", "walls"]:
    """The rays that are known of a case; those of its walls where it is a box of one speed.

    Raises:
        CaseError: It asks for those of the walls, and is no such box.
    """
    walls = case.domain.box is not None and medium.fills_box and medium.uniform is not None
    asked = case.training.rays
    if asked == "walls" and not walls:
        raise CaseError(NO_WALLS)
    if asked == "auto":
        return "walls" if walls else "direct"
    return asked


def responses(case: Case, dataset: Dataset, low_pass: LowPass) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Low-passed responses of the training samples, displacement and load, each (sample, time, arc)."""
    from submodel.case.excitation import Excitation

    traces, parameters = dataset.traces("train"), dataset.parameters("train")
    sines = case.source.signal == "sine" and not case.parameters.extra
    signals = None
    if not sines:
        signals = np.array([Excitation.of_parameters(case, vector).samples(case)[0] for vector in parameters])
        if case.source.signal == "sine" and (factors := _sine_factors(case, parameters, signals)) is not None:
            sines = True  # of the exact formula for a sine, whose load and motion are those of the run by the factor
            traces = {name: (values / factors[:, None, None]).astype(np.float32) for name, values in traces.items()}
    return impulse_responses(
        traces["displacement"],
        traces["velocity"],
        traces["load"],
        signals,
        low_pass.dt,
        low_pass,
        omegas=case.parameters.omegas(parameters) if sines else None,
    )


def _sine_factors(case: Case, vectors: NDArray[np.float64], signals: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Factor of each signal (sample, time + 1) before the sine of its frequency; ``None`` where one is no such sine."""
    sines = np.sin(case.parameters.omegas(vectors)[:, None] * np.arange(signals.shape[1]) * case.time.dt)
    factors = np.asarray((signals * sines).sum(1) / (sines * sines).sum(1))
    rest = np.abs(signals - factors[:, None] * sines).max(1)
    return factors if (rest <= SINE * np.abs(signals).max(1)).all() else None


def _reciprocal(dataset: ReciprocalDataset, low_pass: LowPass) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Low-passed responses of all sources, displacement and load, each (source, time, arc)."""
    shape = (dataset.num_sources, len(dataset.times), len(dataset.gamma.points))
    out: tuple[NDArray[np.float32], NDArray[np.float32]] = (np.empty(shape, np.float32), np.empty(shape, np.float32))
    for start in range(0, dataset.num_sources, PART):
        part = slice(start, start + PART)
        for filtered, raw in zip(out, dataset.responses(part), strict=True):
            filtered[part] = low_pass.apply(raw, axis=1)
    return out


def _rows(matrix: NDArray[np.float64]) -> tuple[tuple[float, float], tuple[float, float]]:
    (a, b), (c, d) = matrix
    return (float(a), float(b)), (float(c), float(d))
