"""Geometry of a picture: Ω, Γ, the nodes of the zone, and the units of the axes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from solvers.gamma.gamma import Gamma

if TYPE_CHECKING:
    from submodel.case.case import Case

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.integer]


@dataclass(frozen=True)
class Scene:
    """Geometry of one case, in its length unit.

    Attributes:
        zone_points: Nodes at which the fields of the zone are given, shape (N_z, 2).
        gamma: Γ.
        domain_outline: ∂Ω as closed polygons (M, 2); empty where it is not known.
        triangles: Triangles of the zone nodes, shape (T, 3); None triangulates the nodes inside Γ.
        length_unit: Label of the length unit, for the axes.
        time_unit: Label of the time unit.
        defect: Centre and radius (x, y, r) of a disc to mark, if the zone holds one.
    """

    zone_points: Array
    gamma: Gamma
    domain_outline: tuple[Array, ...] = ()
    triangles: Integers | None = None
    length_unit: str = "-"
    time_unit: str = "-"
    defect: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        points = np.asarray(self.zone_points)
        if points.ndim != 2 or points.shape[1] != 2 or len(points) < 3:
            raise ValueError(f"zone_points must have shape (3 or more nodes, 2), got {points.shape}")

    @classmethod
    def of_case(cls, case: Case, gamma: Gamma, zone_points: Array, **others: Any) -> Scene:
        """The scene of a case: units and, for a box, ∂Ω are taken from it; ``others`` are further fields."""
        outline = () if case.domain.box is None else (rectangle(*case.domain.box),)
        labels = {"length_unit": case.units.length, "time_unit": case.units.time}
        return cls(zone_points, gamma, **{"domain_outline": outline, **labels, **others})


def rectangle(lower: tuple[float, float], upper: tuple[float, float]) -> Array:
    """The outline of a box as a closed polygon, shape (5, 2)."""
    (left, bottom), (right, top) = lower, upper
    return np.array([(left, bottom), (right, bottom), (right, top), (left, top), (left, bottom)], dtype=float)


def outlines(points: Array, triangles: Integers) -> tuple[Array, ...]:
    """The boundary of a triangulation as closed polygons, one a loop.

    Args:
        points: Nodes, shape (N, 2).
        triangles: Their triangles, shape (T, 3).
    """
    edges = np.sort(np.vstack([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1)
    unique, count = np.unique(edges, axis=0, return_counts=True)
    neighbours: dict[int, list[int]] = {}
    for a, b in unique[count == 1].tolist():
        neighbours.setdefault(a, []).append(b)
        neighbours.setdefault(b, []).append(a)
    loops = []
    while neighbours:
        loop = [next(iter(neighbours))]
        while loop[-1] in neighbours:
            onward = neighbours.pop(loop[-1])
            loop.append(next((node for node in onward if node in neighbours), loop[0]))
        loops.append(points[loop])
    return tuple(loops)
