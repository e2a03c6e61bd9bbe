"""Charts of Γ: closed loops in the plane, and the registry through which files find a chart by its name.

Needs NumPy and SciPy only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline

from solvers.gamma.gamma import Chart, Gamma

CORNER_ANGLE = np.deg2rad(20.0)
UNCHARTED = ("points", "weights", "normals")


@dataclass(frozen=True)
class ClosedLoops(Chart):
    """Γ in the plane as closed loops: nodes by loop, then by arc length, counter-clockwise.

    Each loop starts at its lowest node (the leftmost of those), as the loops follow one another.

    Args:
        loop: Number of the node's loop, shape ``(num_nodes,)``, int.
        arc: Arc length from the start of the node's loop, gaps included, shape ``(num_nodes,)``.
        joined: Γ goes on from the node to the next of its loop, shape ``(num_nodes,)``, bool; where it does not, an
            edge of the zone's own lies between the two.
    """

    name: ClassVar[str] = "closed-loops"
    dimension: ClassVar[int] = 2
    loop: NDArray[np.int64]
    arc: NDArray[np.float64]
    joined: NDArray[np.bool_]

    @classmethod
    def polygon(cls, points: ArrayLike, loop: ArrayLike | None = None) -> Gamma:
        """Γ of linear elements whose nodes are in order already.

        Args:
            points: Nodes, each loop counter-clockwise, shape ``(num_nodes, 2)``.
            loop: Number of the node's loop, rising, shape ``(num_nodes,)``; one loop by default.
        """
        points = np.asarray(points, dtype=np.float64)
        loop = np.zeros(len(points), np.int64) if loop is None else np.asarray(loop, dtype=np.int64)
        arc, weights, normals = np.zeros(len(points)), np.zeros(len(points)), np.zeros_like(points)
        for number in np.unique(loop):
            nodes = np.flatnonzero(loop == number)
            side = np.roll(points[nodes], -1, axis=0) - points[nodes]
            length = np.linalg.norm(side, axis=1)
            arc[nodes[1:]] = np.cumsum(length[:-1])
            half = 0.5 * np.stack([side[:, 1], -side[:, 0]], axis=1)
            normals[nodes] = half + np.roll(half, 1, axis=0)
            weights[nodes] = 0.5 * (length + np.roll(length, 1))
        _turn_holes([points[loop == number] for number in np.unique(loop)], normals, loop)
        return Gamma(points, weights, normals, cls(loop, arc, np.ones(len(points), dtype=bool)))

    @classmethod
    def order_facets(
        cls,
        keys: NDArray[np.int64],
        points: NDArray[np.float64],
        on_gamma: NDArray[np.bool_],
        shares: NDArray[np.float64],
    ) -> tuple[NDArray[np.int64], Gamma]:
        """As `Chart.order_facets`; a loop without a facet of Γ has no number.

        Raises:
            ValueError: If the zone's boundary is not made of closed loops that are apart.
        """
        point = {int(k): (float(x), float(y)) for k, (x, y) in zip(keys.ravel(), points.reshape(-1, 2), strict=True)}
        ends: list[tuple[int, int]] = [(int(a), int(b)) for a, b in zip(keys[:, 0], keys[:, 1], strict=True)]
        facet_of = {frozenset(pair): facet for facet, pair in enumerate(ends)}
        loops = [loop for loop in _loops(ends, point) if any(on_gamma[facet_of[side]] for side in _facets(loop))]
        places: dict[int, tuple[int, float]] = {}  # of each key in canonical order its loop and arc length
        joined = dict.fromkeys(point, False)
        weight, normal = dict.fromkeys(point, 0.0), {key: np.zeros(2) for key in point}
        parts = shares / shares.sum()  # halves, to the last bit, of linear elements
        for number, loop in enumerate(loops):
            arc = 0.0
            for a, b in zip(loop, loop[1:] + loop[:1], strict=True):
                facet = facet_of[frozenset((a, b))]
                nodes = keys[facet].tolist()
                along = sorted((float(np.hypot(*np.subtract(point[key], point[a]))), key) for key in nodes)
                length = along[-1][0]
                right, up = np.subtract(point[b], point[a])
                for (distance, key), share, part in zip(along, shares, parts, strict=True) if on_gamma[facet] else ():
                    weight[key] += share * length
                    normal[key] += part * np.array([up, -right])
                    joined[key] |= key != b
                    places.setdefault(key, (number, arc + distance))
                arc += length
        order = list(places)
        numbers, arcs = zip(*places.values(), strict=True)
        chart = cls(np.array(numbers, dtype=np.int64), np.array(arcs), np.array([joined[k] for k in order]))
        xy, lumped, normals = (np.array([values[k] for k in order]) for values in (point, weight, normal))
        _turn_holes([np.array([point[k] for k in loop]) for loop in loops], normals, chart.loop)
        return np.array(order, dtype=np.int64), Gamma(xy, lumped, normals, chart)

    def loops(self) -> list[NDArray[np.int64]]:
        """Node indices of each loop, in order."""
        return [np.flatnonzero(self.loop == k) for k in np.unique(self.loop)]

    def curves(self) -> list[NDArray[np.int64]]:
        """Node indices of each curve without a gap, in order; of a whole loop the first node closes it."""
        curves = []
        for nodes in self.loops():
            last = np.flatnonzero(~self.joined[nodes])
            if not len(last):
                curves.append(np.append(nodes, nodes[0]))
                continue
            begin = last[-1] + 1
            curves += np.split(np.roll(nodes, -begin), np.sort((last - begin) % len(nodes))[:-1] + 1)
        return curves

    def interpolation(self, source: Gamma, target: Gamma, *, one_sided: bool) -> NDArray[np.float64]:
        """Cubic splines between corners; of a flux, from the nodes inside a side, averaged where two sides meet.

        Raises:
            ValueError: If a target node is farther than 1e-6 of the extent from the source's curve.
        """
        matrix = np.zeros((target.num_nodes, source.num_nodes))
        counts = np.zeros(target.num_nodes)
        scale = float(np.ptp(source.points, axis=0).max())
        for curve in self.curves():
            points = source.points[curve]
            arc = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
            for side in _sides(points):
                first, last = side
                hit, position = _positions(target.points, points[first : last + 1], arc[first : last + 1], 1e-6 * scale)
                left_out = int(one_sided and last - first > 3)
                knots = slice(first + left_out, last + 1 - left_out)
                columns = curve[knots]
                basis = CubicSpline(arc[knots], np.eye(len(columns)), axis=0) if len(columns) > 2 else None
                values = basis(position) if basis is not None else _linear(arc[knots], position)
                for row, weights in zip(hit, values, strict=True):
                    matrix[row, columns] += weights
                counts[hit] += 1
        if not np.all(counts):
            lost = target.points[np.flatnonzero(counts == 0)[0]]
            place = tuple(lost.tolist())
            raise ValueError(f"the zone's boundary leaves the trace's curve at {place}: both must be one Γ")
        return matrix / counts[:, None]

    def fault(self, gamma: Gamma) -> str | None:
        """As `Chart.fault`."""
        if {len(self.loop), len(self.arc), len(self.joined)} != {gamma.num_nodes}:
            return "points, loop, arc and joined differ in length"
        rising = all((np.diff(self.arc[nodes]) > 0).all() for nodes in self.loops())
        return None if rising and (np.diff(self.loop) >= 0).all() else "not in order of loop and arc length"

    def closed_loop_size(self, gamma: Gamma) -> int:
        """As `Gamma.closed_loop_size`."""
        if len(self.loops()) != 1 or not self.joined.all():
            num_curves = len(self.curves())
            raise ValueError(
                f"a boundary generator needs a zone whose boundary is one closed loop, got {num_curves} curve(s); "
                "choose a zone without holes that does not touch the domain's boundary"
            )
        return gamma.num_nodes

    def outlines(self, gamma: Gamma) -> tuple[NDArray[np.float64], ...]:
        """A polygon for each curve, closed where it is a whole loop."""
        return tuple(gamma.points[curve] for curve in self.curves())

    def axis(self, gamma: Gamma) -> NDArray[np.float64]:
        """Arc length that goes on from one loop to the next."""
        axis, start = self.arc.copy(), 0.0
        for nodes in self.loops():
            axis[nodes] += start
            start = axis[nodes[-1]] + float(np.linalg.norm(gamma.points[nodes[0]] - gamma.points[nodes[-1]]))
        return axis


CHARTS: dict[str, type[Chart]] = {ClosedLoops.name: ClosedLoops}
"""Charts by the name that files give them."""


def chart_in(dimension: int) -> type[Chart]:
    """The chart of a new Γ: of those in a space of this dimension the one that was registered last.

    Raises:
        ValueError: If there is none.
    """
    for chart in reversed(CHARTS.values()):
        if chart.dimension == dimension:
            return chart
    raise ValueError(f"no chart describes a boundary in {dimension} dimensions: register one")


def gamma_arrays(gamma: Gamma) -> dict[str, NDArray[Any]]:
    """The arrays that stand for Γ in a file, beside the name of its chart."""
    return {name: getattr(gamma, name) for name in UNCHARTED} | gamma.chart.arrays()


def gamma_document(gamma: Gamma) -> dict[str, Any]:
    """Γ as plain values for JSON."""
    return {"chart": gamma.chart.name} | {name: array.tolist() for name, array in gamma_arrays(gamma).items()}


def gamma_from(values: Mapping[str, Any]) -> Gamma:
    """Γ from the arrays of `gamma_arrays` and the name of its chart, or from a `gamma_document`.

    Raises:
        KeyError: If an array is missing, or no chart has this name.
        TypeError: If there is an array that the chart does not know.
    """
    chart = CHARTS[values.get("chart", ClosedLoops.name)]
    arrays = {name: np.asarray(array) for name, array in values.items() if name != "chart"}
    if chart is ClosedLoops and "normals" not in arrays:  # files that were written before normals were
        arrays["normals"] = ClosedLoops.polygon(arrays["points"], arrays["loop"]).normals
    if chart is ClosedLoops and "joined" not in arrays:
        arrays["joined"] = np.ones(len(arrays["loop"]), dtype=bool)
    points, weights, normals = (arrays.pop(name) for name in UNCHARTED)
    return Gamma(points, weights, normals, chart(**arrays))


def _turn_holes(loops: list[NDArray[np.float64]], normals: NDArray[np.float64], loop: NDArray[np.int64]) -> None:
    """Turn normals that point out of each loop round, out of the zone, where the loop lies inside another."""
    for number, polygon in enumerate(loops):
        if sum(_encloses(other, polygon[0]) for other in loops if other is not polygon) % 2:
            normals[loop == number] *= -1.0


def _encloses(polygon: NDArray[np.float64], point: NDArray[np.float64]) -> bool:
    """Even-odd rule for a point that is not on the polygon."""
    start, end = polygon, np.roll(polygon, -1, axis=0)
    crossed = (start[:, 1] > point[1]) != (end[:, 1] > point[1])
    start, end = start[crossed], end[crossed]
    share = (point[1] - start[:, 1]) / (end[:, 1] - start[:, 1])
    return bool(np.count_nonzero(start[:, 0] + share * (end[:, 0] - start[:, 0]) > point[0]) % 2)


def _sides(points: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Index ranges between corners of a closed polygon whose last point repeats the first."""
    edges = np.diff(points, axis=0)
    heading = np.arctan2(edges[:, 1], edges[:, 0])
    turn = np.abs((heading - np.roll(heading, 1) + np.pi) % (2.0 * np.pi) - np.pi)
    corners = {0, *(int(i) for i in np.flatnonzero(turn > CORNER_ANGLE))}
    bounds = [*sorted(corners), len(points) - 1]
    return list(zip(bounds[:-1], bounds[1:], strict=True))


