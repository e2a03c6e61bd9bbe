"""Parameters to run: a Latin hypercube over the case's ranges, with no source in the excluded box."""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy.stats import qmc

from submodel.case.case import Case
from submodel.case.sections import Parameters

Split = Literal["train", "test", "calibration"]
SPLITS: tuple[Split, ...] = ("train", "test", "calibration")  # the place decides the stream of random numbers


def sample(case: Case, num: int, seed: int, split: Split) -> np.ndarray:
    """Draw parameter vectors (omega, x_s, y_s), uniform over the case's ranges.

    A Latin hypercube of the unit cube, mapped by `from_unit_cube`. The splits draw from streams of their own,
    so a test set does not depend on the size of the training set.

    Args:
        case: gives the ranges.
        num: number of vectors.
        seed: with the split, what decides the numbers.
        split: "train", "test" or "calibration".

    Returns:
        (num, 3); rad per unit of time, length, length.
    """
    rng = np.random.default_rng([seed, SPLITS.index(split)])
    unit = qmc.LatinHypercube(d=3, rng=rng).random(num) if num else np.empty((0, 3))
    return from_unit_cube(unit, case.parameters)


def from_unit_cube(unit: np.ndarray, parameters: Parameters) -> np.ndarray:
    """Map the unit cube onto the parameters so that equal volumes stay equal.

    omega is linear in the first coordinate; x_s is the inverse of its marginal distribution over the box
    less the excluded box, y_s that of its distribution given x_s (Rosenblatt 1952). No point is rejected,
    so the strata of the hypercube survive: each of num slices of x_s of equal probability holds one source.

    Args:
        unit: (num, 3) in [0, 1).
        parameters: ranges and boxes.

    Returns:
        (num, 3) as `sample`.
    """
    (left, bottom), (right, top) = parameters.source_lower, parameters.source_upper
    hole = _hole(parameters)
    low, high = parameters.omega
    omega = low + (high - low) * unit[:, 0]
    if hole is None:
        return np.column_stack([omega, left + (right - left) * unit[:, 1], bottom + (top - bottom) * unit[:, 2]])
    (hole_left, hole_bottom), (hole_right, hole_top) = hole
    free = (top - bottom) - (hole_top - hole_bottom)  # height that is left beside the hole
    edges = np.array([left, hole_left, hole_right, right])
    heights = np.array([top - bottom, free, top - bottom])
    x = _invert(unit[:, 1], edges, heights)
    beside = (x > hole_left) & (x < hole_right)
    height = unit[:, 2] * np.where(beside, free, top - bottom)
    y = bottom + height
    y = np.where(beside & (y > hole_bottom), hole_top + (y - hole_bottom), y)
    return np.column_stack([omega, x, y])


def _hole(parameters: Parameters) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """What the excluded box takes from the sources' box, or None when they do not meet."""
    if parameters.exclude_lower is None or parameters.exclude_upper is None:
        return None
    low = np.maximum(parameters.exclude_lower, parameters.source_lower)
    high = np.minimum(parameters.exclude_upper, parameters.source_upper)
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
