"""Generators that predict the zone itself ([A], models without "Boundary"): its grid, and the values on Γ it holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from submodel.geometry.arrays import Geometry

TOLERANCE = 1e-6
"""Of the zone's extent, within which two nodes are the same."""


@dataclass(frozen=True)
class Sizes:
    """Sizes from which the shapes of targets follow.

    Attributes:
        num_levels: time levels.
        num_arc: nodes of Γ.
        num_zone: nodes of the zone.
        grid: those along y and along x, where they form a rectangular grid.
    """

    num_levels: int
    num_arc: int
    num_zone: int
    grid: tuple[int, int] | None

    @classmethod
    def of(cls, geometry: Geometry) -> Self:
        """The sizes of a dataset."""
        points = geometry.zone_points
        return cls(len(geometry.times), len(geometry.gamma.points), len(points), grid_shape(points))


def grid_shape(zone_points: npt.ArrayLike) -> tuple[int, int] | None:
    """Rows and columns of a zone whose nodes form a rectangular grid; None where they do not.

    Args:
        zone_points: (node, 2), by y, then x, as a dataset holds them.

    Returns:
        Number of nodes along y and along x; fields (..., node) reshape to (..., y, x).
    """
    points = np.asarray(zone_points, dtype=np.float64)
    tolerance = TOLERANCE * float(np.ptp(points, axis=0).max())
    num_x = int(np.sum(np.abs(points[:, 1] - points[0, 1]) <= tolerance))
    num_y = len(points) // num_x
    if num_x < 2 or num_y < 2 or num_x * num_y != len(points):
        return None
    x, y = points[:num_x, 0], points[::num_x, 1]
    expected = np.stack([np.tile(x, num_y), np.repeat(y, num_x)], axis=1)
    return (num_y, num_x) if np.abs(expected - points).max() <= tolerance else None


def gamma_nodes(zone_points: npt.ArrayLike, gamma_points: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Where the nodes of Γ stand among the nodes of the zone: ``field[..., nodes]`` is the field on Γ.

    Args:
        zone_points: (node, 2).
        gamma_points: (arc, 2), in canonical order.

    Returns:
        (arc,) indices.

    Raises:
        ValueError: a node of Γ is none of the zone's.
    """
    points = np.asarray(zone_points, dtype=np.float64)
    wanted = np.asarray(gamma_points, dtype=np.float64)
    distance, nearest = cKDTree(points).query(wanted)
    if np.any(distance > TOLERANCE * np.ptp(points, axis=0).max()):
        x, y = wanted[int(np.argmax(distance))]
        raise ValueError(f"({x:g}, {y:g}) on Γ is no node of the zone: take zone and Γ from the same dataset")
    return np.asarray(nearest, dtype=np.int64)