def _positions(
    targets: NDArray[np.float64], side: NDArray[np.float64], arc: NDArray[np.float64], tolerance: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Targets that lie on a side, and their arc length."""
    start, edge = side[:-1], np.diff(side, axis=0)
    length = np.linalg.norm(edge, axis=1)
    offset = targets[:, None, :] - start[None]
    along = np.clip(np.einsum("tsk,sk->ts", offset, edge) / length**2, 0.0, 1.0)
    distance = np.linalg.norm(offset - along[..., None] * edge, axis=2)
    nearest = distance.argmin(axis=1)
    rows = np.arange(len(targets))
    on_side = distance[rows, nearest] <= tolerance
    position = arc[nearest] + along[rows, nearest] * length[nearest]
    return np.flatnonzero(on_side), position[on_side]


def _linear(knots: NDArray[np.float64], position: NDArray[np.float64]) -> NDArray[np.float64]:
    share = (position - knots[0]) / (knots[-1] - knots[0])
    return np.stack([1.0 - share, share], axis=1)


def _facets(loop: list[int]) -> list[frozenset[int]]:
    """The vertices of each facet of a loop."""
    return [frozenset(pair) for pair in zip(loop, loop[1:] + loop[:1], strict=True)]


def _loops(ends: list[tuple[int, int]], point: dict[int, tuple[float, float]]) -> list[list[int]]:
    """Vertices of the closed loops that facets form, in canonical order.

    Raises:
        ValueError: If they do not form closed loops that are apart.
    """
    at_vertex: dict[int, list[int]] = {}
    for facet, pair in enumerate(ends):
        for vertex in pair:
            at_vertex.setdefault(vertex, []).append(facet)
    if any(len(facets) != 2 for facets in at_vertex.values()):
        raise ValueError("the zone's boundary is not made of separate closed loops: zone cells meet at a corner only")
    vertices = np.array(list(point.values()))
    corner, scale = vertices.min(axis=0), float(np.ptp(vertices, axis=0).max())
    loops = []
    unvisited = set(at_vertex)
    while unvisited:
        loop = _loop_through(min(unvisited, key=lambda k: _height(point[k], corner, scale)), ends, point, at_vertex)
        unvisited.difference_update(loop)
        loops.append(loop)
    return sorted(loops, key=lambda loop: _height(point[loop[0]], corner, scale))


def _loop_through(
    start: int, ends: list[tuple[int, int]], point: dict[int, tuple[float, float]], at_vertex: dict[int, list[int]]
) -> list[int]:
    """The loop from its start vertex, counter-clockwise."""
    loop, facet = [start], at_vertex[start][0]
    while True:
        a, b = ends[facet]
        following = b if a == loop[-1] else a
        if following == start:
            break
        loop.append(following)
        facet = next(f for f in at_vertex[following] if f != facet)
    x, y = np.array([point[k] for k in loop]).T
    area = float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)))
    return loop if area > 0.0 else [start, *reversed(loop[1:])]


def _height(xy: tuple[float, float], corner: NDArray[np.float64], scale: float) -> tuple[float, float]:
    """Sort key: y, then x, above the corner, insensitive to round-off."""
    return round((xy[1] - corner[1]) / scale, 9), round((xy[0] - corner[0]) / scale, 9)
