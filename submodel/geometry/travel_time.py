"""Travel times of the first arrival between the zone's boundary and every place of the domain. No FEniCS needed."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import cKDTree

from submodel.geometry.arrays import MediumMap

MOST_POINTS = 129  # of a table, along the longer side
SEARCH_RADIUS = 4  # in grid steps: 48 neighbours in different directions, the nearest two 14 degrees apart
SAMPLES = 8  # of the speed along the way to a neighbour


@dataclass(frozen=True)
class TravelTable:
    """Travel times on a grid over the domain's bounding box.

    Args:
        x: (x,) rising, length.
        y: (y,) rising, length.
        time: (y, x, arc) float32, from the grid's points to each node of the zone's boundary; at points outside the
            domain that of the nearest point inside.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    time: NDArray[np.float32]


def travel_table(medium: MediumMap, points: NDArray[np.float64]) -> TravelTable | None:
    """Tabulate travel times to nodes of the zone's boundary.

    Shortest paths (Dijkstra) over the grid and the nodes, each point joined with its neighbours in 48 directions, at
    most 0.8 % too long in a uniform medium; between places that see each other through one speed the time is exact.

    Args:
        medium: The wave speed.
        points: The nodes, (arc, 2), inside the domain.

    Returns:
        The table; None where the domain is a box with one speed, and the time is distance over speed.

    Raises:
        ValueError: No path leads from a node into the domain: it lies outside.
    """
    if medium.fills_box and medium.uniform is not None:
        return None
    x, y = _coarse(medium)
    places = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    speed = _speed_at(medium, places)
    inside = np.flatnonzero(np.isfinite(speed))
    points = _off_walls(medium, points)
    time = np.full((len(points), len(places)), np.inf)
    time[:, inside] = _shortest(medium, places, (len(y), len(x)), points)[:, inside]
    lost = np.flatnonzero(~np.isfinite(time).any(axis=1))
    if len(lost):
        raise ValueError(f"no wave reaches the node {points[lost[0]].tolist()} of the zone's boundary: it lies outside")
    for node in range(len(points)):
        straight = _straight(medium, points[node], places[inside])
        seen = np.isfinite(straight)
        time[node, inside[seen]] = straight[seen]
    reached = np.flatnonzero(np.isfinite(time).all(axis=0))
    _, nearest = cKDTree(places[reached]).query(places)
    table = time[:, reached[nearest]].T.reshape(len(y), len(x), len(points))
    return TravelTable(x, y, table.astype(np.float32))


def _coarse(medium: MediumMap) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The medium's grid, or every so manyth of its points."""
    step = max(1, -(-(max(len(medium.x), len(medium.y)) - 1) // (MOST_POINTS - 1)))
    x, y = (
        np.asarray(np.linspace(along[0], along[-1], max(2, round((len(along) - 1) / step) + 1)), dtype=np.float64)
        for along in (medium.x, medium.y)
    )
    return x, y


def _speed_at(medium: MediumMap, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """The speed at the medium's grid point next to each place, (..., 2) to (...)."""
    column, row = (
        np.rint((points[..., axis] - along[0]) / (along[1] - along[0])).astype(np.int64).clip(0, len(along) - 1)
        for axis, along in enumerate((medium.x, medium.y))
    )
    return medium.speed[row, column].astype(np.float64)


def _off_walls(medium: MediumMap, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """The nodes; those next to which the grid is blank, on a wall, moved to the grid's nearest point inside."""
    blank = np.flatnonzero(np.isnan(_speed_at(medium, points)))
    if not len(blank):
        return points
    row, column = np.nonzero(np.isfinite(medium.speed))
    known = np.stack([medium.x[column], medium.y[row]], axis=-1)
    distance, nearest = cKDTree(known).query(points[blank])
    near = distance <= np.hypot(medium.x[1] - medium.x[0], medium.y[1] - medium.y[0])
    moved = points.copy()
    moved[blank[near]] = known[nearest[near]]
    return moved


def _shortest(
    medium: MediumMap, places: NDArray[np.float64], shape: tuple[int, int], points: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Times along shortest paths over the grid, (arc, place)."""
    num_rows, num_columns = shape
    number = np.arange(len(places), dtype=np.int64).reshape(shape)
    tails: list[NDArray[np.int64]] = []
    heads: list[NDArray[np.int64]] = []
    for down in range(SEARCH_RADIUS + 1):
        for right in range(-SEARCH_RADIUS, SEARCH_RADIUS + 1):
            if gcd(down, abs(right)) == 1 and (down > 0 or right > 0):
                begin, end = max(0, -right), min(num_columns, num_columns - right)
                tails.append(number[: num_rows - down, begin:end].ravel())
                heads.append(number[down:, begin + right : end + right].ravel())
    spacing = np.abs(places[1] - places[0]).max()
    for node, near in enumerate(cKDTree(places).query_ball_point(points, (SEARCH_RADIUS + 0.5) * spacing)):
        heads.append(np.asarray(near, dtype=np.int64))
        tails.append(np.full(len(near), len(places) + node))
    tail, head = np.concatenate(tails), np.concatenate(heads)
    everywhere = np.concatenate([places, points])
    weight = _segments(medium, everywhere[tail], everywhere[head])
    open_ = np.isfinite(weight)
    num = len(everywhere)
    graph = sp.csr_matrix((np.maximum(weight[open_], 1e-300), (tail[open_], head[open_])), shape=(num, num))
    return np.asarray(dijkstra(graph, directed=False, indices=np.arange(len(places), num)))[:, : len(places)]


def _segments(medium: MediumMap, start: NDArray[np.float64], end: NDArray[np.float64]) -> NDArray[np.float64]:
    """Time along short straight segments, (segment,); infinite where one leaves the domain."""
    slowness = np.zeros(len(start))
    for share in (np.arange(SAMPLES) + 0.5) / SAMPLES:
        slowness += 1.0 / _speed_at(medium, start + share * (end - start))
    length = np.linalg.norm(end - start, axis=1)
    return np.asarray(np.where(np.isnan(slowness), np.inf, length * slowness / SAMPLES))


def _straight(medium: MediumMap, point: NDArray[np.float64], places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Time along the straight line from a point to each place, infinite where it does not keep to one speed."""
    spacing = min(medium.x[1] - medium.x[0], medium.y[1] - medium.y[0])
    length = np.linalg.norm(places - point, axis=1)
    here = _speed_at(medium, places)
    num = max(2, int(np.ceil(length.max() / (2.0 * spacing))))
    same = np.ones(len(places), dtype=bool)
    for share in np.linspace(0.0, 1.0, num):
        left = np.flatnonzero(same)
        same[left] = _speed_at(medium, point + share * (places[left] - point)) == here[left]
    return np.asarray(np.where(same, length / here, np.inf))
