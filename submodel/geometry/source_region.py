"""Places where a source of a predicted run may stand: in the domain, outside the zone. No FEniCS needed."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from solvers.gamma.gamma import Gamma
from submodel.case.case import Case, CaseError
from submodel.geometry.arrays import MediumMap

TOLERANCE = 1e-9
"""Of the zone's extent: nearer to Γ than this a source stands on it."""


@dataclass(frozen=True)
class DomainMap:
    """The shape of a domain on a grid over its bounding box, as datasets hold it with the medium.

    Args:
        x: (x,) rising, length.
        y: (y,) rising, length.
        inside: (y, x) points that belong to the domain.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    inside: NDArray[np.bool_]

    @classmethod
    def of(cls, medium: MediumMap) -> Self:
        """The shape that a medium has."""
        return cls(medium.x, medium.y, medium.inside)

    def leaves_out(self, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Points beyond the bounding box, or amid four points of the grid that are all outside, (point, 2)."""
        out = np.zeros(len(points), dtype=bool)
        corners = []
        for axis, along in enumerate((self.x, self.y)):
            place = (points[:, axis] - along[0]) / (along[1] - along[0])
            out |= (points[:, axis] <= along[0]) | (points[:, axis] >= along[-1])
            corners.append(np.clip(np.floor(place), 0, len(along) - 2).astype(np.int64))
        column, row = corners
        around = [self.inside[row + up, column + right] for up in (0, 1) for right in (0, 1)]
        return np.asarray(out | ~np.any(around, axis=0))

    def to_json(self) -> dict[str, Any]:
        """Plain values: both axes by their ends and lengths, the points as bits."""
        axes = {name: [float(along[0]), float(along[-1]), len(along)] for name, along in (("x", self.x), ("y", self.y))}
        return axes | {"inside": base64.b64encode(np.packbits(self.inside).tobytes()).decode("ascii")}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Inverse of `to_json`.

        Raises:
            ValueError: The values are not those of `to_json`.
        """
        try:
            x, y = (np.linspace(low, high, num) for low, high, num in (values["x"], values["y"]))
            bits = np.unpackbits(np.frombuffer(base64.b64decode(values["inside"]), np.uint8), count=len(x) * len(y))
        except (KeyError, TypeError) as error:
            raise ValueError(f"the shape of the domain cannot be read ({error}): train the generator again") from error
        return cls(x, y, bits.reshape(len(y), len(x)).astype(bool))


@dataclass(frozen=True)
class SourceRegion:
    """Where sources may stand, as far as it is known without the mesh.

    Args:
        case: Knows the domain and the zone of a box.
        gamma: The zone's boundary.
        domain: The shape of the domain; ``None`` where the generator's file does not hold it.
    """

    case: Case
    gamma: Gamma
    domain: DomainMap | None = None

    def require(self, points: NDArray[np.float64]) -> None:
        """Refuse sources that no run can have, (source, 2).

        Raises:
            CaseError: One lies in the zone, on its boundary, in a hole or outside the domain; the first is named.
        """
        for x, y in points:
            self.case.require_source(float(x), float(y))
        in_zone = self._in_zone(points)
        outside = np.zeros(len(points), dtype=bool) if self.domain is None else self.domain.leaves_out(points)
        if in_zone.any():
            raise in_the_zone(points[in_zone.argmax()])
        if outside.any():
            raise outside_the_domain(points[outside.argmax()])

    def _in_zone(self, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Points in the closed curves of Γ by the parity of crossings, or on a curve, (source,)."""
        scale = float(np.ptp(self.gamma.points, axis=0).max())
        odd, near = np.zeros(len(points), dtype=bool), np.zeros(len(points), dtype=bool)
        for curve in self.gamma.outlines():
            edge, way = np.diff(curve, axis=0), points[:, None] - curve[:-1]
            share = np.clip((way * edge).sum(axis=2) / (edge**2).sum(axis=1), 0.0, 1.0)
            near |= (np.linalg.norm(way - share[..., None] * edge, axis=2) <= TOLERANCE * scale).any(axis=1)
            if np.array_equal(curve[0], curve[-1]):
                rises = (way[..., 1] >= 0.0) != (way[..., 1] >= edge[:, 1])
                with np.errstate(divide="ignore", invalid="ignore"):
                    left = way[..., 0] < way[..., 1] / edge[:, 1] * edge[:, 0]
                odd ^= np.count_nonzero(rises & left, axis=1) % 2 == 1
        return odd | near


def in_the_zone(point: NDArray[np.float64]) -> CaseError:
    """The refusal of a source in the zone."""
    x, y = map(float, point)
    return CaseError(
        f"the source ({x:g}, {y:g}) lies in the zone or on its boundary: give a place outside the zone, from where the "
        "wave enters it"
    )


def outside_the_domain(point: NDArray[np.float64]) -> CaseError:
    """The refusal of a source where there is no domain."""
    x, y = map(float, point)
    return CaseError(f"the source ({x:g}, {y:g}) lies outside the domain or in a hole of it: move it inside")
