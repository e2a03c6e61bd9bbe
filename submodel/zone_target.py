"""Generators that predict the zone itself ([A], models without "Boundary"): its grid, and the values on Γ it holds."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

TOLERANCE = 1e-6
"""Of the zone's extent, within which two nodes are the same."""


def grid_shape(zone_points: npt.ArrayLike) -> tuple[int, int]:
    """Rows and columns of a zone whose nodes form a rectangular grid.

    Args:
        zone_points: (node, 2), by y, then x, as a dataset holds them.

    Returns:
        Number of nodes along y and along x; fields (..., node) reshape to (..., y, x).

    Raises:
        ValueError: they form no such grid.
    """
    points = np.asarray(zone_points, dtype=np.float64)
    tolerance = TOLERANCE * float(np.ptp(points, axis=0).max())
    num_x = int(np.sum(np.abs(points[:, 1] - points[0, 1]) <= tolerance))
    num_y = len(points) // num_x
    if num_x > 1 and num_y > 1 and num_x * num_y == len(points):
        x, y = points[:num_x, 0], points[::num_x, 1]
        expected = np.stack([np.tile(x, num_y), np.repeat(y, num_x)], axis=1)
        if np.abs(expected - points).max() <= tolerance:
            return num_y, num_x
    raise ValueError(
        f"the zone's {len(points)} nodes form no rectangular grid, which the models that predict the zone need: "
        "choose a model that predicts its boundary, such as conv1.5d-boundary, or a box for the zone"
    )


def interface_nodes(zone_points: npt.ArrayLike, interface_points: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Where the nodes of Γ stand among the nodes of the zone: ``field[..., nodes]`` is the field on Γ.

    Args:
        zone_points: (node, 2).
        interface_points: (arc, 2), in canonical order.

    Returns:
        (arc,) indices.

    Raises:
        ValueError: a node of Γ is none of the zone's.
    """
    points = np.asarray(zone_points, dtype=np.float64)
    wanted = np.asarray(interface_points, dtype=np.float64)
    distance, nearest = cKDTree(points).query(wanted)
    if np.any(distance > TOLERANCE * np.ptp(points, axis=0).max()):
        x, y = wanted[int(np.argmax(distance))]
        raise ValueError(f"({x:g}, {y:g}) on Γ is no node of the zone: take zone and Γ from the same dataset")
    return np.asarray(nearest, dtype=np.int64)
