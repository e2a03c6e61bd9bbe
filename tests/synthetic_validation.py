"""A small validation without a solver: a plane wave that crosses a square zone, and a perturbed copy of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from solvers.gamma.chart import ClosedLoops
from submodel.case.case import Case
from submodel.geometry.scene import Scene
from submodel.validate.accumulator import ValidationAccumulator
from submodel.validate.result import (
    Bounds,
    GeneratorInfo,
    Motion,
    SampleTrace,
    Setting,
    TrainingHistory,
    ValidationResult,
)

CASE = Path(__file__).parents[1] / "cases" / "corner.toml"
TIMES = np.linspace(0.0, 2.0, 25)
SIDE = np.linspace(-0.25, 0.25, 9)
ZONE_POINTS = np.array([(x, y) for y in SIDE for x in SIDE])
LOWER = [(x, -0.25) for x in SIDE[:-1]]
QUARTER = np.array([[0.0, -1.0], [1.0, 0.0]])
POINTS = np.vstack([np.array(LOWER) @ np.linalg.matrix_power(QUARTER.T, turn) for turn in range(4)])
GAMMA = ClosedLoops.polygon(POINTS)


def motion(points: np.ndarray, omega: float, error: float) -> Motion:
    """A plane wave along (1, 1) that reaches the zone at t = 0.6; the error grows from there on."""
    phase = TIMES[:, None] - 0.6 - 0.7 * (points.sum(axis=1) + 0.5)
    arrived = np.maximum(phase, 0.0)
    ripple = 1.0 + error * np.cos(7.0 * points[:, 0]) * arrived
    return Motion(np.sin(omega * arrived) * arrived * ripple, np.cos(omega * arrived) * (phase > 0) * ripple)


def result(errors: tuple[float, ...] = (0.02, 0.06, 0.01), **others: Any) -> ValidationResult:
    """A validation of as many samples as errors; `others` replace what the setting says."""
    case = Case.load(CASE)
    accumulator = ValidationAccumulator()
    for index, error in enumerate(errors):
        omega = 4.0 + 0.5 * index
        accumulator.add(
            index,
            (omega, 0.5 + 0.1 * index, 0.7),
            predicted=motion(POINTS, omega, 2 * error),
            recorded=motion(POINTS, omega, 0.0),
            zoomed=motion(ZONE_POINTS, omega, error),
            full=motion(ZONE_POINTS, omega, 0.0),
        )
    history = TrainingHistory((1.0, 0.1, 0.01), (1.1, 0.05, 0.2))
    values = {
        "case": case,
        "dataset": "dataset.h5",
        "split": "test",
        "boundary": "generator",
        "interface": "impedance",
        "generator": GeneratorInfo(
            "generator.safetensors", "conv1.5d-boundary", 86420, ("displacement", "velocity"), 412345, history
        ),
        "training_parameters": np.array([(4.0, 0.5, 0.5), (5.0, 0.8, 0.6)]),
        "grid_note": "The FE grid itself is 0.78 % off the PDE.",
        "commands": ("submodel generate cases/corner.toml -o dataset.h5", "submodel validate cases/corner.toml"),
        "versions": {"submodel": "0.1.0"},
        "elapsed": {"training": 148.3, "zone run": 0.0031},
    }
    return accumulator.result(Setting(**{**values, **others}), Scene.of_case(case, GAMMA, ZONE_POINTS), TIMES)


def calibrated(errors: tuple[float, ...] = (0.02, 0.06, 0.01, 0.03)) -> ValidationResult:
    """A validation with the trace of its median sample, and bounds of which the second does not hold."""
    found = result(errors)
    omega = 4.0 + 0.5 * found.median_index
    predicted, true = motion(POINTS, omega, 2 * errors[found.median_index]), motion(POINTS, omega, 0.0)
    median = SampleTrace(found.median_index, predicted.displacement, true.displacement)
    factors = np.where(np.arange(len(errors)) == 1, 0.8, 1.5)
    return replace(
        found,
        median=median,
        bounds=Bounds(0.9, factors * found.epsilon, 0.9 * found.epsilon, "split conformal on 70 runs"),
    )


def recorded(errors: tuple[float, ...] = (0.0, 0.0)) -> ValidationResult:
    """A validation of recorded traces."""
    return result(errors, boundary="recorded", generator=None)
