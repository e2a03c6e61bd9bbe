"""Arrays that all samples of a dataset share: the zone's boundary, its nodes, the medium, the times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solvers.gamma.gamma import Gamma

FIELDS = ("displacement", "velocity", "load")  # on the zone's boundary, (time, arc)
ZONE_FIELD = "zone_displacement"  # in the zone, (level, node): a level before the first and one after the last beside


@dataclass(frozen=True)
class MediumMap:
    """The wave speed on a grid over the bounding box of the domain, the box's edges included.

    Args:
        x: (x,) rising, length.
        y: (y,) rising, length.
        speed: (y, x) float32, length / time; NaN outside the domain, the faster one on an edge between two.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    speed: NDArray[np.float32]

    @property
    def inside(self) -> NDArray[np.bool_]:
        """(y, x) whether a point belongs to the domain."""
        return np.isfinite(self.speed)

    @property
    def fills_box(self) -> bool:
        """The domain is all of its bounding box."""
        return bool(self.inside.all())

    @property
    def uniform(self) -> float | None:
        """The wave speed, where it is the same everywhere in the domain; to float32."""
        speeds = self.speed[self.inside]
        return float(speeds[0]) if len(speeds) and (speeds == speeds[0]).all() else None


@dataclass(frozen=True)
class SourceArea:
    """Finite elements of the places where sources may stand, and the medium around them.

    Where the mesh is symmetric, those of one sector, which stand for all.

    Args:
        element: "p1" or "gll".
        degree: of the elements.
        nodes: (source node, 2) by y, then x, length.
        cells: (cell, basis function) nodes of each cell; of a quadrilateral row by row, those along its second axis
            next to each other.
        patch_nodes: (node, 2) the source nodes, then those of some rings of cells around, which touch neither the
            zone nor an edge.
        patch_cells: (cell, basis function) nodes of each cell, those of the source area first.
        patch_speed: (cell,) wave speed.
    """

    element: str
    degree: int
    nodes: NDArray[np.float64]
    cells: NDArray[np.int64]
    patch_nodes: NDArray[np.float64]
    patch_cells: NDArray[np.int64]
    patch_speed: NDArray[np.float64]


@dataclass(frozen=True)
class Geometry:
    """Arrays that all samples of a dataset share.

    Args:
        times: (time,) the levels.
        gamma: the zone's boundary.
        zone_points: (node, 2), the zone's nodes by y, then x.
        medium: the wave speed in the domain.
        source_area: where the sources stand; of cross data only.
    """

    times: NDArray[np.float64]
    gamma: Gamma
    zone_points: NDArray[np.float64]
    medium: MediumMap
    source_area: SourceArea | None = None
