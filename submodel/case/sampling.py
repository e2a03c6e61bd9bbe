"""Parameters to run: a Latin hypercube over the case's ranges, with no source in the excluded box."""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy.stats import qmc

from submodel.case.case import Case
from submodel.case.parameters import OMEGA, Parameters, X, Y
from submodel.case.sections import Point

Split = Literal["train", "test", "calibration"]
SPLITS: tuple[Split, ...] = ("train", "test", "calibration")  # the place decides the stream of random numbers


def sample(case: Case, num: int, seed: int, split: Split) -> np.ndarray:
    """Draw parameter vectors, uniform over the case's ranges.

    A Latin hypercube of the unit cube, mapped by `from_unit_cube`. The splits draw from streams of their own,
    so a test set does not depend on the size of the training set.

    Args:
        case: gives the ranges.
        num: number of vectors.
        seed: with the split, what decides the numbers.
        split: "train", "test" or "calibration".

    Returns:
        (num, axis), columns by `Parameters.names`.
    """
    rng = np.random.default_rng([seed, SPLITS.index(split)])
    dimension = case.parameters.dimension
    unit = qmc.LatinHypercube(d=dimension, rng=rng).random(num) if num else np.empty((0, dimension))
    return from_unit_cube(unit, case.parameters)


def from_unit_cube(unit: np.ndarray, parameters: Parameters) -> np.ndarray:
    """Map the unit cube onto the parameters so that equal volumes stay equal.

    omega and registered axes are linear in their coordinates; x_s is the inverse of its marginal distribution over the
    box less the excluded box, y_s that of its distribution given x_s (Rosenblatt 1952). No point is rejected, so the
    strata of the hypercube survive: each of num slices of x_s of equal probability holds one source.

    Args:
        unit: (num, axis) in [0, 1).
        parameters: ranges and boxes.

    Returns:
        (num, axis) as `sample`.
    """
    columns = {}
    for name, (low, high) in {OMEGA: parameters.omega, **parameters.extra}.items():
        columns[name] = low + (high - low) * parameters.column(unit, name)
    columns[X], columns[Y] = _places(parameters.column(unit, X), parameters.column(unit, Y), parameters)
    return parameters.vectors(columns)


def _places(along: np.ndarray, up: np.ndarray, parameters: Parameters) -> tuple[np.ndarray, np.ndarray]:
    """Sources in the box less the excluded box from two coordinates in [0, 1), each (num,)."""
    (left, bottom), (right, top) = parameters.source_lower, parameters.source_upper
    hole = _hole(parameters)
    if hole is None:
        return left + (right - left) * along, bottom + (top - bottom) * up
    (hole_left, hole_bottom), (hole_right, hole_top) = hole
    free = (top - bottom) - (hole_top - hole_bottom)  # height that is left beside the hole
    edges = np.array([left, hole_left, hole_right, right])
    heights = np.array([top - bottom, free, top - bottom])
    x = _invert(along, edges, heights)
    beside = (x > hole_left) & (x < hole_right)
    height = up * np.where(beside, free, top - bottom)
    y = bottom + height
    return x, np.where(beside & (y > hole_bottom), hole_top + (y - hole_bottom), y)


def _hole(parameters: Parameters) -> tuple[Point, Point] | None:
    """Common part of the excluded box and the sources' box, or None when they do not meet."""
    if parameters.hole is None:
        return None
    low = np.maximum(parameters.hole[0], parameters.source_lower)
    high = np.minimum(parameters.hole[1], parameters.source_upper)
    if not (low < high).all():
        return None
    return (float(low[0]), float(low[1])), (float(high[0]), float(high[1]))


def _invert(probability: np.ndarray, edges: np.ndarray, density: np.ndarray) -> np.ndarray:
    """Invert the distribution of a piecewise constant density; pieces may be empty."""
    mass = np.concatenate([[0.0], np.cumsum(density * np.diff(edges))])
    wanted = probability * mass[-1]
    piece = np.searchsorted(mass, wanted, side="right") - 1  # the last of equal masses: skips empty pieces
    piece = np.minimum(piece, np.flatnonzero(np.diff(mass))[-1])
    return edges[piece] + (wanted - mass[piece]) / density[piece]
